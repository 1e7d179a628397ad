"""Hostlist expressions, as slurmctld writes them: `gpu-a[01-05],hpc[1-3,7-9],login`."""

import re

import hostlist

from schemas.errors import MalformedMessageError
from schemas.names import is_node_name, shown

# Slurm itself knows 65,536 nodes at most (MAX_SLURM_NODES).
MOST_NODES = 65_536

_AS_SLURM = "call it as slurmctld does, with a hostlist such as node[1-3,7]"
_PART = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
# The library recurses once a bracket.
_MOST_BRACKETS = 50


def expand(expression: str) -> list[str]:
    """The nodes of a hostlist expression, in its order, each once.

    Raises:
        MalformedMessageError: naming what is wrong with the expression.
    """
    # The library expands first and counts afterwards.
    if _size(expression) > MOST_NODES:
        raise _wrong(f"names more than {MOST_NODES} nodes: {shown(expression)}")
    try:
        names: list[str] = hostlist.expand_hostlist(expression)
    except (hostlist.BadHostlist, ValueError) as error:
        raise _wrong(f"{error}: {shown(expression)}") from None
    if not names:
        raise _wrong("names no node")
    for name in names:
        if not is_node_name(name):
            raise _wrong(f"{shown(name)} is no node name")
    return names


def _size(expression: str) -> int:
    """How many names the expression stands for; at least, where it is malformed."""
    total = 0
    for part in _PART.findall(expression):
        size = 1
        brackets = _BRACKETS.findall(part)
        if len(brackets) > _MOST_BRACKETS:
            raise _wrong(f"more than {_MOST_BRACKETS} brackets in one name: {shown(expression)}")
        for bracket in brackets:
            size *= sum(_width(item) for item in bracket.split(","))
        total += size
    return total


def _width(item: str) -> int:
    """How many numbers a bracket's item stands for; one that is no range is judged elsewhere."""
    ends = _RANGE.fullmatch(item)
    if ends is None:
        return 1 if len(item) <= 18 else MOST_NODES + 1  # noqa: PLR2004 - as in _RANGE
    return max(1, int(ends[2]) - int(ends[1]) + 1)


def _wrong(problem: str) -> MalformedMessageError:
    return MalformedMessageError("hostlist", problem, _AS_SLURM)
