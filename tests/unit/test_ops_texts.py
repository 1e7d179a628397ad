"""Texts that operators read and type: escaped, short, in UTC."""

from __future__ import annotations

import time
from dataclasses import replace

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.audit.request_history import request_history
from ops.cli.ids import prefixes, whole_id
from ops.cli.options import hostlist, length, when
from ops.cli.terminal import duration, moment, plain, print_table, short_moment
from schemas.events import Cause, CloudAction, Transition
from tests.testbed.auditlog import entry_of
from tests.testbed.messages import MOMENT, command, event
from tests.testbed.strategies import words

SECOND = 10**9


@given(words)
def test_untrusted_text_cannot_control_the_terminal(text: str) -> None:
    shown = plain(text)
    assert shown.isprintable()
    shown.encode()
    assert text.isprintable() == (shown == text)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0.000 s"),
        (9_999_000_000, "9.999 s"),
        (12_340_000_000, "12.3 s"),
        (200 * SECOND, "3 min 20 s"),
        (7500 * SECOND, "2 h 5 min"),
        (100 * 3600 * SECOND, "4 d 4 h"),
    ],
)
def test_durations_are_printed_in_two_units_at_most(ns: int, text: str) -> None:
    assert duration(ns) == text


def test_times_are_printed_in_utc() -> None:
    assert moment(MOMENT) == "2026-01-02T03:04:05.678Z"
    assert moment(None) == "-"


@pytest.mark.parametrize(
    ("now", "text"),
    [
        ("2026-01-02T23:00:00", "03:04:05"),
        ("2026-01-03T00:00:00", "01-02 03:04"),
        ("2027-01-01T00:00:00", "2026-01-02"),
    ],
)
def test_times_in_tables_are_as_short_as_their_age_permits(now: str, text: str) -> None:
    assert short_moment(MOMENT, when(now)) == text


@given(st.sets(st.text("01ab-", min_size=14, max_size=20), min_size=1), st.sets(st.text("01ab-")))
def test_a_short_id_begins_one_id_only(ids: set[str], others: set[str]) -> None:
    for id_, short in prefixes(ids, others).items():
        assert id_.startswith(short)
        assert whole_id(short, ids | others) == id_ or short in ids | others


@pytest.mark.parametrize("text", ["", "0", "019"])
def test_too_short_an_id_is_nobodys_even_where_there_is_one_alone(text: str) -> None:
    with pytest.raises(click.BadParameter, match="4 characters"):
        whole_id(text, ["0190a1b2-c3d4"])
    assert whole_id("0190", ["0190a1b2-c3d4"]) == "0190a1b2-c3d4"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("15min", 900), ("2h", 7200), ("1.5h", 5400), ("3d", 259_200)],
)
def test_durations_are_parsed(text: str, seconds: int) -> None:
    assert length(text) == seconds * SECOND


def test_a_time_is_parsed_as_utc_or_as_a_time_ago() -> None:
    assert when("2026-01-02T03:04:05") == when("2026-01-02T04:04:05+01:00")
    assert when("2026-01-02") == when("2026-01-02T00:00:00Z")
    assert abs(when("1h") - (time.time_ns() - 3600 * SECOND)) < 10 * SECOND


@pytest.mark.parametrize("text", ["", "soon", "-1h", "1y", "99999999999h", "2026-13-01"])
def test_invalid_times_are_rejected_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write"):
        when(text)
    with pytest.raises(click.BadParameter, match="write"):
        length(text)


def test_nodes_are_parsed_as_a_hostlist() -> None:
    assert hostlist("node[1-2],x") == ("node1", "node2", "x")
    with pytest.raises(click.BadParameter):
        hostlist("node[1-")


def test_a_timeline_has_the_request_and_each_cloud_action_once() -> None:
    asked = command()
    action = CloudAction("os-start", "server-1", MOMENT + 2 * SECOND, "done")
    completed = replace(
        event(Transition.COMPLETED, asked, time=MOMENT + 9 * SECOND),
        actions=(action,),
        cloud="one",
        address="10.0.0.1",
    )
    failed = replace(
        event(Transition.RETRIED, asked, time=MOMENT + 5 * SECOND),
        actions=(action,),
        attempt=1,
        cause=Cause("quota", "no room"),
        retry_in=30,
    )
    accepted = event(Transition.ACCEPTED, asked)
    steps = request_history(entry_of(e) for e in (completed, failed, accepted)).timeline
    assert [step.what for step in steps] == [
        "asked",
        "accepted",
        "os-start",
        "retried",
        "completed",
    ]
    assert steps[0].time == MOMENT
    assert steps[1].details == "for job 4711; from controller"
    assert (steps[3].attempt, steps[3].details) == (1, "quota: no room; again in 30.0 s")
    assert "address 10.0.0.1" in steps[4].details


def test_a_table_that_is_too_wide_is_printed_in_blocks_with_whole_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"column{number}" for number in range(12)]
    print_table(names[:5], [["12345.67"] * 5])
    assert len(capsys.readouterr().out.splitlines()) == 2
    print_table(names, [["12345.67"] * 12])
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "column0 12345.67"
    assert [line.split() for line in others] == [[name, "12345.67"] for name in names[1:]]
