"""Was everything kept that is promised of a run? By what was recorded and what was told; pure.

What was told is what a queue of the test's own got from the exchange of events: the audit folds what
has one id, so that it cannot show by itself whether a request has ended in two ways.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import RequestEvent, Transition, event_from
from workers.power.suspend_guard import DISAGREES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from schemas.commands import Desired

_GENESIS = bytes(32)
_HASHED = (
    *("source", "id", "type", "time", "recorded_at", "subject"),
    *("request_id", "round", "transition", "generation", "correlation_id"),
)


@dataclass(frozen=True)
class Run:
    """All that is known of a run at its end.

    Attributes:
        records: the rows of the table `audit`, in order.
        told: the bodies of all events, in order, repetitions included.
        requests: how many were made, duplicates not counted.
        wanted: the states that the nodes were last asked to be in, as far as that is known.
    """

    records: Sequence[Mapping[str, Any]]
    told: Sequence[bytes]
    requests: int
    wanted: Mapping[str, Desired]


def broken_promises(run: Run) -> list[str]:
    """What was not kept, one line each; none if all was."""
    events = [event for event in map(_event, run.told) if event is not None]
    return [
        *_chain(run.records),
        *_recorded(run.records, run.told),
        *_accepted(events, run),
        *_ended(events, run),
        *_superseded(events),
    ]


def _chain(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each record's hash covers it and the one before."""
    previous = _GENESIS
    for record in records:
        head = json.dumps([record[name] for name in _HASHED], separators=(",", ":")).encode()
        if record["prev_hash"] != previous:
            yield f"record {record['seq']} does not follow the one before it"
        elif record["hash"] != hashlib.sha256(previous + head + record["body"]).digest():
            yield f"record {record['seq']} is not what its hash covers"
        previous = record["hash"]


def _recorded(records: Sequence[Mapping[str, Any]], told: Sequence[bytes]) -> Iterator[str]:
    """P1: the audit has every event that was told, once, as it was told, and nothing else."""
    bodies = [record["body"] for record in records]
    if unknown := set(bodies) - set(told):
        yield f"{len(unknown)} records of what was never told, such as {min(unknown)!r}"
    ids = [record["id"] for record in records]
    if len(ids) != len(set(ids)):
        yield "an event is recorded twice"
    if missing := {parse(body).id for body in told} - set(ids):
        yield f"{len(missing)} events are not recorded, such as {min(missing)}"


def _accepted(events: Sequence[RequestEvent], run: Run) -> Iterator[str]:
    """Every request was accepted, and the newest of each node is what was asked of it last."""
    newest: dict[str, RequestEvent] = {}
    accepted = {e.request_id: e for e in events if e.transition is Transition.ACCEPTED}
    if len(accepted) != run.requests:
        yield f"{len(accepted)} of {run.requests} requests accepted"
    for event in accepted.values():
        known = newest.get(event.node)
        if known is None or event.generation > known.generation:
            newest[event.node] = event
    for node, wanted in run.wanted.items():
        if node not in newest or newest[node].kind.desired is not wanted:
            yield f"{node} was last asked to be {wanted}, which was not its newest request"


def _ended(events: Sequence[RequestEvent], run: Run) -> Iterator[str]:
    """P1: every request's round has one outcome; who says it again says the same."""
    outcomes: dict[tuple[str, int], set[RequestEvent]] = defaultdict(set)
    for event in events:
        if event.transition.terminal:
            outcomes[event.request_id, event.round].add(event)
    if len({request_id for request_id, _ in outcomes}) != run.requests:
        yield f"{len(outcomes)} rounds of {run.requests} requests ended"
    if open_ := {(event.request_id, event.round) for event in events} - set(outcomes):
        yield f"{len(open_)} rounds have not ended, such as {min(open_)}"
    for (request_id, round_), different in outcomes.items():
        if len(different) > 1:
            words = ", ".join(sorted(event.transition for event in different))
            yield f"round {round_} of {request_id} has {len(different)} outcomes: {words}"


def _superseded(events: Sequence[RequestEvent]) -> Iterator[str]:
    """P2: only by a newer request that wants otherwise, or by Slurm's own later word."""
    asked: dict[str, list[RequestEvent]] = defaultdict(list)
    for event in events:
        if event.transition is Transition.ACCEPTED:
            asked[event.node].append(event)
    for event in events:
        by_slurm = event.cause is not None and event.cause.error == DISAGREES
        if (
            event.transition is Transition.SUPERSEDED
            and not by_slurm
            and not any(
                other.generation > event.generation and other.kind.desired is not event.kind.desired
                for other in asked[event.node]
            )
        ):
            yield f"{event.request_id} ({event.node}) is superseded by nothing that was asked"


def _event(body: bytes) -> RequestEvent | None:
    """The step of a request that a body tells of; None for alarms and what cannot be read."""
    try:
        return event_from(parse(body))
    except MalformedMessageError:
        return None
