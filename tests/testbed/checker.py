"""Check that a run kept all promises, from its audit records and its events. Pure functions.

The events are those that a queue of the test received. The audit alone is not enough: it stores an
event id only once, so it cannot show that a request ended in two ways.
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
from workers.power.admit import DISAGREES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from schemas.commands import Desired

_GENESIS = bytes(32)
_HASHED = (
    *("source", "id", "type", "time", "recorded_at", "subject"),
    *("request_id", "round", "transition", "generation", "correlation_id", "sender"),
)


@dataclass(frozen=True)
class Run:
    """What is known about a run at its end.

    Attributes:
        records: the rows of the table `audit`, in order.
        events: the bodies of all events, in order, duplicates included.
        requests: number of requests made, without duplicates.
        wanted: the last requested state of each node, as far as it is known.
    """

    records: Sequence[Mapping[str, Any]]
    events: Sequence[bytes]
    requests: int
    wanted: Mapping[str, Desired]


def broken_promises(run: Run) -> list[str]:
    """Return one line for each broken promise."""
    events = [event for event in map(_event, run.events) if event is not None]
    return [
        *_chain(run.records),
        *_recorded(run.records, run.events),
        *_accepted(events, run),
        *_ended(events, run),
        *_superseded(events),
    ]


def _chain(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each record's hash covers the record and the previous hash."""
    previous = _GENESIS
    for record in records:
        columns = [record[name] for name in _HASHED]
        columns = columns if columns[-1] is not None else columns[:-1]
        head = json.dumps(columns, separators=(",", ":")).encode()
        if record["prev_hash"] != previous:
            yield f"record {record['seq']} does not follow the previous one"
        elif record["hash"] != hashlib.sha256(previous + head + record["body"]).digest():
            yield f"record {record['seq']} does not match its hash"
        previous = record["hash"]


def _recorded(records: Sequence[Mapping[str, Any]], events: Sequence[bytes]) -> Iterator[str]:
    """P1: the audit has every event exactly once, unchanged, and nothing else.

    A broker that is killed may have put an event into one queue only; it is then published again, at
    another time.
    """
    sent = {_untimed(body) for body in events}
    bodies = [record["body"] for record in records]
    if unknown := [body for body in bodies if _untimed(body) not in sent]:
        yield f"{len(unknown)} records without an event, such as {min(unknown)!r}"
    ids = [record["id"] for record in records]
    if len(ids) != len(set(ids)):
        yield "an event is recorded twice"
    if missing := {parse(body).id for body in events} - set(ids):
        yield f"{len(missing)} events are not recorded, such as {min(missing)}"


def _untimed(body: bytes) -> str:
    try:
        return json.dumps({**json.loads(body), "time": None}, sort_keys=True)
    except ValueError:  # a message that nobody can read is recorded as it is
        return repr(body)


def _accepted(events: Sequence[RequestEvent], run: Run) -> Iterator[str]:
    """Every request was accepted, and the newest of each node is the last one made."""
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
            yield f"the last request for {node} was {wanted}, but its newest accepted request was not"


def _ended(events: Sequence[RequestEvent], run: Run) -> Iterator[str]:
    """P1: every round of a request has one outcome; duplicates of it are identical."""
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
    """P2: a request is superseded only by a newer, different one, or by Slurm's own later state."""
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
            yield f"{event.request_id} ({event.node}) was superseded without a newer request"


def _event(body: bytes) -> RequestEvent | None:
    """Return a body's request event; None for alarms and unreadable bodies."""
    try:
        return event_from(parse(body))
    except MalformedMessageError:
        return None
