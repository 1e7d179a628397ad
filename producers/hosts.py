"""Hostlist expressions, as slurmctld writes them: `gpu-a[01-05],hpc[1-3,7-9],login`."""

import re

import hostlist

from schemas.errors import MalformedMessageError
from schemas.fields import is_node_name, shown

# Slurm's own limit (MAX_SLURM_NODES).
MOST_NODES = 65_536

_REMEDY = "give a hostlist as slurmctld does, such as node[1-3,7]"
_PART = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
# The library recurses once for each bracket.
_MOST_BRACKETS = 50


def expand(expression: str) -> list[str]:
    """The nodes of a hostlist expression, in its order, each once.

    Raises:
        MalformedMessageError: the expression cannot be read.
    """
    # The library expands first and counts afterwards.
    if size(expression) > MOST_NODES:
        raise _wrong(f"names more than {MOST_NODES} nodes: {shown(expression)}")
    try:
        names: list[str] = hostlist.expand_hostlist(expression)
    except (hostlist.BadHostlist, ValueError) as error:
        raise _wrong(f"{error}: {shown(expression)}") from None
    if not names:
        raise _wrong("names no node")
    for name in names:
        if not is_node_name(name):
            raise _wrong(f"{shown(name)} is not a node name")
    return names


def size(expression: str) -> int:
    """The number of names in the expression, repeated ones too; a lower bound if it is malformed.

    Raises:
        MalformedMessageError: a name has too many brackets.
    """
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
    """The number of names of a bracket's item; the library checks items that are not a range."""
    ends = _RANGE.fullmatch(item)
    if ends is None:
        return 1 if len(item) <= 18 else MOST_NODES + 1  # noqa: PLR2004 - as in _RANGE
    return max(1, int(ends[2]) - int(ends[1]) + 1)


def _wrong(problem: str) -> MalformedMessageError:
    return MalformedMessageError("hostlist", problem, _REMEDY)
