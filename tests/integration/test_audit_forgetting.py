"""An outcome is forgotten by the state store once it is old, and never before the audit log holds it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from schemas.events import Transition
from tests.testbed.messages import command, event
from workers.audit.forgetting import forget_recorded
from workers.audit.log import append
from workers.audit.record import record_of
from workers.store import requests
from workers.store.database import open_store, reading
from workers.store.requests import Round, RoundKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

    from schemas.events import RequestEvent

NOW = 10**18
DAY = 86_400 * 10**9


@pytest.fixture
def state(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "state")
    yield engine
    engine.dispose()


@pytest.fixture
def log(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "audit")
    yield engine
    engine.dispose()


def ended(state: sa.Engine, node: str, at: int, *, round_: int = 1) -> RequestEvent:
    """The outcome of a round that ended then; the store holds it, nobody has published it yet."""
    asked = command(node, generation=NOW)
    outcome = replace(event(Transition.COMPLETED, asked, time=at), round=round_)
    with state.begin() as connection:
        opened = Round(asked.id, round_, node, asked.generation, at)
        requests.open_rounds(connection, outcome.cluster, [opened])
        requests.fix_outcomes(connection, outcome.cluster, [outcome])
    return outcome


def record(log: sa.Engine, *events: RequestEvent) -> None:
    """The broker has brought these to the audit."""
    bodies = [one.to_envelope().to_json() for one in events]
    append(log, [record_of(body, events[0].cluster, NOW) for body in bodies])


def kept(state: sa.Engine, *outcomes: RequestEvent) -> set[RoundKey]:
    keys = [(one.request_id, one.round) for one in outcomes]
    with reading(state) as connection:
        return set(requests.outcomes(connection, outcomes[0].cluster, keys))


def key(outcome: RequestEvent) -> RoundKey:
    return outcome.request_id, outcome.round


def test_an_outcome_is_kept_until_it_is_old_and_recorded(state: sa.Engine, log: sa.Engine) -> None:
    """A broker that is away for longer than the bound keeps outcomes from the log: none is lost."""
    old, again = ended(state, "node1", NOW - 40 * DAY), ended(state, "node1", NOW, round_=2)
    away, recent = ended(state, "node2", NOW - 400 * DAY), ended(state, "node3", NOW)
    all_of_them = old, again, away, recent
    begun = event(Transition.ACCEPTED, command("node2", generation=NOW), time=NOW)
    record(log, begun, old, recent)

    def forget(before: int) -> int:
        return forget_recorded(state, log, old.cluster, before)

    assert forget(NOW - 30 * DAY) == 1
    assert kept(state, *all_of_them) == {key(again), key(away), key(recent)}
    assert forget(NOW - 30 * DAY) == 0
    record(log, away)
    assert forget(NOW - 30 * DAY) == 1
    assert kept(state, *all_of_them) == {key(again), key(recent)}
    assert forget(NOW + 1) == 1
    assert kept(state, *all_of_them) == {key(again)}, "the second round is not in the log"


def test_an_open_round_and_another_clusters_are_never_forgotten(
    state: sa.Engine, log: sa.Engine
) -> None:
    asked = command("node1", generation=NOW)
    with state.begin() as connection:
        opened = Round(asked.id, 1, "node1", asked.generation, NOW - 400 * DAY)
        requests.open_rounds(connection, asked.cluster, [opened])
    foreign = ended(state, "node2", NOW - 400 * DAY)
    record(log, foreign)
    assert forget_recorded(state, log, "another", NOW) == 0
    assert forget_recorded(state, log, asked.cluster, NOW) == 1
    with reading(state) as connection:
        assert (asked.id, 1) in requests.progress(connection, asked.cluster, [asked.id])
