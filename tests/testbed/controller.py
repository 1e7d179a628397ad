"""The host of slurmctld: the files beside slurm.conf, and hooks started as slurmctld does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from producers import spool
from producers.amqp import connection_parameters
from producers.call import call_from
from schemas.commands import parse_command
from workers.broker.blocking import blocking_channel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from producers.call import HookCall
    from tests.testbed.installation import Installation

PROGRAMS = Path(sys.executable).parent
# A hook ends within 4 s, as benchmarks measure it. What has no limit takes longer than this, even on a busy machine.
IN_TIME = 10.0
# As measured under slurmctld 22.05 (SigBlk 0x887a27).
BLOCKED = ["HUP", "INT", "QUIT", "ABRT", "USR1", "USR2", "PIPE", "ALRM", "TERM", "TSTP", "XCPU"]
# Acts as slurmctld for one program: it holds the resume file and waits for the program's end.
STARTER = """
import json, os, signal, sys
call = json.loads(sys.argv[1])
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.Signals["SIG" + name] for name in call["blocked"]})
environ = {"SLURM_CONF": call["conf"]}
if call["content"] is not None:
    memory = os.memfd_create("resume")
    os.write(memory, call["content"].encode())
    environ["SLURM_RESUME_FILE"] = f"/proc/{os.getpid()}/fd/{memory}"
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    os.chdir(call["cwd"])
    os.closerange(0, 3)
    os.execve(call["argv"][0], call["argv"], environ)
print(child, flush=True)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(status, flush=True)
"""


@dataclass(frozen=True)
class HookResult:
    """A hook's exit status (negative: the signal that ended it) and its duration in seconds."""

    code: int
    seconds: float


class Hook:
    """A running hook; leaving its `with` block kills it."""

    def __init__(self, call: Mapping[str, object], prefix: Sequence[str]) -> None:
        self._began = time.monotonic()
        self._starter = subprocess.Popen(
            [*prefix, sys.executable, "-c", STARTER, json.dumps(call)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._starter.stdout
        self.pid = int(self._starter.stdout.readline())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the hook."""
        os.kill(self.pid, number)

    def wait(self, timeout: float = 30.0) -> HookResult:
        """Wait for the end of the hook."""
        output, _ = self._starter.communicate(timeout=timeout)
        return HookResult(int(output), time.monotonic() - self._began)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # While the starter runs, the hook's pid cannot belong to another process.
        if self._starter.poll() is None:
            self.send(signal.SIGKILL)
        self._starter.communicate()


class Controller:
    """An installation whose folder is also the folder of slurm.conf.

    Args:
        site: the installation.
        prefix: words before each hook's command, such as unshare(1) with options.
        cwd: working directory of slurmctld, and therefore of the hook.
    """

    def __init__(self, site: Installation, *, prefix: Sequence[str] = (), cwd: str = "/") -> None:
        self.site = site
        self.folder = site.folder
        self._prefix, self._cwd = prefix, cwd
        site.config.write_text(
            site.config.read_text().replace("[hooks]\n", '[hooks]\nlog_file = "hooks.log"\n')
        )

    def start(self, kind: str, *arguments: str, content: str | None = None) -> Hook:
        """Start a hook as slurmctld 22.05 does: descriptors closed, signals blocked, no environment."""
        call = {
            "argv": [str(PROGRAMS / f"lamplighter-{kind}"), *arguments],
            "blocked": BLOCKED,
            "content": content,
            "conf": str(self.folder / "slurm.conf"),
            "cwd": self._cwd,
        }
        return Hook(call, self._prefix)

    def hook(self, kind: str, *arguments: str, content: str | None = None) -> HookResult:
        """Start a hook and wait for its end."""
        with self.start(kind, *arguments, content=content) as running:
            return running.wait()

    @property
    def spool(self) -> Path:
        """The spool folder."""
        return self.folder / "spool"

    @property
    def spooled(self) -> list[Path]:
        """The calls that wait in the spool."""
        return spool.waiting(self.spool)

    def leave(self, call: HookCall) -> Path:
        """Put a call into the spool, as a hook that was killed leaves it."""
        spooled = spool.put(self.spool, call)
        spooled.release()
        return spooled.path

    def left(self) -> list[str]:
        """The hostlists of the calls in the spool, oldest first."""
        return [call_from(path.read_bytes()).nodes for path in self.spooled]

    def nodes(self, queue: str) -> list[str]:
        """Consume the messages of a queue; return their nodes, in order."""
        return [parse_command(body).node for _, body in self.site.drain(queue)]

    def replace_queue(self, queue: str, exchange: str, key: str, **arguments: str | int) -> None:
        """Replace a queue of the topology with another one."""
        named = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
        with blocking_channel(connection_parameters(self.site.settings.broker, "test")) as channel:
            channel.queue_delete(queue)
            channel.queue_declare(queue, durable=True, arguments=named)
            channel.queue_bind(queue, exchange, key)

    @property
    def log(self) -> str:
        """The content of the hooks' log file."""
        path = self.folder / "hooks.log"
        return path.read_text() if path.exists() else ""
