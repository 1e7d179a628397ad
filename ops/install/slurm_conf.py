"""Reads what an installation needs of slurm.conf: slurm.conf(5). Without Slurm's commands.

slurmctld may not run yet, and `scontrol show config` hides which file sets a value.
"""

import pwd
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from producers.disk import read_file
from producers.hosts import expand
from producers.settings import ConfigError
from schemas.errors import MalformedMessageError
from schemas.fields import shown

# The file that `lamplighter init` writes beside slurm.conf, which includes it.
OWN_LINES = "lamplighter.conf"
_LONGEST_NAME = 63
_MOST_FILES, _MOST_DEPTH, _MOST_BYTES = 1000, 50, 2**24
# What a comment leaves of a line: # begins one, but for \#.
_BARE = re.compile(r"(?:[^#\\]|\\.?)*")
_PAIR = re.compile(r'(?<![\w.])([\w.]+)\s*[-*+/]?=\s*(?:"([^"]*)"|(\S+))')
# Of a node: both are read, and the last one counts.
_SPELT = {"features": "feature"}
_INCLUDE = re.compile(r"(?i)include\s+(\S+)")
_USER = re.compile(r"[A-Za-z_][\w.-]*\$?", re.ASCII)
# As strtol(3) reads it with base 0.
_NUMBER = re.compile(r"(0[xX])?[0-9a-fA-F]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SlurmConf:
    """What slurm.conf says.

    Attributes:
        path: the file.
        values: by key in lower case: the last value of each parameter.
        cloud_nodes: the hostlists of the nodes with State=CLOUD.
        other_nodes: those of the other nodes, but for State=FUTURE.
        partitions: the pairs of each line that begins with PartitionName, by key in lower case, and those of
            the lines PartitionName=DEFAULT before it.
        node_sets: the nodes of each NodeSet by its name, as written.
        includes_own: the name by which it includes the file that `init` writes; empty if it does not.
    """

    path: Path
    values: Mapping[str, str] = field(default_factory=dict)
    cloud_nodes: tuple[str, ...] = ()
    other_nodes: tuple[str, ...] = ()
    partitions: tuple[Mapping[str, str], ...] = ()
    node_sets: Mapping[str, str] = field(default_factory=dict)
    includes_own: str = ""

    @property
    def user(self) -> str:
        """SlurmUser, which may be given by number; root by default. ConfigError if there is no such user."""
        name = self.values.get("slurmuser", "root").partition("(")[0]
        if name.isascii() and name.isdigit():
            try:
                return pwd.getpwuid(int(name)).pw_name
            except (KeyError, OverflowError):
                raise ConfigError(
                    f"{self.path}: SlurmUser: no user of this host has the number {shown(name)}"
                ) from None
        if not _USER.fullmatch(name):
            raise ConfigError(f"{self.path}: SlurmUser: {shown(name)} is not a user's name")
        return name

    @property
    def cluster(self) -> str:
        """Our name for ClusterName."""
        return our_name(self.values.get("clustername", ""))

    def seconds(self, key: str, default: int) -> int:
        """A time; the default if it is missing, infinite or not a number."""
        return _number(self.values.get(key.lower(), "")) or default

    def longest(self, key: str, default: int) -> int:
        """The longest of a time's values: partitions may set their own."""
        return max([self.seconds(key, default), *self.of_partitions(key)])

    @property
    def known_nodes(self) -> list[str]:
        """All nodes but those with State=FUTURE."""
        return [node for part in (*self.cloud_nodes, *self.other_nodes) for node in expand(part)]

    def nodes_of(self, partition: Mapping[str, str]) -> list[str]:
        """The nodes of a partition's line; none if they cannot be read."""
        try:
            names = expand(partition["nodes"]) if partition.get("nodes") else []
            parts = [self.node_sets.get(name, name) for name in names]
            if "ALL" in ",".join(parts).upper().split(","):
                return self.known_nodes
            return [node for part in parts if part for node in expand(part)]
        except MalformedMessageError:
            return []

    def of_partitions(self, key: str) -> list[int]:
        """The values of a time in partitions."""
        found = [_number(partition.get(key.lower(), "")) for partition in self.partitions]
        return [number for number in found if number]


def our_name(cluster: str) -> str:
    """ClusterName in lower case, as Slurm uses it, without what ours cannot have; a dash replaces it inside."""
    name = re.sub(r"[^a-z0-9_-]", "-", cluster.lower())
    return name.strip("-_")[:_LONGEST_NAME] or "cluster"


def read_slurm_conf(path: Path) -> SlurmConf:
    """Read slurm.conf and the files that it includes, but for the one that `init` writes.

    Raises:
        ConfigError: a file cannot be read, or the names of its nodes cannot.
    """
    values: dict[str, str] = {}
    entries: dict[str, list[dict[str, str]]] = defaultdict(list)
    defaults: dict[str, dict[str, str]] = defaultdict(dict)
    includes_own = ""
    for line in _lines(path, path.parent, values, iter(range(_MOST_FILES)), _MOST_DEPTH):
        if own := _INCLUDE.fullmatch(line):
            includes_own = own[1]
        pairs = {
            _SPELT.get(key.lower(), key.lower()): quoted or bare
            for key, quoted, bare in _PAIR.findall(line)
        }
        if not pairs:
            continue
        # the first key says what the line is about
        kind, value = next(iter(pairs.items()))
        several = kind == "prologslurmctld" and kind in values  # from 24.05 on, all its lines count
        values[kind] = f"{values[kind]},{value}" if several else value
        if value.upper() == "DEFAULT":  # for the lines of its kind that follow
            defaults[kind] |= pairs
        else:
            entries[kind].append(defaults[kind] | pairs)
    nodes = [(one["nodename"], one.get("state", "").upper()) for one in entries["nodename"]]
    cloud = tuple(name for name, state in nodes if state.startswith("CLOUD"))
    others = tuple(name for name, state in nodes if not state.startswith(("CLOUD", "FUTURE")))
    for hostlist in (*cloud, *others):
        try:
            expand(hostlist)
        except MalformedMessageError as error:
            raise ConfigError(f"{path}: NodeName: {error}") from None
    features = [(one["nodename"], one.get("feature", "").split(",")) for one in entries["nodename"]]
    sets = {}
    for one in entries["nodeset"]:
        featuring = [name for name, found in features if one.get("feature") in found]
        sets[one["nodeset"]] = ",".join(filter(None, [one.get("nodes"), *featuring]))
    partitions = tuple(entries["partitionname"])
    return SlurmConf(path, values, cloud, others, partitions, sets, includes_own)


def _lines(
    path: Path, root: Path, values: Mapping[str, str], files: Iterator[int], depth: int
) -> Iterator[str]:
    """The logical lines, without comments; those of included files in their place.

    `values` were read until now: `%c` in a file's name stands for the cluster's, in lower case.
    `files` has an element for each file that may still be read; `depth` is how deep they may include
    others.
    """
    try:
        text = read_file(path, _MOST_BYTES).decode(errors="replace")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name slurm.conf with --slurm-conf") from None
    except ValueError:  # NUL
        raise ConfigError(f"{str(path)!r}: is not a file's name; correct slurm.conf") from None
    if next(files, None) is None or not depth:
        raise ConfigError(f"{path}: too many files include others; correct Include in slurm.conf")
    for line in _logical(text):
        included = _INCLUDE.fullmatch(line)
        if included is None or Path(included[1]).name == OWN_LINES:
            yield line
        else:
            name = included[1].replace("%c", values.get("clustername", "%c").lower())
            # relative to slurm.conf; for Slurm 22.05, to the file that includes it
            beside = path.parent / name
            found = beside if beside.exists() and not (root / name).exists() else root / name
            yield from _lines(found, root, values, files, depth - 1)


def _logical(text: str) -> Iterator[str]:
    """The lines without comments, joined where a backslash ends one; also of a file with CRLF."""
    parts: list[str] = []
    for line in text.split("\n"):
        found = _BARE.match(line)
        bare = found[0].rstrip() if found else ""
        slashes = len(bare) - len(bare.rstrip("\\"))
        parts.append(bare[:-1] if slashes % 2 else bare)
        if not slashes % 2:
            yield re.sub(r"\\(.)", r"\1", "".join(parts)).strip()
            parts.clear()
    yield "".join(parts).strip()


def _number(text: str) -> int | None:
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return int(text, 16 if text[:2].lower() == "0x" else 8 if text.startswith("0") else 10)
    except ValueError:
        return None
