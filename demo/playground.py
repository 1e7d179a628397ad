"""Keep a cluster running: real Slurm and RabbitMQ, a simulated OpenStack, and the web console.

It prints the commands for a second terminal. Ctrl-C, SIGTERM and a closed terminal end all servers and
remove their files.
"""

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import requests

from tests.testbed.cluster import PROGRAMS, Cluster, ClusterPlan
from tests.testbed.failures import describe
from tests.testbed.ports import Ports
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until

_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_COMMANDS = """
The playground runs. The console: http://{console}/
In a second terminal, as root:

    . {folder}/environment
    sbatch --nodes=2 --wrap hostname      # two nodes are lit, the job runs, they go out again
    squeue; sinfo
    lamplighter status
    lamplighter audit tail
    lamplighter audit why 1
    lamplighter hold node4 --reason "a look at it"

Ctrl-C here ends all servers and removes {folder}.
"""


class _EndError(Exception):
    """The user ends the playground."""


def main() -> int:
    """Run until Ctrl-C; return the exit code."""
    for number in _ENDS:
        signal.signal(number, _end)
    folder = Path(tempfile.mkdtemp(prefix="lamplighter-play-"))
    folder.chmod(0o755)  # slurmd runs jobs as other users
    try:
        _run(folder)
    except _EndError:
        code = 0
    except (TimeoutError, RuntimeError, OSError) as error:
        sys.stderr.write(f"{describe([folder])}\nplayground: {error}\n")
        code = 1
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)
    shutil.rmtree(folder, ignore_errors=True)
    return code


def _end(*_: object) -> None:
    # once: what follows must not be interrupted
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)
    raise _EndError


def _run(folder: Path) -> None:
    with Ports() as ports:
        address = f"127.0.0.1:{ports.take()}"
        plan = ClusterPlan(
            SlurmSettings(nodes=4, suspend_time=30, suspend_timeout=5),
            snapshot_interval=10.0,
            prolog=True,
            more=f'[console]\nlisten = "{address}"\n',
        )
        with (
            Cluster(folder, plan, say=lambda what: _say(f"Starting {what}")) as cluster,
            Child(
                [PROGRAMS / "lamplighter", "--config", cluster.settings.path, "console"],
                log=folder / "console.log",
            ) as console,
        ):
            until(lambda: _answers(console, address), 30, "the console")
            (folder / "environment").write_text(
                f"export SLURM_CONF={cluster.slurm.conf}\n"
                f"export LAMPLIGHTER_CONFIG={cluster.settings.path}\n"
                f"export PATH={PROGRAMS}:{MINIMAL_ENVIRONMENT['PATH']}\n"
            )
            _say(_COMMANDS.format(console=address, folder=folder))
            while True:
                time.sleep(3600)


def _answers(console: Child, address: str) -> bool:
    console.require_running()
    try:
        return requests.get(f"http://{address}/", timeout=5).ok
    except requests.ConnectionError:
        return False


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
