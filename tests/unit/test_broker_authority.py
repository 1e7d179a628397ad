"""Who may say what: forgeries written by hand, what is true, and every combination."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from producers.broker_settings import BrokerUsers
from schemas import headers
from schemas.commands import Kind
from schemas.envelope import MOST_BYTES, Envelope
from schemas.errors import MalformedMessageError
from schemas.roles import Role
from tests.testbed.messages import command
from workers.audit.record import quarantine_reason
from workers.broker import topology
from workers.broker.authority import judged
from workers.broker.delivery import Delivery
from workers.broker.roles import AUTHORITIES, may_say

USERS = BrokerUsers(Path("users"), "x-")
SUSPEND, RETIRE = Kind.SUSPEND.routing_key, Kind.RETIRE.routing_key
COMPLETED = "node.request.completed"
DLX, REQUEUE, AGAIN = topology.DEAD_LETTERS, topology.REQUEUE, topology.NOTIFY_AGAIN
COMMANDS, EVENTS = topology.COMMANDS, topology.EVENTS


def body(type_: str) -> bytes:
    """A message of this type."""
    for kind in Kind:
        if kind.routing_key == type_:
            return command(kind=kind).to_envelope().to_json()
    return Envelope("id", "test", f"lamplighter.{type_}.v1", "node1", 1, "t", {}).to_json()


def refusal(user: str | None, exchange: str, key: str, type_: str, first: str = "") -> str | None:
    """Why a delivery is refused; `first` is the sender that its headers name."""
    raw: dict[str, Any] = {headers.ASKED_BY: f"x-{first}"} if first else {}
    raw[headers.WEBHOOK] = "chat"
    name = None if user is None else f"x-{user}"
    delivery = Delivery("q", key, body(type_), raw, None, name, None, None, False, 1, 1, exchange)
    return judged(delivery, USERS).refusal


@pytest.mark.parametrize(
    "forged",
    [
        ("notify", DLX, AGAIN, SUSPEND),
        ("notify", DLX, AGAIN, RETIRE, "operator"),
        ("notify", DLX, SUSPEND, SUSPEND, "hook"),
        ("console", DLX, AGAIN, COMPLETED),
        ("operator", DLX, AGAIN, COMPLETED),
        ("tokens", DLX, SUSPEND, SUSPEND),
        ("snapshot", DLX, COMPLETED, COMPLETED),
        ("power", DLX, SUSPEND, RETIRE, "hook"),
        ("power", DLX, RETIRE, RETIRE, "hook"),
        ("power", DLX, RETIRE, RETIRE, "resync"),
        ("power", DLX, RETIRE, RETIRE, "stranger"),
        ("hook", DLX, SUSPEND, RETIRE),
        ("hook", DLX, RETIRE, RETIRE, "operator"),
        ("stranger", DLX, SUSPEND, SUSPEND),
        ("power", DLX, SUSPEND, SUSPEND),  # without its first sender
        (None, DLX, SUSPEND, SUSPEND),
        (None, DLX, AGAIN, COMPLETED),
        ("slurm", DLX, "quarantine.power.suspend", RETIRE),
        ("console", REQUEUE, AGAIN, RETIRE),
        ("console", REQUEUE, AGAIN, "slurm.snapshot.taken"),
        ("console", REQUEUE, AGAIN, "no.such.type"),
        ("power", REQUEUE, AGAIN, COMPLETED),
        ("notify", REQUEUE, AGAIN, COMPLETED),
    ],
    ids=lambda one: " ".join(map(str, one)),
)
def test_what_its_sender_may_not_say_is_refused(forged: tuple[str | None, str, str, str]) -> None:
    assert refusal(*forged) is not None


@pytest.mark.parametrize(
    "true",
    [
        ("power", DLX, SUSPEND, SUSPEND, "hook"),
        ("power", DLX, RETIRE, RETIRE, "operator"),
        # given up by the broker
        ("hook", DLX, SUSPEND, SUSPEND),
        ("resync", DLX, SUSPEND, SUSPEND),
        ("operator", DLX, RETIRE, RETIRE),
        ("console", DLX, SUSPEND, SUSPEND, "hook"),
        ("notify", DLX, AGAIN, COMPLETED),
        ("notify", DLX, "quarantine.notify", RETIRE),
        ("power", DLX, "quarantine.power.suspend", COMPLETED),
        ("console", REQUEUE, AGAIN, COMPLETED),
        ("operator", REQUEUE, AGAIN, "job.failed"),
    ],
    ids=lambda one: " ".join(map(str, one)),
)
def test_what_its_sender_may_say_is_taken(true: tuple[str, str, str, str]) -> None:
    assert refusal(*true) is None


SAID = {
    **dict.fromkeys((headers.ATTEMPT, headers.ROUND, headers.PARKED), 2),
    **dict.fromkeys((headers.CAUSE, headers.DIED_IN, headers.WEBHOOK, headers.ASKED_BY), "x"),
    "x-death": [],
}


@pytest.mark.parametrize(
    ("user", "exchange", "counts"),
    [
        ("hook", COMMANDS, False),
        ("operator", COMMANDS, False),
        ("power", EVENTS, False),
        ("hook", DLX, False),  # given up by the broker
        ("power", REQUEUE, True),
        ("console", REQUEUE, True),
        ("power", DLX, True),
        ("resync", DLX, True),
    ],
)
def test_rounds_and_attempts_count_only_from_who_may_send_a_message_again(
    user: str, exchange: str, *, counts: bool
) -> None:
    """A hook opens no round of a request that failed: that is a replay, and operators' alone."""
    delivery = Delivery(
        "q", SUSPEND, body(SUSPEND), SAID, None, f"x-{user}", None, None, False, 1, 1, exchange
    )
    kept = judged(delivery, USERS).headers
    assert kept == (SAID if counts else {"x-death": []})
    by_one_user = judged(delivery, None).headers
    assert by_one_user == (SAID if exchange in {DLX, REQUEUE} else {"x-death": []})


def test_every_event_can_be_replayed_to_a_webhook() -> None:
    """Also in its next version."""
    for transition in ("accepted", "failed", "parked"):
        assert refusal("operator", REQUEUE, AGAIN, f"node.request.{transition}") is None
    later = body(COMPLETED).replace(b".v1", b".v2")
    raw = {headers.WEBHOOK: "chat"}
    delivery = Delivery(
        "q", AGAIN, later, raw, None, "x-operator", None, None, False, 1, 1, REQUEUE
    )
    assert judged(delivery, USERS).refusal is None


TIER = next(iter(topology.RETRY_TIERS))
DIRECT = (COMMANDS, EVENTS, topology.SNAPSHOTS, topology.TOKENS)
KEYS = {key for one in AUTHORITIES.values() for keys in one.says.values() for key in keys}
ODD_KEYS = ("", "no.such.key", f"{SUSPEND}\n", SUSPEND.upper(), f"{SUSPEND}.more")


@pytest.mark.slow
@pytest.mark.parametrize("sender", [None, "", "stranger", "hook\n", *Role], ids=repr)
def test_no_combination_lets_a_sender_say_more_than_the_table(sender: str | None) -> None:
    """Sender, exchange, routing key and type, and the first sender that the headers name: each with each."""
    firsts = ("", "hook", "operator", "stranger")
    said = [*product(DIRECT, ("", "operator")), *product((REQUEUE, DLX), firsts)]
    for (exchange, first), key in product(said, (*sorted(KEYS), *ODD_KEYS)):
        for type_ in {key, RETIRE}:
            if refusal(sender, exchange, key, type_, first) is not None:
                continue
            words = f"{first or 'nobody'} by {sender}: {type_} as {key!r} on {exchange}"
            assert sender in set(Role), words
            role = Role(sender)
            if key == AGAIN or key.startswith("quarantine."):  # no worker carries it out
                assert may_say(role, exchange, key), words
                continue
            assert type_ == key, words
            if exchange in DIRECT:
                assert may_say(role, exchange, key), words
                continue
            # whoever retries, replays or gives up a request has no authority by that
            passes = (exchange, COMMANDS, REQUEUE) if exchange == DLX else (exchange, TIER)
            assert any(may_say(role, one, key) for one in passes), words
            names = first and role in {Role.POWER, Role.OPERATOR, Role.CONSOLE}
            asked = Role(first) if names else role
            assert may_say(asked, COMMANDS, key), words


def test_a_message_is_not_even_parsed_that_is_larger_than_brokers_take() -> None:
    """A hook's broker user could cost each worker gigabytes, and its connection, again and again."""
    longest = body(SUSPEND).ljust(MOST_BYTES)
    for sent, expected in ((longest, Envelope), (longest + b" ", MalformedMessageError)):
        given = Delivery("q", SUSPEND, sent, {}, None, "x-hook", None, None, False, 1, 1, COMMANDS)
        assert isinstance(judged(given, USERS).content, expected)
    with pytest.raises(MalformedMessageError, match="is larger than 16777216 bytes"):
        judged(given, USERS).envelope()
    assert quarantine_reason(longest + b" ").startswith("body: is larger")
