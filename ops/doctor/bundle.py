"""`lamplighter support-bundle`: what a report of a problem needs, without secrets, in one file."""

import io
import os
import platform
import shutil
import sqlite3
import sys
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import click
import sqlalchemy as sa

from ops.cli.session import Session, pass_session
from ops.cli.terminal import json_line, print_line
from ops.doctor.checks import failure_of, words_of
from ops.doctor.command import all_findings, of_this_host
from ops.doctor.scrub import Scrubber
from ops.doctor.secrets import known_secrets
from ops.site.config import settings_of
from producers.disk import open_file
from producers.settings import ConfigError, read_toml
from workers.broker.depths import queue_depths
from workers.config.slurm_location import find
from workers.process.programs import run_program
from workers.store.tables import audit

# Of each log, the last bytes.
_LOG_BYTES = 2**20
_JOURNAL_LINES = 5000
_SECONDS = 20.0
_FINDINGS_SECONDS = 600.0
_DAY = 86_400 * 10**9
_DAYS = 7


@click.command("support-bundle")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@pass_session
def support_bundle(session: Session, file: Path | None) -> None:
    """Write findings, configuration, versions, logs and queue depths to FILE, a new tar.gz.

    Secrets are masked: those that lamplighter.toml holds or names, and what looks like one. Names of
    nodes, jobs and hosts are not. Only you can read the file.
    """
    path = file or Path(f"lamplighter-support-{time.strftime('%Y%m%dT%H%M%S')}.tar.gz")
    scrub = Scrubber(known_secrets(session.config, os.environ))
    with (
        os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw,
        tarfile.open(fileobj=raw, mode="w:gz") as archive,
    ):
        for name, part in _PARTS.items():
            content = scrub(_described(part, session)).encode(errors="backslashreplace")
            entry = tarfile.TarInfo(f"lamplighter-support/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(content))
    print_line(f"wrote {path}; look through it before you send it")


def _described(part: Callable[[Session], str], session: Session) -> str:
    """A part of the bundle; why there is none, if its source does not answer, or fails."""
    found: list[str] = []
    # the findings have bounds of their own
    seconds = _FINDINGS_SECONDS if part is _findings else None
    problem = failure_of(lambda: found.append(part(session)), seconds)
    return f"not available: {words_of(problem)}\n" if problem else found[0]


def _findings(session: Session) -> str:
    return "".join(f"{json_line(one.as_json())}\n" for one in all_findings(session))


def _configuration(session: Session) -> str:
    shown = settings_of(session.settings, read_toml(session.config))
    lines = [
        f"{one.table}.{one.name} = {one.shown}{'' if one.is_set else '  # default'}\n"
        for one in shown
    ]
    return "".join([f"# {session.config}\n", *lines])


def _versions(session: Session) -> str:
    packages = sorted(f"{one.name} {one.version}" for one in metadata.distributions())
    return "\n".join(
        [
            f"lamplighter {metadata.version('lamplighter')}",
            f"python {sys.version}",
            f"system {platform.platform()}",
            f"sqlite {sqlite3.sqlite_version}",
            _slurm_version(session),
            *packages,
            "",
        ]
    )


def _slurm_version(session: Session) -> str:
    folder = None
    with suppress(ConfigError):
        folder = session.settings.slurm.bin
    try:
        return _output(find("scontrol", folder), "--version").strip()
    except ConfigError:
        return "slurm not on this host"


def _queues(session: Session) -> str:
    with of_this_host(session).channel() as channel:
        depths = queue_depths(channel)
    return "".join(f"{one.name}: {one.ready} ready, {one.consumers} consumers\n" for one in depths)


def _audit(session: Session) -> str:
    """The number of events of each type and transition, of the last days."""
    columns = audit.c.type, audit.c.transition
    since = time.time_ns() - _DAYS * _DAY
    query = (
        sa.select(*columns, sa.func.count())
        .where(audit.c.time >= since)
        .group_by(*columns)
        .order_by(*columns)
    )
    with of_this_host(session).reading("audit") as connection:
        rows = connection.execute(query).all()
    lines = [f"{count:8} {type_} {transition or ''}\n" for type_, transition, count in rows]
    return "".join([f"events of the last {_DAYS} days\n", *lines])


def _hooks_log(session: Session) -> str:
    path = session.settings.hook.log_file
    if path is None:
        return "hooks.log_file is not set\n"
    with open_file(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _LOG_BYTES))
        return file.read(_LOG_BYTES).decode(errors="backslashreplace")


def _journal(session: Session) -> str:
    del session
    program = shutil.which("journalctl")
    if program is None:
        return "journalctl is not on this host\n"
    lines = f"--lines={_JOURNAL_LINES}"
    return _output(program, "--unit=lamplighter-*", lines, "--no-pager")[-_LOG_BYTES:]


def _output(*argv: str) -> str:
    done = run_program(argv, _SECONDS)
    return (done.stdout or done.stderr).decode(errors="backslashreplace")


_PARTS: dict[str, Callable[[Session], str]] = {
    "findings.jsonl": _findings,
    "configuration.toml": _configuration,
    "versions.txt": _versions,
    "queues.txt": _queues,
    "audit.txt": _audit,
    "hooks.log": _hooks_log,
    "journal.log": _journal,
}
