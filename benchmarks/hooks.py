"""The duration of a hook process, from start to exit, against the least that pika needs."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.results import Chart, publish
from benchmarks.table import Figure
from benchmarks.timing import duration, temporary_folder
from schemas.roles import Role
from tests.testbed.broker_choice import choose
from tests.testbed.broker_roles import BrokerRoles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.testbed.broker import Broker

ROUNDS = 31
SIZES = (1, 100, 1000, 5000)

# The smallest script that publishes one message as safely as the hook does: confirmed, persistent
# and mandatory, to the same queue. It reads the URL from a file, as the hook does.
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
    """`python -m benchmarks.hooks [--rounds N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds: int = parser.parse_args().rounds
    with temporary_folder() as folder, choose().open(folder) as broker:
        figures, points = measure(broker, folder, rounds)
    publish(
        "The duration of a hook",
        f"Medians of {rounds} runs that alternate, each from the start of the process to its end. The baseline "
        "is the smallest Python script that publishes one confirmed, persistent message with pika; for more "
        "nodes, the hook for one node. Both log in as the hook's own broker user, as `lamplighter init` creates it.",
        figures,
        charts=[Chart("hooks", "Duration of a hook call", "nodes in the call", "ms", points)],
    )


def measure(
    broker: Broker, folder: Path, rounds: int
) -> tuple[list[Figure], dict[str, list[tuple[float, float]]]]:
    """Time the baseline and hook calls for one node and for more, in turn; return a chart's lines too."""
    vhost = broker.create_vhost()
    roles = BrokerRoles(broker, vhost, folder)
    commands = _commands(folder, roles)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for round_ in range(-1, rounds):  # the first round fills the file cache and is not counted
        for name, argv in commands.items():
            seconds = duration(partial(_run, argv, {"SLURM_CONF": str(folder / "slurm.conf")}))
            if round_ >= 0:
                times[name].append(seconds * 1000)
    roles.remove()
    broker.delete_vhost(vhost)
    medians = {name: statistics.median(times[name]) for name in commands}
    least, one = medians.pop("baseline"), medians["1"]
    aims = {1000: 2.5}
    figures = [
        Figure("hook, 1 node, against bare pika", one, 1.3, "ms", least),
        *(
            Figure(
                f"hook, {size:,} nodes, against 1 node",
                medians[str(size)],
                aims.get(size),
                "ms",
                one,
            )
            for size in SIZES[1:]
        ),
    ]
    ours = [(float(size), took) for size, took in medians.items()]
    return figures, {"hook": ours, "bare pika, one message": [(1.0, least)]}


def _commands(folder: Path, roles: BrokerRoles) -> Mapping[str, Sequence[str]]:
    """Write what the commands need, as `init` does: a broker user for each role, the topology.

    Returns the commands in the order of the figures.
    """
    config = folder / "lamplighter.toml"
    config.touch(mode=0o600)
    config.write_text(
        f'cluster = "bench"\n{roles.table}\n'
        '[hooks]\nspool = "spool"\nstate = "state"\nlog_file = "hooks.log"\n'
    )
    roles.apply(config)
    (folder / "url").touch(mode=0o600)
    (folder / "url").write_text(roles.url(Role.HOOK))
    (folder / "baseline.py").write_text(BASELINE)
    hook = str(Path(sys.executable).parent / "lamplighter-resume")
    return {
        "baseline": (sys.executable, str(folder / "baseline.py"), str(folder / "url")),
        **{str(size): (hook, f"node[1-{size}]") for size in SIZES},
    }


def _run(argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Run a command; it must succeed and write nothing to standard error."""
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode or done.stderr:
        raise RuntimeError(f"{argv[0]}: exit {done.returncode}: {done.stderr.decode()}")


if __name__ == "__main__":
    main()
