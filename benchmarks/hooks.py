"""How long a whole hook process takes, from start to exit, beside the least that pika can do.

Run it with `python -m benchmarks.hooks`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pika

from benchmarks.table import Figure, render
from tests.testbed.broker_choice import choose
from workers.broker import topology
from workers.broker.declare import declare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.testbed.broker import Broker

ROUNDS = 31
MANY = 1000

# The smallest script that publishes one message as safely as the hook does: confirmed, persistent
# and mandatory, to the same queue. It learns the URL from a file, as the hook does.
BASELINE = """\
import sys, pika
connection = pika.BlockingConnection(pika.URLParameters(open(sys.argv[1]).read()))
channel = connection.channel()
channel.confirm_delivery()
channel.basic_publish(
    "power.commands", "node.resume.requested", b"{}",
    pika.BasicProperties(delivery_mode=2), mandatory=True,
)
connection.close()
"""


def main() -> None:
    """Measure and print; the verdict stands in the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each (%(default)s)")
    rounds: int = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="lamplighter-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with choose().open(folder) as broker:
            print(f"broker: {broker.description}; medians of {rounds} alternating runs")
            figures = measure(broker, folder, rounds)
    print(render(figures))


def measure(broker: Broker, folder: Path, rounds: int) -> list[Figure]:
    """Time the baseline, a hook call for one node and one for a thousand, in turn."""
    vhost = broker.create_vhost()
    url = broker.amqp_url(vhost)
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        declare(connection.channel(), topology.topology())
    commands = _commands(folder, url)
    times: dict[str, list[float]] = {what: [] for what in commands}
    for round_ in range(-1, rounds):  # the first warms the caches of files and is not counted
        for what, argv in commands.items():
            seconds = _run(argv, {"SLURM_CONF": str(folder / "slurm.conf")})
            if round_ >= 0:
                times[what].append(seconds * 1000)
    broker.delete_vhost(vhost)
    least, one, many = (statistics.median(times[what]) for what in commands)
    return [
        Figure("hook, 1 node, against bare pika", one, 1.3, "ms", least),
        Figure(f"hook, {MANY:,} nodes, against 1 node", many, 2.5, "ms", one),
    ]


def _commands(folder: Path, url: str) -> Mapping[str, Sequence[str]]:
    """What is run, in the order of the figures; lays out the files it needs."""
    (folder / "url").write_text(url)
    (folder / "baseline.py").write_text(BASELINE)
    (folder / "lamplighter.toml").write_text(
        f'cluster = "bench"\n[broker]\nurl = "{url}"\n'
        '[hooks]\nspool = "spool"\nstate = "state"\nlog_file = "hooks.log"\n'
    )
    for secret in ("url", "lamplighter.toml"):
        (folder / secret).chmod(0o600)
    hook = str(Path(sys.executable).parent / "lamplighter-resume")
    return {
        "baseline": (sys.executable, str(folder / "baseline.py"), str(folder / "url")),
        "one": (hook, "node1"),
        "many": (hook, f"node[1-{MANY}]"),
    }


def _run(argv: Sequence[str], env: Mapping[str, str]) -> float:
    """Seconds that a process takes; it must succeed and say nothing."""
    started = time.perf_counter()
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode or done.stderr:
        raise RuntimeError(f"{argv[0]}: exit {done.returncode}: {done.stderr.decode()}")
    return seconds


if __name__ == "__main__":
    main()
