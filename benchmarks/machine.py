"""The machine that measures, and the versions of what it runs."""

from __future__ import annotations

import platform
import re
import sqlite3
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

_PROGRAMS = {
    "RabbitMQ": ("dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"),
    "Slurm": ("slurmctld", "-V"),
    "PostgreSQL": ("psql", "--version"),
    "commit": ("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"),
}
_LIBRARIES = ("lamplighter", "pika", "openstacksdk")
_VERSION = re.compile(r"\d+(\.\d+)+|[0-9a-f]{7,}(-dirty)?")


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine: its system, cores, GB of memory, and versions by program."""

    system: str
    processor: str
    cores: int
    memory: int
    versions: dict[str, str]


def this_machine() -> Machine:
    """What is known of this machine; programs that it lacks are left out."""
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    versions |= {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    for name, argv in _PROGRAMS.items():
        if version := _version(argv):
            versions[name] = version
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return Machine(
        platform.freedesktop_os_release()["PRETTY_NAME"],
        names[0] if names else platform.machine(),
        psutil.cpu_count() or 1,
        round(psutil.virtual_memory().total / 2**30),
        versions,
    )


def _version(argv: tuple[str, ...]) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    found = _VERSION.search(done.stdout)
    return found[0] if found else None
