"""The commands of a page, run on a whole system: its folder stands for those of an installation."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tests.testbed.processes import MINIMAL_ENVIRONMENT
from tests.testbed.terminal import typing
from tests.testbed.whole_system import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.testbed.whole_system import WholeSystem

PAGE = Path(__file__).parents[2] / "docs/operations.md"
# Owners and broker users are tested where there are several: tests/e2e/test_quick_start.py, tests/integration/test_roles.py
_ELSEWHERE = ("systemd-tmpfiles", "lamplighter broker users")


def printed(heading: str, page: Path = PAGE) -> list[str]:
    """The commands of a section, without those of its subsections, in order."""
    section = re.split(r"\n##+ ", page.read_text().partition(f"# {heading}\n")[2])[0]
    return re.findall(r"^ {4,}(\S.*)$", section, re.MULTILINE)


def for_postgresql(heading: str) -> list[str]:
    """The commands of a section, as the subsection about PostgreSQL changes them."""
    kept = [line for line in printed(heading) if ".db" not in line]
    return [*kept, *printed(f"{heading} of PostgreSQL")]


def run_commands(
    lines: list[str],
    system: WholeSystem,
    folder: Path,
    systemctl: Mapping[str, Callable[[], None]] | None = None,
    examples: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Run commands in a folder, one after the other; return what each printed.

    Args:
        lines: as printed on the page; `export` and `umask` last for those after it.
        system: the installation.
        folder: the working directory.
        systemctl: does what systemd would: by verb, `start`, `stop` and `restart`.
        examples: what stands here in place of the page's examples. With it, a person at a terminal
            confirms what is asked.

    Raises:
        AssertionError: one has failed; the message holds what it printed.
    """
    told: dict[str, str] = {}
    exports: list[str] = []
    for line in lines:
        if line.startswith(_ELSEWHERE):
            continue
        if line.startswith("systemctl"):
            (systemctl or {})[line.split()[1]]()
            continue
        if line.startswith(("export ", "umask ")):
            exports.append(_here(line, system))
            continue
        script = "\n".join([*exports, _here(line, system)])
        for example, ours in (examples or {}).items():
            script = re.sub(rf"(?<!\w){re.escape(example)}(?!\w)", ours, script)
        with typing("y\n") as terminal:
            done = subprocess.run(
                ["/bin/sh", "-euc", script],
                cwd=folder,
                env={
                    **MINIMAL_ENVIRONMENT,
                    "PATH": f"{PROGRAMS}:{MINIMAL_ENVIRONMENT['PATH']}",
                    "LAMPLIGHTER_CONFIG": str(system.settings.path),
                },
                check=False,
                stdin=terminal if examples else subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
            )
        # They say 1: no slurm worker runs here; there is drift.
        words = line.partition(" #")[0].rstrip()
        fine = {0, 1} if words.endswith((" status", " drift", " doctor")) else {0}
        assert done.returncode in fine, f"{line}\n{done.stdout}{done.stderr}"
        told[line] = done.stdout
    return told


def write_services(system: WholeSystem, folder: Path) -> None:
    """Write the services `state` and `audit` of PostgreSQL, where the commands find them."""
    path = folder / "pg_service.conf"
    path.touch(mode=0o600)
    path.write_text("".join(_services(system.settings.store.url, system.settings.store.audit_url)))


def _services(*urls: str) -> Iterator[str]:
    for name, text in zip(("state", "audit"), urls, strict=True):
        url = sa.make_url(text)
        yield f"[{name}]\nhost={url.host}\nport={url.port}\nuser={url.username}\n"
        yield f"dbname={url.database}\npassfile={url.query['passfile']}\n"


def _here(line: str, system: WholeSystem) -> str:
    site = system.folder
    ours = f"{site}/*.toml {site}/*.password {site}/refresh.token"
    for name, path in (
        ("/etc/lamplighter/pg_service.conf", f"{site.parent}/pg_service.conf"),
        ("/etc/lamplighter.old", f"{site}.old"),
        ("cp -a /etc/lamplighter", f"cp -a {site}"),
        ("/etc/lamplighter", ours),
        ("/var/lib/lamplighter-audit", str(site)),
        ("/var/lib/lamplighter", str(site)),
        (" compute ", " all "),
    ):
        line = line.replace(name, path)
    return line
