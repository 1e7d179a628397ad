"""Dead letters in the operator's commands: filtered, grouped, explained, handled at a limited rate."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.cli.progress import portions
from ops.cli.session import Session
from ops.dead_letters import resolve
from ops.dead_letters.context import look_up_context
from ops.dead_letters.describe import LetterContext, description, is_stale, replay_effect
from ops.dead_letters.groups import grouped
from ops.dead_letters.letter import Undelivered, letter_from
from ops.dead_letters.messages import Operator, discarded, replacement
from ops.dead_letters.queue import DeadLetterQueue
from ops.dead_letters.results import LetterOutcome, LetterResult
from ops.dead_letters.select import LetterFilter, Places, key
from ops.nodes.node_state import NodeStatus
from schemas import headers
from schemas.commands import Kind
from schemas.jobs import JobEvent, JobTransition
from tests.testbed.deliveries import delivery
from tests.testbed.messages import MOMENT, command, dead_letter
from tests.testbed.stores import STORES
from workers.slurm.nodes import JobState, NodeState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ops.dead_letters.letter import Letter
    from schemas.commands import PowerCommand

NOWHERE = Places({}, {})
NOW = MOMENT + 3600 * 10**9


def stored(desired: str, generation: int) -> NodeStatus:
    return NodeStatus("node1", None, None, None, desired=desired, generation=generation)


def letter(request: PowerCommand | None = None, message: str = "no room left") -> Letter:
    sent = dead_letter(request or command(), more={headers.CAUSE_MESSAGE: message})
    return letter_from(delivery(sent.body, sent.headers, key=sent.routing_key))


def test_messages_that_differ_only_in_ids_and_numbers_are_one_group() -> None:
    letters = [
        letter(
            command(f"node{i}", jobs=(i + 1,)), f"no host for vm {i:08x}-{i:04x}-4abc-8abc-{i:012x}"
        )
        for i in range(500)
    ]
    (group,) = grouped(letters, "cause", NOWHERE)
    assert (group.name, group.letters, group.nodes) == ("quota", 500, "node[0-499]")
    assert group.jobs == tuple(range(1, 501))
    assert len(grouped([*letters, letter(message="something else")], "cause", NOWHERE)) == 2


def test_a_letter_must_match_all_fields_of_a_filter() -> None:
    one, two = letter(command("node1", jobs=(1,))), letter(command("node2", jobs=(2,)))
    malformed = letter_from(delivery(b"{"))
    everything = [one, two, malformed]
    assert LetterFilter().of(everything) == everything
    assert LetterFilter(ids=(two.id[:30], "sha256:")).of(everything) == [two, malformed]
    assert LetterFilter(nodes=("node1", "node2"), job=2).of(everything) == [two]
    assert LetterFilter(cause="malformed").of(everything) == [malformed]
    assert LetterFilter(before=MOMENT).of(everything) == []
    assert LetterFilter(queue="power.resume", nodes=("node1",)).of(everything) == [one]
    assert LetterFilter(message="NO ROOM").of(everything) == [one, two]
    assert LetterFilter(trouble=("quota", "no room left")).of(everything) == [one, two]
    assert LetterFilter(trouble=("quota", "no room")).of(everything) == []


def test_a_filter_by_whole_ids_compares_the_round_too() -> None:
    first = letter()
    again = replace(first, round=2)
    assert LetterFilter(only=frozenset({key(first)})).of([first, again]) == [first]
    assert LetterFilter(ids=(first.id[:13],)).of([first, again]) == [first, again]


def test_a_letter_of_unknown_age_matches_no_age_filter() -> None:
    died = letter()
    assert died.died_at is not None
    ageless = replace(died, died_at=None)
    assert LetterFilter(before=died.died_at + 1).of([died, ageless]) == [died]
    assert LetterFilter(before=died.died_at).of([died, ageless]) == []
    assert LetterFilter(after=died.died_at).of([died, ageless]) == [died]
    assert LetterFilter(after=died.died_at + 1).of([died, ageless]) == []


@pytest.mark.parametrize(
    ("store", "text"),
    [
        (None, "node1 will be brought up"),
        (stored("down", MOMENT + 1), "stale: a newer request wants node1 down"),
        (stored("up", MOMENT + 1), "completes with a newer request"),
        (stored("down", MOMENT), "there is no newer request"),
        (stored("down", MOMENT - 1), "there is no newer request"),
    ],
)
def test_the_effect_of_a_replay_depends_on_newer_requests(
    store: NodeStatus | None, text: str
) -> None:
    assert text in description(letter(), LetterContext(store=store), NOW)[-1]
    assert is_stale(command(), store) is text.startswith("stale")


UP, DOWN = command(), command(kind=Kind.SUSPEND)
OFF = NodeState("node1", "IDLE", frozenset({"CLOUD", "POWERED_DOWN"}))
IN_USE = NodeState("node1", "ALLOCATED", frozenset({"CLOUD"}))


@pytest.mark.parametrize(
    ("request_", "context", "text"),
    [
        (
            UP,
            LetterContext(configured=False),
            "fails again: node1 cannot be brought up, because no",
        ),
        (
            UP,
            LetterContext(store=replace(stored("up", MOMENT), held="odd disk")),
            "waits: node1 is on hold (odd disk); first run lamplighter release node1",
        ),
        (
            UP,
            LetterContext(ahead=90 * 10**9, store=stored("up", MOMENT)),
            "waits or fails again: its stamp is 1 min 30 s too far ahead of time. Correct the clock of contro",
        ),
        (UP, LetterContext(ahead=-1), "node1 will be brought up"),
        (
            UP,
            LetterContext(dry_run=True, store=stored("up", MOMENT)),
            "changes nothing in the cloud, and ends the request: the group of node1 is in a dry run.",
        ),
        (
            UP,
            LetterContext(slurm=OFF),
            "not wanted any more: node1 is powered down in Slurm, no job",
        ),
        (
            DOWN,
            LetterContext(slurm=IN_USE),
            "not wanted any more: Slurm uses node1 (ALLOCATED+CLOU",
        ),
        (UP, LetterContext(slurm=IN_USE), "node1 will be brought up"),
        (
            UP,
            LetterContext(store=replace(stored("up", MOMENT), observed="ACTIVE")),
            "changes nothing: node1 was last seen ACTIVE; you may discard this",
        ),
        (
            DOWN,
            LetterContext(store=replace(stored("down", MOMENT), observed="SHUTOFF")),
            "changes nothing: node1 was last seen SHUTOFF",
        ),
        (
            UP,
            LetterContext(store=replace(stored("up", MOMENT), observed="ERROR")),
            "node1 will be brought up; there is no newer request",
        ),
        (
            UP,
            LetterContext(store=stored("down", MOMENT + 1), configured=False),
            "stale: a newer request wants node1 down; a replay ends as superseded. End it: lamplig",
        ),
    ],
)
def test_the_advice_is_true_for_the_nodes_present_state(
    request_: PowerCommand, context: LetterContext, text: str
) -> None:
    assert replay_effect(request_, context).startswith(text)


def test_the_advice_knows_a_dry_run_and_what_is_too_far_ahead_of_time(tmp_path: Path) -> None:
    config = tmp_path / "lamplighter.toml"
    store = f'url = "{STORES.url(tmp_path / "state.db")}"'
    broker = 'url = "amqp://127.0.0.1/v"'
    config.write_text(f'cluster = "test"\ndry_run = true\n[broker]\n{broker}\n[store]\n{store}\n')
    config.chmod(0o600)
    session, late = Session(config), command(generation=time.time_ns() + 3600 * 10**9)
    assert look_up_context(session, command(), whole=False).dry_run
    assert look_up_context(session, command(), whole=False).ahead < 0
    assert 0 < look_up_context(session, late, whole=False).ahead < 3600 * 10**9


def test_a_description_shows_slurm_the_cloud_and_jobs_that_slurm_no_longer_knows() -> None:
    request = command(kind=Kind.RESUME, jobs=(1, 2))
    text = "\n".join(
        description(
            letter(request),
            LetterContext(
                slurm=NodeState("node1", "DOWN", frozenset({"CLOUD"}), reason="it broke"),
                jobs={1: JobState(1, "PENDING", "")},
                cloud="near: SHUTOFF",
                unavailable=("from the audit log: OperationalError",),
            ),
            NOW,
        )
    )
    for fact in (
        "1 (PENDING), 2 (no longer known to Slurm)",
        "DOWN+CLOUD, reason: it broke",
        "cloud now  near: SHUTOFF",
        "no answer  from the audit log",
        "Slurm stopped waiting",
        "attempt 1",
    ):
        assert fact in text


@given(st.lists(st.integers(), max_size=300), st.none() | st.floats(0.5, 1000))
def test_a_rate_limit_keeps_all_items_in_order_and_is_never_exceeded(
    items: list[int], rate: float | None
) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        assert seconds >= 0
        now += seconds

    taken: list[int] = []
    for portion in portions(items, 200, rate, clock=lambda: now, sleep=sleep):
        if rate is not None:
            assert len(taken) <= rate * now + 1e-6
        taken += portion
    assert taken == items


def test_whoever_acts_on_all_letters_learns_that_more_are_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --yes too: one connection holds no more than 65,535, and the exit code says that all is done."""
    held = [letter(command(f"node{i}")) for i in range(3)]
    session = MagicMock(spec=Session)
    queue = MagicMock(spec=DeadLetterQueue, is_shared=False, letters=lambda: held)
    queue.__enter__.return_value = queue
    monkeypatch.setattr(resolve, "dead_letter_queue", lambda _: queue)

    def act(_queue: object, _store: object, some: Sequence[Letter], _who: object) -> Iterator[Any]:
        return (LetterResult(one, LetterOutcome.DISCARDED) for one in some)

    for most, words in ((3, "only the first 3 dead letters were read"), (4, "")):
        monkeypatch.setattr(resolve, "MOST", most)
        who = Operator("alice", "gone")
        assert len(list(resolve._carry_out(session, act, LetterFilter(), who, None))) == 3
        assert words in (said := capsys.readouterr().err)
        assert bool(said) is bool(words)


@pytest.mark.parametrize("transition", JobTransition)
def test_an_event_about_a_job_that_a_webhook_refused_is_found_by_the_job(
    transition: JobTransition,
) -> None:
    """OPUS gets more than failed boots: how each job ends, and that it waits."""
    about = JobEvent(transition, "test", 4711, MOMENT, MOMENT, uws_id="u")
    told = replace(letter(), command=None, undelivered=Undelivered("opus", about.to_envelope()))
    other = letter(command("node1", jobs=(1,)))
    assert LetterFilter(job=4711).of([told, other]) == [told]
    assert LetterFilter(job=4712).of([told]) == []


def test_a_restamped_resume_is_an_operators_and_a_suspend_expires_as_long_after_it_as_before() -> (
    None
):
    """Slurmctld has not called again: a server that runs must not boot once more, with a job on it."""
    by = Operator("me")
    for kind in (Kind.RESUME, Kind.SUSPEND):
        old = command(kind=kind)
        dead = letter(old)
        ended = discarded(dead, old, by, NOW, restamped=NOW)
        new = replacement(dead, ended)
        assert new is not None
        assert (new.kind, new.node, new.generation) == (kind, old.node, NOW)
        assert not new.is_slurms_boot
        assert old.is_slurms_boot is (kind is Kind.RESUME)
        assert new.expiry == (None if kind is Kind.RESUME else NOW + 600 * 10**9)
