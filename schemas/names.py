"""Checks of the names in messages, made before a name reaches a log, a database or a cloud."""

import re

# Slurm's node names are host names; slurmctld sends nothing else.
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")

SHOWN = 80


def is_node_name(name: str) -> bool:
    """Whether `name` can be a Slurm node's name: letters, digits, dot, dash, underscore."""
    return _NODE.fullmatch(name) is not None


def is_cluster_name(name: str) -> bool:
    """Whether `name` can be a cluster's name: at most 63 letters, digits, dashes, underscores."""
    return _CLUSTER.fullmatch(name) is not None


def shown(value: object) -> str:
    """`value` quoted, escaped and cut, safe for a log line or an error message."""
    text = ascii(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"
