"""Compares slurm.conf with lamplighter.toml, as far as a snapshot shows it. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import hostlist

from schemas.snapshot import PowerSaving, Snapshot
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
        and (_suspends(power) or "CLOUD" in node.states)
    ]
    if names:
        yield ConfDifference(
            wrong=True,
            words=f"slurm.conf has {_count(names)} in no group: their requests will fail",
            remedy="add them to a group in lamplighter.toml, or to SuspendExcNodes in slurm.conf",
        )


def _unknown(settings: Settings, snapshot: Snapshot) -> Iterator[ConfDifference]:
    """Nodes of groups that Slurm does not know, or hides: before 23.02, those that are powered down."""
    known = {node.node for node in snapshot.nodes}
    for group in settings.groups:
        names = [n for n, of in settings.nodes.items() if of == group and n not in known]
        if names:
            yield ConfDifference(
                wrong=True,
                words=f"[groups.{group}] has {_count(names)} that Slurm does not show: no job runs there",
                remedy="add them to slurm.conf, and PrivateData=cloud before Slurm 23.02, or remove them from the group",
            )


def _timeouts(settings: Settings, snapshot: Snapshot) -> Iterator[ConfDifference]:
    power, ours = snapshot.power_saving, settings.slurm
    if power is None:
        return
    for name, key, our in (
        ("ResumeTimeout", "resume_timeout", ours.resume_timeout),
        ("SuspendTimeout", "suspend_timeout", ours.suspend_timeout),
    ):
        # a request must not expire before Slurm has given it up
        theirs, where = max(_set_times(power, key, settings.nodes))
        if theirs != our:
            yield ConfDifference(
                wrong=True,
                words=f"{name} is {theirs} s {where}, slurm.{key} is {our} s in lamplighter.toml",
                remedy=f"set slurm.{key} = {theirs}, or correct slurm.conf",
            )
    yield from _boots(settings, power)
    if not _suspends(power) and settings.groups:
        yield ConfDifference(
            wrong=False,
            words="SuspendTime is not set in slurm.conf: Slurm powers no idle node down",
            remedy="set SuspendTime there or in a partition",
        )


def _set_times(power: PowerSaving, key: str, nodes: Collection[str]) -> Iterator[tuple[int, str]]:
    """Each value of a timeout, seconds, and where it is set: for all, or for a partition of `nodes`."""
    yield getattr(power, key), "in slurm.conf"
    for one in power.partitions:
        time: int | None = getattr(one, key)
        if time is not None and not set(nodes).isdisjoint(one.nodes):
            yield time, f"in slurm.conf for partition {one.partition}"


def _boots(settings: Settings, power: PowerSaving) -> Iterator[ConfDifference]:
    """Groups whose boots may last longer than Slurm waits for their nodes.

    For a node of several partitions Slurm takes the longest time.
    """
    for name, group in settings.groups.items():
        nodes = {node for node, of in settings.nodes.items() if of == name}
        longest = dict.fromkeys(nodes, 0)
        for one in power.partitions:
            for node in nodes.intersection(one.nodes):
                longest[node] = max(longest[node], one.resume_timeout or 0)
        least = min((time or power.resume_timeout for time in longest.values()), default=None)
        if least is not None and group.boot_timeout > least:
            yield ConfDifference(
                wrong=False,
                words=f"Slurm abandons a boot after {least} s (ResumeTimeout), "
                f"[groups.{name}] allows {group.boot_timeout:g} s (boot_timeout)",
                remedy="raise ResumeTimeout above the longest boot, or lower boot_timeout",
            )


def _suspends(power: PowerSaving) -> bool:
    """Whether Slurm powers idle nodes down, at least those of one partition."""
    times = (power.suspend_time, *(one.suspend_time for one in power.partitions))
    return any(time is not None for time in times)


def _count(names: Collection[str]) -> str:
    """How many nodes, and which; a few of many."""
    shown: str = hostlist.collect_hostlist(sorted(names)[:_SHOWN])
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} node{'' if len(names) == 1 else 's'} ({shown}{more})"
