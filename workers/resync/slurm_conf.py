"""Compares slurm.conf with lamplighter.toml, as far as a snapshot shows it. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import hostlist

from schemas.snapshot import Snapshot
from workers.config.settings import Settings

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class ConfDifference:
    """A difference between slurm.conf and lamplighter.toml that can cost a job.

    Attributes:
        wrong: whether it must be corrected; otherwise it is worth a look.
        words: what differs.
        remedy: what to do.
    """

    wrong: bool
    words: str
    remedy: str

    @property
    def text(self) -> str:
        """The words and the remedy."""
        return f"{self.words}; {self.remedy}"


def conf_differences(settings: Settings, snapshot: Snapshot) -> list[ConfDifference]:
    """All differences, the ones that must be corrected first."""
    found = [*_unmanaged(settings, snapshot), *_unknown(settings, snapshot)]
    found += _timeouts(settings, snapshot)
    return sorted(found, key=lambda one: not one.wrong)


def _unmanaged(settings: Settings, snapshot: Snapshot) -> Iterator[ConfDifference]:
    """Nodes that Slurm may power down or up, and that are in no group."""
    power = snapshot.power_saving
    if power is None:
        return
    names = [
        node.node
        for node in snapshot.nodes
        if node.node not in settings.nodes
        and node.node not in power.excluded
        and (power.suspend_time is not None or "CLOUD" in node.state.split("+"))
    ]
    if names:
        yield ConfDifference(
            wrong=True,
            words=f"slurm.conf has {_count(names)} in no group: their requests will fail",
            remedy="add them to a group in lamplighter.toml, or to SuspendExcNodes in slurm.conf",
        )


def _unknown(settings: Settings, snapshot: Snapshot) -> Iterator[ConfDifference]:
    """Nodes of groups that Slurm does not know."""
    known = {node.node for node in snapshot.nodes}
    for group in settings.groups:
        names = [n for n, of in settings.nodes.items() if of == group and n not in known]
        if names:
            yield ConfDifference(
                wrong=True,
                words=f"[groups.{group}] has {_count(names)} that Slurm does not know: no job runs there",
                remedy="add them to slurm.conf, or remove them from the group",
            )


def _timeouts(settings: Settings, snapshot: Snapshot) -> Iterator[ConfDifference]:
    power, ours = snapshot.power_saving, settings.slurm
    if power is None:
        return
    for name, key, theirs, our in (
        ("ResumeTimeout", "resume_timeout", power.resume_timeout, ours.resume_timeout),
        ("SuspendTimeout", "suspend_timeout", power.suspend_timeout, ours.suspend_timeout),
    ):
        if theirs != our:
            yield ConfDifference(
                wrong=True,
                words=f"{name} is {theirs} s in slurm.conf, slurm.{key} is {our} s in lamplighter.toml",
                remedy=f"set slurm.{key} = {theirs}, or correct slurm.conf",
            )
    for name, group in settings.groups.items():
        if group.boot_timeout > power.resume_timeout:
            yield ConfDifference(
                wrong=False,
                words=f"Slurm abandons a boot after {power.resume_timeout} s (ResumeTimeout), "
                f"[groups.{name}] allows {group.boot_timeout:g} s (boot_timeout)",
                remedy="raise ResumeTimeout above the longest boot, or lower boot_timeout",
            )
    if power.suspend_time is None and settings.groups:
        yield ConfDifference(
            wrong=False,
            words="SuspendTime is not set in slurm.conf: Slurm powers no idle node down",
            remedy="set SuspendTime there or in a partition",
        )


def _count(names: Collection[str]) -> str:
    """How many nodes, and which; a few of many."""
    shown: str = hostlist.collect_hostlist(sorted(names)[:_SHOWN])
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} node{'' if len(names) == 1 else 's'} ({shown}{more})"
