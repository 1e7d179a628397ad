"""Reads Slurm's settings of power saving from what scontrol shows. Pure; any text has a result."""

import re
from collections.abc import Callable, Iterator, Mapping

from producers.hosts import expand
from schemas.errors import MalformedMessageError
from schemas.fields import is_node_name
from schemas.numbers import whole_number
from schemas.snapshot import LONGEST_TIME, PartitionTimes, PowerSaving
from workers.slurm.nodes import NodeState

# from 24.05 on, a parameter that may have several values has an index
_LINE = re.compile(r"^(\w+)(?:\[\d+\])?\s*=\s?(.*)$", re.MULTILINE)
_ITEM = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")
_PARTITION = "PartitionName="
_PARTITION_TIMES = {
    "resume_timeout": "ResumeTimeout",
    "suspend_timeout": "SuspendTimeout",
    "suspend_time": "SuspendTime",
}


def config_from(output: str) -> Mapping[str, str]:
    """What `scontrol show config` printed, by parameter; `(null)` is empty, several values are one list."""
    found: dict[str, str] = {}
    for key, text in _LINE.findall(output):
        value = "" if text.strip() == "(null)" else text.strip()
        found[key] = f"{found[key]},{value}" if found.get(key) else value
    return found


def power_saving_from(
    output: str, partitions: str, nodes: Callable[[], Mapping[str, NodeState]]
) -> PowerSaving | None:
    """The settings; None if a timeout is missing.

    `output` is that of `scontrol show config`, `partitions` that of `scontrol --oneliner show
    partition`; `nodes` reads all nodes, and is called only if whole partitions are excluded.
    """
    found = config_from(output)
    resume_timeout = _seconds(found.get("ResumeTimeout", ""))
    suspend_timeout = _seconds(found.get("SuspendTimeout", ""))
    if resume_timeout is None or suspend_timeout is None:
        return None
    excluded = set(_excluded_nodes(found.get("SuspendExcNodes", "")))
    if excluded_parts := found.get("SuspendExcParts"):
        names = set(excluded_parts.split(","))
        excluded |= {n for n, state in nodes().items() if names & set(state.partitions.split(","))}
    return PowerSaving(
        resume_timeout,
        suspend_timeout,
        _seconds(found.get("SuspendTime", "")),
        tuple(sorted(filter(is_node_name, excluded))),
        tuple(_partition_times(partitions)),
    )


def _partition_times(output: str) -> Iterator[PartitionTimes]:
    """Times are the last fields of a line, in seconds, or GLOBAL or INFINITE."""
    for line in output.split("\n"):
        name, *fields = line.split(" ")
        values = dict(field.partition("=")[::2] for field in fields)
        times = {
            field: whole_number(values.get(key, ""), most=LONGEST_TIME)
            for field, key in _PARTITION_TIMES.items()
        }
        if name.startswith(_PARTITION) and any(time is not None for time in times.values()):
            nodes = filter(is_node_name, _excluded_nodes(values.get("Nodes", "")))
            yield PartitionTimes(name.removeprefix(_PARTITION), tuple(nodes), **times)


def _seconds(text: str) -> int | None:
    """A time such as `60 sec`; None for INFINITE and NONE."""
    return whole_number(text.removesuffix(" sec"), most=LONGEST_TIME)


def items_of(text: str) -> list[str]:
    """The names of a hostlist, those with brackets as they are."""
    return _ITEM.findall(text)


def is_foreign(item: str) -> bool:
    """Whether Slurm does not read a name of a hostlist, though others do: such as `node[1-2].example.org`."""
    return "]" in item and not item.endswith("]")


def exceptions_of(text: str) -> tuple[list[str], list[str]]:
    """The items of SuspendExcNodes: of sets of which any N idle nodes stay on, and of all others.

    slurm.conf(5): the set of a number begins after the number before, so `node1,node[5-9]:3` is one set.
    Slurm never powers down the others.
    """
    items = items_of(text)
    last = max((at for at, item in enumerate(items, 1) if ":" in item), default=0)
    return items[:last], items[last:]


def _excluded_nodes(text: str) -> list[str]:
    """The nodes that Slurm never powers down."""
    _, items = exceptions_of(text)
    try:
        return expand(",".join(items)) if items else []
    except MalformedMessageError:
        return []
