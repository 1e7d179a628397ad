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
}
_PRODUCT = ("--", "schemas", "producers", "workers", "ops")
_GIT = ("git", "-C", str(Path(__file__).parents[1]))
_LIBRARIES = ("lamplighter", "pika", "openstacksdk")
_VERSION = re.compile(r"\d+(\.\d+)+")


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


def this_commit() -> str:
    """The last commit of what is measured, with `-dirty` if it has changed since; empty if unknown."""
    commit = _output((*_GIT, "log", "-1", "--format=%h", *_PRODUCT)).strip()
    return f"{commit}-dirty" if _output((*_GIT, "diff", "HEAD", "--stat", *_PRODUCT)) else commit


def _version(argv: tuple[str, ...]) -> str | None:
    found = _VERSION.search(_output(argv))
    return found[0] if found else None


def _output(argv: tuple[str, ...]) -> str:
    """What a program prints; nothing if there is no such program."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""
