"""Says whether lamplighter-prolog is in use, whether it pays, and how many jobs may wait in it."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import sqlalchemy as sa

from ops.cli.errors import STORE_ERRORS
from ops.cli.session import Session
from ops.doctor.access import User, status_of
from ops.doctor.slurm import user_of, version_of
from ops.install.slurm_rules import SLOW_SALLOC
from ops.install.units import PROGRAMS, PROLOG, PROLOG_DROP_IN, RUN
from ops.site.findings import Finding, note, wrong
from ops.site.kinds import Kind
from producers.disk import user_name
from schemas.registrations import TYPE as REGISTERED
from workers.config.settings import Settings
from workers.slurm.prolog_slots import default_slots, knows_tunable
from workers.store.tables import audit

# Where the program waits without an argument, and Slurm gives it none (producers/prolog.bash).
_FOLDER = RUN / "prolog"
_DAY = 86_400 * 10**9
# Seconds that each booted node waits in the mean for slurmctld's timer.
_TIMER_MEAN = 15
# The first version whose srun and salloc wait for the timer, as sbatch does in all versions.
_ALL_WAIT = (23, 11)


def boots_of_a_day(session: Session) -> int | None:
    """How many nodes registered in the last 24 hours; None if the audit cannot be read."""
    query = sa.select(sa.func.count()).where(
        audit.c.type == REGISTERED, audit.c.time >= time.time_ns() - _DAY
    )
    try:
        with session.reading("audit") as connection:
            return int(connection.execute(query).scalar_one())
    except STORE_ERRORS:
        return None


def of_prolog(
    config: Mapping[str, str], settings: Settings, *, tuned: bool | None, boots: int | None
) -> Iterator[Finding]:
    """All findings about lamplighter-prolog.

    `config` is slurmctld's. `tuned`: whether it has the glibc setting, as
    workers.slurm.prolog_slots finds it. `boots` are those of the last 24 hours, or None if they are
    not known.
    """
    programs = [one for one in config.get("PrologSlurmctld", "").split(",") if one]
    named, is_set = any(Path(one).name == PROLOG for one in programs), settings.slurm.prolog
    if named and is_set is None:
        words = f"PrologSlurmctld is {PROLOG}, but slurm.prolog is not set: no job waits in it"
        yield wrong(Kind.PROLOG, words, f'prolog = "{_FOLDER}" in [slurm]')
        return
    if named and os.path.realpath(is_set or "") != os.path.realpath(_FOLDER):
        words = (
            f"PrologSlurmctld is {PROLOG}, which waits in {_FOLDER}, but slurm.prolog is {is_set}"
        )
        remedy = f'prolog = "{_FOLDER}" in [slurm], or a script that calls {PROLOG} {is_set}'
        yield wrong(Kind.PROLOG, f"{words}: no job waits", remedy)
        return
    if is_set is not None and not programs:
        words = "slurm.prolog is set, but PrologSlurmctld is not: jobs wait for Slurm's timer"
        remedy = f"PrologSlurmctld={PROGRAMS / PROLOG} in slurm.conf"
        yield wrong(Kind.PROLOG, words, remedy)
        return
    user = User.named(user_of(config))
    if is_set is not None and (finding := _foreign(is_set, user)):
        yield finding
        return
    yield note(
        Kind.PROLOG,
        _worth(version_of(config), boots, in_use=is_set is not None),
        None if is_set is not None else "see docs/prolog.md",
    )
    if is_set is not None:
        yield _slots(config, settings, tuned=tuned)


def _foreign(folder: Path, user: User | None) -> Finding | None:
    """Whether the folder or a FIFO is another user's: the program, which runs as SlurmUser, uses none."""
    for path in (folder, folder / "door", folder / "alive"):
        status = status_of(path)
        if user is not None and status is not None and status.st_uid != user.uid:
            words = f"{path} belongs to {user_name(status.st_uid)}, not to SlurmUser {user.name}: no job waits"
            remedy = f"run lamplighter worker slurm as {user.name}; chown -R {user.name} {folder}"
            return wrong(Kind.PROLOG, words, remedy)
    return None


def _worth(version: tuple[int, int], boots: int | None, *, in_use: bool) -> str:
    """What it gains here, and what it costs."""
    which = "jobs" if version >= _ALL_WAIT else "batch jobs"
    verb = "spares" if in_use else "would spare"
    gain = f"{PROLOG} {verb} {which} 15 s in the median after each boot"
    if boots is not None:
        day = boots * _TIMER_MEAN / 60
        gain += f"; in the last 24 h, {boots} boots: about {day:.0f} min of powered-on nodes"
        if not boots:
            gain += ", so that it does not pay"
    if version == SLOW_SALLOC:
        gain += "; with Slurm 22.05 it makes salloc on nodes that are up 3 s slower"
        gain += ": leave it out where users mostly do that"
    return gain


def _slots(config: Mapping[str, str], settings: Settings, *, tuned: bool | None) -> Finding:
    """How many jobs may wait at once, and whether that many are safe."""
    safe = default_slots(config.get("SLURM_VERSION", ""), tuned=tuned)
    slots = settings.slurm.prolog_slots or safe
    known = {
        None: "slurmctld's environment cannot be read as this user",
        True: "slurmctld has GLIBC_TUNABLES with pthread.stack_cache_size",
        False: "slurmctld lacks GLIBC_TUNABLES=glibc.pthread.stack_cache_size=2147483648",
    }[tuned]
    remedy = (
        f"lamplighter init --prolog writes /etc/systemd/system/{PROLOG_DROP_IN}; restart slurmctld"
    )
    if not tuned and not knows_tunable():
        known = "glibc before 2.34, as of this host, lacks pthread.stack_cache_size"
        remedy = "upgrade this host's system, or Slurm to 26.05"
    if slots > safe and tuned is False:
        words = f"slurm.prolog_slots is {slots}, and {known}: slurmctld can hang at its end"
        return wrong(Kind.PROLOG_SLOTS, words, f"{remedy}; or remove prolog_slots")
    words = f"{slots} jobs may wait in {PROLOG} at once; {known}"
    return note(Kind.PROLOG_SLOTS, words, None if tuned else f"for more, {remedy}")
