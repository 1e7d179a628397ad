"""Under the usual umask 022: every file that hooks and workers make, and their memory, is for their user only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops.site.worker import BESIDE_SLURM, KINDS
from tests.testbed.processes import Child
from tests.testbed.stores import SQLITE_PAIR
from tests.testbed.waiting import until
from tests.testbed.whole_system import SystemPlan, WholeSystem

if TYPE_CHECKING:
    from collections.abc import Iterator

# On SQLite: the modes of its files, too.

# Without this capability root reads the memory of its own processes only where they permit it.
_AS_ANY_USER = ("setpriv", "--bounding-set", "-sys_ptrace")
_WORKERS = tuple(name for name in KINDS if name not in BESIDE_SLURM)
_MORE = """[resync]
enabled = true
[audit]
heads_every = 0.5
[[notify.webhook]]
name = "w"
url = "http://127.0.0.1:1/"
events = ["failed"]
"""


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_whatever_hooks_and_workers_write_is_for_their_user_only(
    run_dir: Path, broker_url: str
) -> None:
    """Stores, SQLite's files beside them, clock, spool, its calls, log, heads and keys."""
    plan = SystemPlan(nodes=2, source="oidc_refresh_token", store=SQLITE_PAIR, more=_MORE)
    with WholeSystem(run_dir / "site", broker_url, plan, start=()) as system, ExitStack() as stack:
        for name in ("spool", "clock"):
            shutil.rmtree(system.folder / name)
        for path in system.folder.glob("*.db*"):
            path.unlink()
        away = system.folder / "away.toml"
        away.touch(mode=0o600)
        away.write_text(re.sub(r"(127\.0\.0\.1):\d+/", r"\1:1/", system.settings.path.read_text()))
        given = set(system.folder.iterdir())
        hook = [str(Path(sys.executable).parent / "lamplighter-resume"), "node2"]
        subprocess.run(hook, env={"LAMPLIGHTER_CONFIG": str(away)}, check=True, capture_output=True)
        system.note("resume", "node2")
        by_hook = made(system.folder, given)
        assert {"spool", "clock", "hooks.log"} <= by_hook.keys()
        assert any(name.startswith("spool/") for name in by_hook), "the call waits"
        assert by_hook["hooks.log"] == 0o600, "no program"
        assert open_to_others(by_hook) == {}

        for name in _WORKERS:
            words = [*_AS_ANY_USER, *system.command("worker", name)]
            child = Child(words, log=run_dir / f"{name}.log")
            system.workers[name] = stack.enter_context(child)
        system.ready()
        assert system.request("resume", "node1").returncode == 0
        system.settle()
        until(lambda: "audit.heads" in made(system.folder, given), 20, "a signed head")
        by_all = made(system.folder, given)
        stores = {
            f"{name}.db{more}" for name in ("state", "audit") for more in ("", "-wal", "-shm")
        }
        assert {*stores, "audit.heads", "audit.key", "token.key"} <= by_all.keys()
        assert open_to_others(by_all) == {"audit.key.pub": "0o644"}, (
            "its public half alone is for all"
        )
        for name, worker in system.workers.items():
            worker.require_running()
            assert "Max core file size 0 " in limits(worker.pid), name
            assert not readable(worker.pid), f"{name}: another process of its user reads its memory"


def open_to_others(modes: dict[str, int]) -> dict[str, str]:
    """Those that their group or anybody may use in any way."""
    return {name: oct(mode) for name, mode in modes.items() if mode & 0o077}


def made(folder: Path, given: set[Path]) -> dict[str, int]:
    """The mode of each file and folder that the programs made; they make and remove some meanwhile."""
    found = {}
    for path in folder.rglob("*"):
        if path not in given:
            try:
                found[str(path.relative_to(folder))] = path.stat().st_mode & 0o7777
            except FileNotFoundError:
                continue
    return found


def limits(pid: int) -> str:
    """The limits of a process, each space once."""
    return " ".join(Path(f"/proc/{pid}/limits").read_text(encoding="utf-8").split())


def readable(pid: int) -> bool:
    """Whether another process of its user may open its memory."""
    words = [*_AS_ANY_USER, "head", "-c0", f"/proc/{pid}/mem"]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


def test_a_process_that_permits_it_is_readable(run_dir: Path) -> None:
    """Otherwise the test above could not fail."""
    with Child([*_AS_ANY_USER, "sleep", "60"], log=run_dir / "log") as child:
        until(lambda: "sleep" in Path(f"/proc/{child.pid}/comm").read_text(), 10, "sleep")
        assert readable(child.pid)
