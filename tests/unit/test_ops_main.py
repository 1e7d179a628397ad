"""The command `lamplighter` as its callers' environments make it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

RUN = """
import os, shutil, sys
from ops.cli.main import main
os.geteuid = lambda: int(sys.argv.pop())
try:
    main()
except SystemExit:
    print(shutil.which("program-of-root"))
"""


@pytest.mark.parametrize("uid", [0, 1000])
def test_root_finds_the_programs_of_root_also_after_su_without_a_dash(
    run_dir: Path, uid: int
) -> None:
    """Such a su keeps the user's PATH: rabbitmqctl would seem not to be installed."""
    program = run_dir / "program-of-root"
    program.touch(mode=0o755)
    code = f"import ops.cli.main as m; m._OF_ROOT = ({str(run_dir)!r},){RUN}"
    argv = [sys.executable, "-c", code, "--version", str(uid)]
    done = subprocess.run(
        argv, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == (str(program) if uid == 0 else "None")


def test_root_can_name_its_processes_all_the_same(run_dir: Path) -> None:
    """`up` names its workers, so that ps and pkill tell them apart."""
    script = run_dir / "main.py"
    script.write_text(f"""{RUN}
    from setproctitle import setproctitle
    setproctitle("lamplighter")
    print(open("/proc/self/cmdline").read().rstrip("\\0 "))
""")
    argv = [sys.executable, str(script), "--version", "0"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "lamplighter"
