"""List and replay 10,000 dead letters; replay again after the command was killed half-way.

Whole commands, from start to exit, with a private RabbitMQ and SQLite.
"""

import argparse
import signal
from pathlib import Path

from benchmarks.results import publish
from benchmarks.table import Figure
from benchmarks.timing import duration, temporary_folder
from schemas.commands import parse_command
from schemas.envelope import parse
from schemas.events import Transition, event_from
from tests.testbed.broker import PrivateBroker
from tests.testbed.installation import Installation
from tests.testbed.messages import command, dead_letter
from tests.testbed.waiting import until
from workers.broker import topology

# The aims.
LIST_SECONDS = 2.0
REPLAYS_PER_SECOND = 1000.0


def measure(letters: int, folder: Path, broker: PrivateBroker) -> list[Figure]:
    """Return the figures for this many letters."""
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
    # the filter matches one half
    replayed = _timed(site, "replay", "--cause", "quota", "--yes", "--reason", "bench")
    if site.depth(topology.RESUME_QUEUE) != letters // 2:
        raise RuntimeError("not all letters that match the filter were replayed")
    duplicates = _replay_killed(site, letters)
    return [
        Figure(f"dead-letters list, {letters:,}", listed, LIST_SECONDS, "s"),
        Figure(f"dead-letters list --json, {letters:,}", each, LIST_SECONDS, "s"),
        Figure(
            f"dead-letters replay --cause, {letters // 2:,} of {letters:,}",
            replayed,
            letters / 2 / REPLAYS_PER_SECOND,
            "s",
        ),
        Figure("duplicates after kill -9 half-way, all deduplicated", duplicates, 200),
    ]


def _replay_killed(site: Installation, letters: int) -> int:
    """Replay the other half, killed half-way, then again; return the number of duplicate commands.

    Raises:
        RuntimeError: a letter is lost, or the audit would count a request twice.
    """
    half = letters // 2
    with site.start("dead-letters", "replay", "--all", "--yes") as child:
        until(
            lambda: site.depth(topology.RESUME_QUEUE) > half + letters // 4,
            60,
            "half of them",
            interval=0.02,
        )
        child.send(signal.SIGKILL)
        child.wait(10.0)
    left = _settled_depth(site)
    if not 0 < left < letters - half:
        raise RuntimeError(f"{left} letters are left: the command was not killed half-way")
    again = site.lamplighter("dead-letters", "replay", "--all", "--yes")
    if again.code or site.depth(topology.DEAD_LETTER_QUEUE):
        raise RuntimeError(f"letters are left: {again.err}")
    ids = [parse_command(body).id for _, body in site.drain(topology.RESUME_QUEUE)]
    bodies = (body for _, body in site.drain(topology.AUDIT_QUEUE))
    events = {event.id: event for event in map(event_from, map(parse, bodies))}.values()
    if len(set(ids)) != letters or len(events) != letters:
        raise RuntimeError(f"{len(set(ids))} commands and {len(events)} events, not {letters}")
    if {event.transition for event in events} != {Transition.REPLAYED}:
        raise RuntimeError("an event other than replayed was published")
    print(f"killed with {left} of {letters - half} left; {len(ids)} commands, {letters} requests")
    return len(ids) - letters


def _settled_depth(site: Installation) -> int:
    """Return the number of letters, once the broker has requeued those of the killed command."""
    depths = [-1]

    def unchanged() -> bool:
        depths.append(site.depth(topology.DEAD_LETTER_QUEUE))
        return depths[-1] == depths[-2] > 0

    until(unchanged, 30, "the letters to be requeued", interval=0.5)
    return depths[-1]


def _timed(site: Installation, *arguments: str) -> float:
    def run() -> None:
        result = site.lamplighter("dead-letters", *arguments)
        if result.code:
            raise RuntimeError(result.err)

    return duration(run)


def main() -> None:
    """`python -m benchmarks.letters [--letters N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--letters", type=int, default=10_000)
    letters: int = parser.parse_args().letters
    with temporary_folder() as folder, PrivateBroker(folder / "broker") as broker:
        figures = measure(letters, folder, broker)
    publish(
        f"List and replay {letters:,} dead letters",
        "Whole commands, from start to exit, with a private RabbitMQ and SQLite; one replay is killed with kill -9 "
        "half-way and run again.",
        figures,
    )


if __name__ == "__main__":
    main()
