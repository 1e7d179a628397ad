#!/bin/bash -p
# lamplighter-prolog [FOLDER]: for PrologSlurmctld. Slurm starts a job on booted nodes only at the
# next turn of a 30 s timer, or at once when this script ends: so it waits until the job's nodes
# are ready. `lamplighter worker slurm` says when, through FIFOs in FOLDER. It always exits with 0,
# and at once if that worker does not run: then the job starts as it would without this script.
# lamplighter-prolog --release [FOLDER]: ends all waiting scripts; for slurmctld's ExecStop.
# Slurm gives it neither PATH nor HOME, and 22.05 blocks most signals.
#
# Whatever fails, also bash itself, and if a signal ends it: with another status, Slurm requeues a batch job
# without end.
trap 'exit 0' EXIT HUP INT QUIT PIPE TERM USR1 USR2 XCPU
set +o posix
PATH=/usr/bin:/bin LC_ALL=C seconds=
# Before 5.2, bash limits a read by SIGALRM; where that is blocked (SigBlk, proc(5)), the read does not end.
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 502)); then
  while read -r name mask; do
    [[ $name == SigBlk: ]] && ((16#$mask >> 13 & 1)) || continue
    [[ $unblocked ]] || unblocked=1 env --default-signal=ALRM "$0" "$@"
    exit 0
  done </proc/$$/status
fi
# No job is 0: that is for --release.
job=${SLURM_JOB_ID/#0*} nodes=$SLURM_JOB_NODELIST
[[ $1 == --release ]] && job=0 nodes=- && shift
exec </dev/null >/dev/null 2>&1
cd -- "${1:-/run/lamplighter/prolog}" && [[ -p alive && -p door ]] || exit 0
if [[ ! -O . ]]; then
  # systemd runs ExecStop as root if slurmctld's unit names no user; here root writes nothing.
  [[ $job == 0 && $EUID == 0 ]] &&
    setpriv --reuid="$(stat -c %u .)" --regid="$(stat -c %g .)" --clear-groups "$0" --release .
  exit 0
fi
[[ -O alive && -O door ]] || exit 0
# A line that fits into a FIFO is written whole (PIPE_BUF, pipe(7)).
[[ $job == [0-9]* && $job != *[!0-9]* && ${#job} -lt 11 ]] || exit 0
[[ $nodes && $nodes != *[!!-~]* && ${#nodes} -lt 4000 ]] || exit 0
# Opening for reading and writing does not block; the end of the file is there if the worker is not.
exec 3<>alive 4<alive 3<&-
read -rt 0 -u 4 && exit 0
exec 4<&-
fifo=wait.$job.$$
mkfifo -m 600 "$fifo" || exit 0
exec 3<>"$fifo" 4<"$fifo"
# dd does not wait: the door is full if the worker has not read for a long time.
# Each line is the number of seconds within which the next one comes; anything else ends the wait.
echo "$fifo $nodes" | dd bs=4096 iflag=fullblock of=door oflag=nonblock,nofollow conv=nocreat,notrunc &&
  read -rt 2 -u 4 seconds || rm -f -- "$fifo"
exec 3<&-
while [[ $seconds == [1-9] || $seconds == [1-9][0-9] ]]; do
  read -rt "$seconds" -u 4 seconds || break
done
