"""10,000 dead letters: listed, replayed by a filter, and replayed by an operator who is killed half-way.

Whole commands, from start to exit, on a private RabbitMQ and SQLite.
"""

import argparse
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.table import Figure, render
from schemas.commands import parse_command
from schemas.envelope import parse
from schemas.events import Transition, event_from
from tests.testbed.broker import PrivateBroker
from tests.testbed.installation import Installation
from tests.testbed.messages import command, dead_letter
from tests.testbed.waiting import until
from workers.broker import topology

LIST_SECONDS = 2.0
REPLAYS_A_SECOND = 1000.0


def measure(letters: int, folder: Path, broker: PrivateBroker) -> list[Figure]:
    """The figures for so many letters."""
    site = Installation(folder / "site", broker.amqp_url(broker.create_vhost("bench")))
    site.prepare()
    site.publish(
        [
            dead_letter(command(f"node{n}"), cause="quota" if n % 2 else "forbidden")
            for n in range(letters)
        ]
    )
    listed = _timed(site, "list")
    each = _timed(site, "list", "--json")
    # the filter takes one half
    replayed = _timed(site, "replay", "--cause", "quota", "--yes", "--reason", "bench")
    if site.depth(topology.RESUME_QUEUE) != letters // 2:
        raise RuntimeError("not all were replayed that the filter names")
    copies = _killed(site, letters)
    return [
        Figure(f"dead-letters list, {letters:,}", listed, LIST_SECONDS, "s"),
        Figure(f"dead-letters list --json, {letters:,}", each, LIST_SECONDS, "s"),
        Figure(
            f"dead-letters replay --cause, {letters // 2:,} of {letters:,}",
            replayed,
            letters / 2 / REPLAYS_A_SECOND,
            "s",
        ),
        Figure("copies after kill -9 half-way, all folded", copies, 200),
    ]


def _killed(site: Installation, letters: int) -> int:
    """Replay the other half, killed half-way, then again; how many commands came twice.

    Raises:
        RuntimeError: a letter is lost, or the audit would count one twice.
    """
    begun = letters // 2
    with site.start("dead-letters", "replay", "--all", "--yes") as child:
        until(
            lambda: site.depth(topology.RESUME_QUEUE) > begun + letters // 4,
            60,
            "half of them",
            interval=0.02,
        )
        child.send(signal.SIGKILL)
        child.wait(10.0)
    left = _settled(site)
    if not 0 < left < letters - begun:
        raise RuntimeError(f"{left} letters are left: it was not killed half-way")
    again = site.lamplighter("dead-letters", "replay", "--all", "--yes")
    if again.code or site.depth(topology.DEAD_LETTER_QUEUE):
        raise RuntimeError(f"letters are left: {again.err}")
    given = [parse_command(body).id for _, body in site.drain(topology.RESUME_QUEUE)]
    told = [event_from(parse(body)) for _, body in site.drain(topology.AUDIT_QUEUE)]
    events = {event.id: event for event in told}.values()
    if len(set(given)) != letters or len(events) != letters:
        raise RuntimeError(f"{len(set(given))} commands and {len(events)} events, not {letters}")
    if {event.transition for event in events} != {Transition.REPLAYED}:
        raise RuntimeError("something else was told")
    print(
        f"killed with {left} of {letters - begun} left; {len(given)} commands, {letters} requests"
    )
    return len(given) - letters


def _settled(site: Installation) -> int:
    """How many letters wait, once the broker has taken back those that the dead one held."""
    depths = [-1]

    def still() -> bool:
        depths.append(site.depth(topology.DEAD_LETTER_QUEUE))
        return depths[-1] == depths[-2] > 0

    until(still, 30, "the letters to come back", interval=0.5)
    return depths[-1]


def _timed(site: Installation, *arguments: str) -> float:
    begun = time.monotonic()
    said = site.lamplighter("dead-letters", *arguments)
    seconds = time.monotonic() - begun
    if said.code:
        raise RuntimeError(said.err)
    return seconds


def main() -> None:
    """`python -m benchmarks.letters [--letters N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--letters", type=int, default=10_000)
    letters: int = parser.parse_args().letters
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lamplighter-")))
        folder.chmod(0o755)
        broker = stack.enter_context(PrivateBroker(folder / "broker"))
        figures = measure(letters, folder, broker)
    print("Dead letters (whole commands)", render(figures), sep="\n")


if __name__ == "__main__":
    main()
