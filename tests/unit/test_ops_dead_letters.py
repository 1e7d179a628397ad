"""Dead letters as people see them: chosen, grouped, explained, taken at a pace."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.cli.rate import portions
from ops.dead_letters.describe import LetterContext, StoredNode, description, is_stale
from ops.dead_letters.groups import grouped
from ops.dead_letters.select import Choice, Places, key
from schemas import headers
from schemas.commands import Kind
from tests.testbed.messages import MOMENT, command, dead_letter
from workers.dead_letters.letter import letter_from
from workers.slurm.nodes import JobState, NodeState

if TYPE_CHECKING:
    from schemas.commands import PowerCommand
    from workers.dead_letters.letter import Letter

NOWHERE = Places({}, {})
NOW = MOMENT + 3600 * 10**9


def letter(asked: PowerCommand | None = None, words: str = "no room left") -> Letter:
    sent = dead_letter(asked or command(), more={headers.CAUSE_MESSAGE: words})
    return letter_from(1, sent.routing_key, sent.headers, sent.body)


def test_letters_whose_words_differ_in_ids_and_numbers_alone_are_one_line() -> None:
    letters = [
        letter(
            command(f"node{i}", jobs=(i + 1,)), f"no host for vm {i:08x}-{i:04x}-4abc-8abc-{i:012x}"
        )
        for i in range(500)
    ]
    (group,) = grouped(letters, "cause", NOWHERE)
    assert (group.name, group.letters, group.nodes) == ("quota", 500, "node[0-499]")
    assert group.jobs == tuple(range(1, 501))
    assert len(grouped([*letters, letter(words="something else")], "cause", NOWHERE)) == 2


def test_letters_are_chosen_by_all_that_is_asked_at_once() -> None:
    one, two = letter(command("node1", jobs=(1,))), letter(command("node2", jobs=(2,)))
    malformed = letter_from(3, "k", {}, b"{")
    everything = [one, two, malformed]
    assert Choice().of(everything) == everything
    assert Choice(ids=(two.id[:30], "sha256:")).of(everything) == [two, malformed]
    assert Choice(nodes=("node1", "node2"), job=2).of(everything) == [two]
    assert Choice(cause="malformed").of(everything) == [malformed]
    assert Choice(before=MOMENT).of(everything) == []
    assert Choice(queue="power.resume", nodes=("node1",)).of(everything) == [one]
    assert Choice(says="NO ROOM").of(everything) == [one, two]
    assert Choice(trouble=("quota", "no room left")).of(everything) == [one, two]
    assert Choice(trouble=("quota", "no room")).of(everything) == []


def test_a_choice_of_whole_ids_takes_letters_by_id_and_round() -> None:
    first = letter()
    again = replace(first, round=2)
    assert Choice(only=frozenset({key(first)})).of([first, again]) == [first]
    assert Choice(ids=(first.id[:13],)).of([first, again]) == [first, again]


def test_age_is_asked_from_both_ends_and_unknown_ages_match_neither() -> None:
    died = letter()
    assert died.died_at is not None
    ageless = replace(died, died_at=None)
    assert Choice(before=died.died_at + 1).of([died, ageless]) == [died]
    assert Choice(before=died.died_at).of([died, ageless]) == []
    assert Choice(after=died.died_at).of([died, ageless]) == [died]
    assert Choice(after=died.died_at + 1).of([died, ageless]) == []


@pytest.mark.parametrize(
    ("store", "words"),
    [
        (None, "node1 will be brought up"),
        (StoredNode("down", MOMENT + 1), "stale: a newer request wants node1 down"),
        (StoredNode("up", MOMENT + 1), "completes with a newer request"),
        (StoredNode("down", MOMENT), "nothing newer was asked"),
        (StoredNode("down", MOMENT - 1), "nothing newer was asked"),
    ],
)
def test_what_a_replay_would_do_follows_from_what_was_asked_since(
    store: StoredNode | None, words: str
) -> None:
    assert words in description(letter(), LetterContext(store=store), NOW)[-1]
    assert is_stale(command(), store) is words.startswith("stale")


def test_slurm_and_the_cloud_are_quoted_and_jobs_that_are_gone_are_said_to_be() -> None:
    asked = command(kind=Kind.RESUME, jobs=(1, 2))
    said = "\n".join(
        description(
            letter(asked),
            LetterContext(
                slurm=NodeState("node1", "DOWN", frozenset({"CLOUD"}), reason="it broke"),
                jobs={1: JobState(1, "PENDING", "")},
                cloud="near: SHUTOFF",
                silent=("by the audit: OperationalError",),
            ),
            NOW,
        )
    )
    for fact in (
        "1 (PENDING), 2 (Slurm knows it no more)",
        "DOWN+CLOUD, reason: it broke",
        "cloud now  near: SHUTOFF",
        "not told   by the audit",
        "Slurm gave up waiting",
        "attempt 1",
    ):
        assert fact in said


@given(st.lists(st.integers(), max_size=300), st.none() | st.floats(0.5, 1000))
def test_a_pace_loses_nothing_keeps_the_order_and_is_never_faster(
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
