"""Reads Slurm's settings of power saving from `scontrol show config`. Pure; any text has a result."""

import re
from collections.abc import Callable, Mapping

from producers.hosts import expand
from schemas.errors import MalformedMessageError
from schemas.fields import is_node_name
from schemas.numbers import whole_number
from schemas.snapshot import LONGEST_TIME, PowerSaving
from workers.slurm.nodes import NodeState

_LINE = re.compile(r"([A-Za-z]+) *= (.*)")
_ITEM = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")
_UNSET = "(null)"


def power_saving_from(
    output: str, nodes: Callable[[], Mapping[str, NodeState]]
) -> PowerSaving | None:
    """What `scontrol show config` printed; None if a timeout is missing.

    `nodes` reads all nodes; it is called only if whole partitions are excluded.
    """
    found: dict[str, str] = {}
    for line in output.split("\n"):
        if match := _LINE.fullmatch(line):
            found.setdefault(match[1], match[2])
    resume_timeout = _seconds(found.get("ResumeTimeout", ""))
    suspend_timeout = _seconds(found.get("SuspendTimeout", ""))
    if resume_timeout is None or suspend_timeout is None:
        return None
    excluded = set(_excluded_nodes(found.get("SuspendExcNodes", _UNSET)))
    if (partitions := found.get("SuspendExcParts", _UNSET)) != _UNSET:
        names = set(partitions.split(","))
        excluded |= {n for n, state in nodes().items() if names & set(state.partitions.split(","))}
    return PowerSaving(
        resume_timeout,
        suspend_timeout,
        _seconds(found.get("SuspendTime", "")),
        tuple(sorted(filter(is_node_name, excluded))),
    )


def _seconds(text: str) -> int | None:
    """A time such as `60 sec`; None for INFINITE and NONE."""
    return whole_number(text.removesuffix(" sec"), most=LONGEST_TIME)


def _excluded_nodes(text: str) -> list[str]:
    """The nodes that Slurm never powers down; of `node[1-9]:3` it excludes any 3 idle ones, not these."""
    items = [item for item in _ITEM.findall(text) if ":" not in item]
    try:
        return expand(",".join(items)) if items and text != _UNSET else []
    except MalformedMessageError:
        return []
