"""The audit's record of any message."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import RequestEvent, Transition
from tests.testbed.messages import MOMENT, command, event
from tests.testbed.strategies import events, json_values
from workers.audit.record import GENESIS, QUARANTINED, Record, quarantine_reason, record_of
from workers.audit.signing import Signer, Trusted

NOW = MOMENT + 10**9


@given(events)
def test_an_event_is_recorded_with_all_columns_that_filters_use(event_: RequestEvent) -> None:
    body = event_.to_envelope().to_json()
    record = record_of(body, "test", NOW)
    assert record.body == body
    assert (record.id, record.source, record.subject) == (event_.id, event_.cluster, event_.node)
    assert (record.request_id, record.round) == (event_.request_id, event_.round)
    assert record.transition == event_.transition
    assert record.jobs == tuple(sorted({job.job_id for job in event_.jobs}))


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_a_malformed_message_is_quarantined_unchanged(body: bytes) -> None:
    record = record_of(body, "test", NOW)
    assert (record.type, record.body, record.time) == (QUARANTINED, body, NOW)
    assert record_of(body, "test", NOW + 1).id == record.id
    assert quarantine_reason(body)


@pytest.mark.parametrize(
    "damage",
    [
        {"source": "no cluster name"},
        {"generation": str(2**63)},
        {"id": "x" * 300},
        {"data": {}},
        {"id": "another"},
    ],
)
def test_an_event_that_the_store_cannot_hold_is_quarantined(damage: dict[str, object]) -> None:
    raw = json.loads(event(Transition.FAILED).to_envelope().to_json()) | damage
    assert record_of(json.dumps(raw).encode(), "test", NOW).type == QUARANTINED


def test_an_event_of_an_unknown_type_is_kept_by_its_envelope() -> None:
    raw = json.loads(event(Transition.FAILED).to_envelope().to_json())
    raw |= {"type": "lamplighter.node.seen.v1", "data": {"anything": 1}}
    record = record_of(json.dumps(raw).encode(), "test", NOW)
    assert (record.type, record.request_id) == ("lamplighter.node.seen.v1", None)
    assert record.subject == "node1"


@pytest.mark.parametrize("name", ["node.request.failed", "alarm.token", "job.failed"])
def test_an_event_of_a_later_version_is_kept_by_its_envelope(name: str) -> None:
    """A newer worker sends it while a site upgrades: only this version does not know what it holds."""
    raw = json.loads(event(Transition.FAILED).to_envelope().to_json())
    raw |= {"type": f"lamplighter.{name}.v2", "data": {"anything": 1}}
    record = record_of(json.dumps(raw).encode(), "test", NOW)
    assert (record.type, record.subject) == (f"lamplighter.{name}.v2", "node1")


def test_the_hash_covers_every_column_the_body_and_the_previous_hash() -> None:
    body = event(Transition.ACCEPTED, command()).to_envelope().to_json()
    record = record_of(body, "test", NOW, sender="lamplighter-power")
    hashes = {record.chained(GENESIS), record.chained(b"\1" * 32)}
    covered = [field.name for field in fields(Record) if field.name not in {"jobs", "job"}]
    for name in covered:
        value = getattr(record, name)
        more = {int: 1, str: "x", bytes: b"x"}[type(value)]
        other: Any = value + more
        hashes.add(replace(record, **{name: other}).chained(GENESIS))
        if name in {"subject", "request_id", "round", "transition"}:
            nothing: Any = None
            hashes.add(replace(record, **{name: nothing}).chained(GENESIS))
    assert len(hashes) == 2 + len(covered) + 4
    assert record.chained(GENESIS) == record.chained(GENESIS)


_KEY = Ed25519PrivateKey.generate()


@given(st.text() | st.characters(categories=["Cs"]) | st.none() | st.integers())
def test_whatever_a_forger_writes_as_a_signature_is_a_finding(signature: object) -> None:
    """An error instead would end `audit verify` before it has said what else is wrong."""
    signed = {**Signer(_KEY).sign("head", {"seq": 1}), "signature": signature}
    assert Trusted([_KEY.public_key()]).problem("head", signed) == "its signature is invalid"
