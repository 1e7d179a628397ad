"""Reads what an installation needs of slurm.conf: slurm.conf(5). Without Slurm's commands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from producers.disk import read_file
from producers.hosts import expand
from producers.settings import ConfigError
from schemas.errors import MalformedMessageError

# The file that `lamplighter init` writes beside slurm.conf, which includes it.
OWN_LINES = "lamplighter.conf"
_INCLUDES = 8
_KEY = re.compile(r"([A-Za-z_]+)=(\"[^\"]*\"|\S+)")


@dataclass(frozen=True, slots=True)
class SlurmConf:
    """What slurm.conf says.

    Attributes:
        path: the file.
        values: by key in lower case: the last value of each parameter outside of node lines.
        cloud_nodes: the hostlists of the nodes with State=CLOUD.
    """

    path: Path
    values: dict[str, str] = field(default_factory=dict)
    cloud_nodes: tuple[str, ...] = ()

    @property
    def user(self) -> str:
        """SlurmUser; root by default."""
        return self.values.get("slurmuser", "root").partition("(")[0]

    @property
    def cluster(self) -> str:
        """ClusterName."""
        return self.values.get("clustername", "cluster")

    def seconds(self, key: str, default: int) -> int:
        """A time; the default if it is missing or not a number."""
        text = self.values.get(key.lower(), "")
        return int(text) if text.isascii() and text.isdigit() and int(text) else default


def read_slurm_conf(path: Path) -> SlurmConf:
    """Read slurm.conf and the files that it includes, but for the one that `init` writes.

    Raises:
        ConfigError: a file cannot be read, or the names of its nodes cannot.
    """
    values: dict[str, str] = {}
    nodes: list[str] = []
    default_state = ""
    for line in _lines(path, _INCLUDES):
        pairs = {key.lower(): value.strip('"') for key, value in _KEY.findall(line)}
        name = pairs.get("nodename")
        if name is None:
            if not pairs.keys() & {"partitionname", "downnodes", "nodeset", "frontendname"}:
                values |= pairs
        elif name.upper() == "DEFAULT":
            default_state = pairs.get("state", default_state)
        elif pairs.get("state", default_state).upper().startswith("CLOUD"):
            nodes.append(name)
    for hostlist in nodes:
        try:
            expand(hostlist)
        except MalformedMessageError as error:
            raise ConfigError(f"{path}: NodeName: {error}") from None
    return SlurmConf(path, values, tuple(nodes))


def _lines(path: Path, depth: int) -> Iterator[str]:
    """The logical lines, without comments; those of included files in their place."""
    try:
        text = read_file(path).decode(errors="replace")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name slurm.conf with --slurm-conf") from None
    for line in re.sub(r"\\\n", " ", text).splitlines():
        bare = re.sub(r"(?<!\\)#.*", "", line).strip()
        included = re.fullmatch(r"(?i)include\s+(\S+)", bare)
        if included and Path(included[1]).name == OWN_LINES:
            continue
        if included and depth:
            yield from _lines(path.parent / included[1], depth - 1)
        elif bare:
            yield bare
