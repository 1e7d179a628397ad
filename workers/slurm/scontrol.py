"""Slurm's commands: the only module that runs them. Argument lists, absolute paths, time limits."""

import os
import secrets
import subprocess
from collections.abc import Iterable, Mapping, Sequence

import hostlist
import structlog

from workers.config.settings import Settings
from workers.config.slurm_location import find, slurm_conf
from workers.errors import LamplighterError
from workers.slurm.job_origins import Origin, origin_format, origins_from
from workers.slurm.nodes import (
    HAVE_NODES,
    JOB_FORMAT,
    LEFT_BY_NODE,
    JobState,
    NodeState,
    jobs_from,
    nodes_from,
)
from workers.slurm.runs import OVER, RUN_FORMAT, Run, runs_from

# Per call; 500 names of the longest kind still fit into one argument (128 KiB, execve(2)).
_NODES_PER_CALL = 500
_JOBS_PER_CALL = 200


class SlurmAwayError(LamplighterError):
    """slurmctld did not answer."""


class _RefusedError(LamplighterError):
    """A command failed; the text is what it printed."""


class Slurm:
    """One cluster's slurmctld, asked and told as the user we run as.

    Args:
        settings: of the site; [slurm] says where the commands and slurm.conf are.

    Raises:
        ConfigError: the commands are not installed here.
    """

    def __init__(self, settings: Settings) -> None:
        folder = settings.slurm.bin
        self._scontrol = find("scontrol", folder)
        self._squeue = find("squeue", folder)
        self._timeout = settings.slurm.timeout
        conf = slurm_conf(settings)
        # nothing of ours goes along: no secret, no locale
        # times as seconds: local ones are told twice in the night that summer ends
        self._environment = {"PATH": os.defpath, "LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"}
        if conf is not None:
            self._environment["SLURM_CONF"] = str(conf)
        self._log = structlog.get_logger()

    def version(self) -> str:
        """As `slurm-wlm 22.05.8` or `slurm 24.11.5`.

        Raises:
            SlurmAwayError: the command does not run: it wants a slurm.conf.
        """
        return self._ask(self._scontrol, "--version").strip()

    def nodes(self) -> Mapping[str, NodeState]:
        """All nodes, by name.

        Raises:
            SlurmAwayError: slurmctld does not answer.
        """
        # --all: 22.05 hides powered-down nodes without PrivateData=cloud
        return nodes_from(self._ask(self._scontrol, "--all", "--oneliner", "show", "node"))

    def jobs(self, job_ids: Iterable[int]) -> Mapping[int, JobState]:
        """Those of these jobs that Slurm still knows.

        Raises:
            SlurmAwayError: slurmctld does not answer.
        """
        found: dict[int, JobState] = {}
        for part in _parts(sorted(job_ids), _JOBS_PER_CALL):
            which = ",".join(str(int(job_id)) for job_id in part)
            arguments = ("--noheader", "--states=all", f"--jobs={which}", f"--format={JOB_FORMAT}")
            try:
                found |= jobs_from(self._run(self._squeue, *arguments))
            except _RefusedError:  # it knows none of them, or is away
                self._ping()
        return found

    def running(self) -> Mapping[int, JobState]:
        """The jobs that have nodes.

        Raises:
            SlurmAwayError: slurmctld does not answer.
        """
        states = f"--states={','.join(HAVE_NODES)}"
        shown = self._ask(self._squeue, "--noheader", "--all", states, f"--format={JOB_FORMAT}")
        return jobs_from(shown)

    def runs(self) -> list[Run]:
        """The runs of jobs that have nodes, and of those that have ended lately (MinJobAge).

        Raises:
            SlurmAwayError: slurmctld does not answer.
        """
        states = f"--states={','.join((*HAVE_NODES, *OVER))}"
        return runs_from(
            self._ask(self._squeue, "--noheader", "--all", states, f"--format={RUN_FORMAT}")
        )

    def jobs_left_by(self, names: Iterable[str]) -> Mapping[int, JobState]:
        """The jobs that have ended, or are ending, because a node of theirs has failed.

        Args:
            names: of nodes that Slurm knows, of which the job had one.

        Raises:
            SlurmAwayError: slurmctld does not answer.
        """
        found: dict[int, JobState] = {}
        for part in _parts(sorted(names), _NODES_PER_CALL):
            which = f"--nodelist={hostlist.collect_hostlist(part)}"
            states = f"--states={','.join(sorted(LEFT_BY_NODE))}"
            try:
                shown = self._run(
                    self._squeue, "--noheader", states, which, f"--format={JOB_FORMAT}"
                )
            except _RefusedError as error:
                self._ping()
                self._log.warning("slurm_refused", what="squeue", error=str(error), remedy=None)
            else:
                found |= jobs_from(shown)
        return found

    def origins(self, job_ids: Iterable[int]) -> Mapping[int, Origin]:
        """Where those of these jobs come from that Slurm still knows.

        Raises:
            SlurmAwayError: slurmctld does not answer.
        """
        found: dict[int, Origin] = {}
        for part in _parts(sorted(job_ids), _JOBS_PER_CALL):
            mark = f"|{secrets.token_hex(16)}|"
            which = ",".join(str(int(job_id)) for job_id in part)
            shape = f"--format={origin_format(mark)}"
            arguments = ("--noheader", "--states=all", f"--jobs={which}", shape)
            try:
                found |= origins_from(self._run(self._squeue, *arguments), mark)
            except _RefusedError:  # it knows none of them, or is away
                self._ping()
        return found

    def update_nodes(self, names: Iterable[str], *words: str) -> frozenset[str]:
        """Say the same of many nodes; the ones that Slurm has refused.

        Raises:
            SlurmAwayError: slurmctld does not answer; some may have been told.
        """
        refused: set[str] = set()
        for part in _parts(sorted(names), _NODES_PER_CALL):
            refused |= self._update("NodeName", part, hostlist.collect_hostlist(part), words)
        return frozenset(refused)

    def set_addresses(self, places: Mapping[str, tuple[str, str]]) -> frozenset[str]:
        """Say where nodes are: their address and, unless empty, host name. The refused ones.

        Raises:
            SlurmAwayError: slurmctld does not answer.
        """
        for named in (False, True):
            names = sorted(node for node, place in places.items() if bool(place[1]) is named)
            for part in _parts(names, _NODES_PER_CALL):
                words = _place(*zip(*(places[node] for node in part), strict=True))
                self._update_or_ping("NodeName", ",".join(part), words)
        # lists go by position, and a slurmctld that sorts them differently would mix them up
        refused: set[str] = set()
        shown = self.nodes()
        for node, (address, hostname) in places.items():
            now = shown.get(node)
            if now and (now.address, now.hostname) != (address, hostname or now.hostname):
                refused |= self._update("NodeName", [node], node, _place([address], [hostname]))
        return frozenset(refused)

    def start_now(self, job_ids: Iterable[int]) -> None:
        """Let requeued jobs begin at once; one that has begun or gone meanwhile is left alone.

        Raises:
            SlurmAwayError: slurmctld does not answer.
        """
        for part in _parts([str(int(job_id)) for job_id in sorted(job_ids)], _JOBS_PER_CALL):
            self._update("JobId", part, ",".join(part), ("StartTime=now",))

    def _update(
        self, kind: str, names: Sequence[str], all_of_them: str, words: Sequence[str]
    ) -> set[str]:
        """Update all at once; if Slurm refuses one of them, each alone. The refused ones."""
        problem = self._update_or_ping(kind, all_of_them, words)
        if problem is None:
            return set()
        if len(names) > 1:
            return set().union(*(self._update(kind, [name], name, words) for name in names))
        remedy = "run this worker as SlurmUser" if "denied" in problem.lower() else None
        self._log.warning("slurm_refused", what=f"{kind}={names[0]}", error=problem, remedy=remedy)
        return set(names)

    def _update_or_ping(self, kind: str, which: str, words: Sequence[str]) -> str | None:
        """Update; what Slurm has against it, or None."""
        try:
            self._run(self._scontrol, "update", f"{kind}={which}", *words)
        except _RefusedError as error:
            self._ping()
            return str(error)
        return None

    def _ping(self) -> None:
        """Tell a refusal from an absence: whoever refuses is there.

        Raises:
            SlurmAwayError: it is not.
        """
        if " UP" not in self._ask(self._scontrol, "ping"):
            raise SlurmAwayError("slurmctld is not up")

    def _ask(self, *arguments: str) -> str:
        try:
            return self._run(*arguments)
        except _RefusedError as error:
            raise SlurmAwayError(str(error)) from None

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                arguments,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SlurmAwayError(f"no answer within {self._timeout:g} s") from None
        except OSError as error:
            raise SlurmAwayError(f"{arguments[0]}: {error.strerror}") from None
        if done.returncode:
            words = (done.stderr or done.stdout).decode(errors="replace")
            raise _RefusedError(" ".join(words.split())[:500])
        return done.stdout.decode(errors="replace")


def _place(addresses: Sequence[str], hostnames: Sequence[str]) -> list[str]:
    words = [f"NodeAddr={','.join(addresses)}"]
    return [*words, f"NodeHostName={','.join(hostnames)}"] if all(hostnames) else words


def _parts(names: Sequence, size: int) -> Iterable[Sequence]:  # type: ignore[type-arg]
    return (names[start : start + size] for start in range(0, len(names), size))
