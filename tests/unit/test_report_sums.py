"""The rows of a report: nothing is counted twice, and the parts sum up to the total."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.report.chart import chart, colour
from ops.report.history import Boot, NodeHistory, PoweredOn
from ops.report.inputs import allocations
from ops.report.question import UNASSIGNED, Allocation, NodePlace, Question, StartWait
from ops.report.report import Report
from ops.report.spans import length, minus, overlap, union
from ops.report.sums import rows
from ops.report.usage import UsageRow, total
from producers.settings import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

STOPPED, DELETED = NodePlace("a", "sbg", "stop", "vo.x"), NodePlace("b", "ifca", "delete")


def history(node: str = "n1", *times: tuple[int, int], jobs: tuple[int, ...] = ()) -> NodeHistory:
    return NodeHistory(
        node=node,
        known_since=0,
        powered_on=tuple(PoweredOn(begin, end, jobs) for begin, end in times),
        boots=(Boot(0, 10, done=True, jobs=jobs), Boot(20, 25, done=False, jobs=jobs)),
        servers=(),
        cloud="sbg",
    )


def question(
    by: str, *, begin: int = 0, end: int = 100, given: list[Allocation] | None = None
) -> Question:
    return Question(begin, end, by, {"n1": STOPPED, "n2": DELETED}, given)


def test_only_time_within_the_window_counts() -> None:
    (row,) = rows([history("n1", (10, 30), (90, 200))], question("group", begin=20, end=100))
    assert (row.key, row.powered_on, row.saved, row.visible) == ("a", 20, 60, 80)
    assert (row.boots, row.boots_failed, row.booting) == (1, 1, 5)


def test_a_deleted_server_is_visible_while_it_exists() -> None:
    lived = NodeHistory("n2", 0, (PoweredOn(20, 50),), (), ((15, 55), (80, None)), "ifca")
    (row,) = rows([lived], question("strategy"))
    assert (row.key, row.powered_on, row.visible) == ("delete", 30, 60)


def test_a_node_that_left_the_configuration_saves_nothing_any_more() -> None:
    retired = replace(history("gone", (10, 30)), last_outcome=40)
    assert [row.saved for row in rows([retired], question("group"))] == [20]
    (kept,) = rows([replace(retired, node="n1")], question("group"))
    assert kept.saved == 80


def test_a_server_that_runs_is_visible_although_its_creation_is_not_known() -> None:
    """The last request before the report found it running."""
    (row,) = rows([NodeHistory("n2", 0, (PoweredOn(0, 100),), (), ())], question("strategy"))
    assert (row.key, row.powered_on, row.visible) == ("delete", 100, 100)


@pytest.mark.parametrize(("by", "key"), [("cloud", "sbg"), ("vo", "vo.x"), ("strategy", "stop")])
def test_rows_are_keyed_as_requested(by: str, key: str) -> None:
    assert [row.key for row in rows([history("n1", (0, 1))], question(by))] == [key]
    assert [row.key for row in rows([history("gone", (0, 1))], question("group"))] == [UNASSIGNED]


def test_jobs_share_the_time_that_a_node_was_powered_on_for_them() -> None:
    found = {r.key: r for r in rows([history("n1", (0, 60), jobs=(1, 2))], question("job"))}
    assert {key: row.powered_on for key, row in found.items()} == {"1": 30, "2": 30}
    assert {key: row.boots for key, row in found.items()} == {"1": 1, "2": 1}


def test_without_reports_from_slurm_no_row_says_what_they_lack() -> None:
    for by in ("group", "job", "user"):
        (whole,) = rows([history("n1", (0, 60), jobs=(1,))], question(by))
        assert (whole.powered_on, whole.allocated, whole.unknown) == (60, None, 0)


def test_with_allocations_the_rest_is_idle() -> None:
    given = [Allocation("n1", 1, "anna", 10, 30), Allocation("n1", 2, "bert", 20, 40)]
    (row,) = rows([history("n1", (0, 60))], question("group", given=given))
    assert (row.allocated, row.idle) == (30, 30)
    shorter = replace(question("group", given=given), suspend_time=15)
    (row,) = rows([history("n1", (0, 60))], shorter)
    assert row.suspend_saved == 5, "of two gaps of 10 and 20, the part beyond 15"
    found = {
        r.key: r.powered_on for r in rows([history("n1", (0, 60))], question("user", given=given))
    }
    assert found == {"anna": 20, "bert": 20, UNASSIGNED: 30}


def test_waits_for_slurms_timer_and_what_the_prolog_spares_of_them() -> None:
    """Spared is the mean wait of 15 s less the real one, for each start and node."""
    second = 10**9
    window = question("group", end=200 * second, given=[Allocation("n1", 7, "anna", 50, 60)])
    nodes = [history("n1", (0, 60 * second)), history("n2", (0, 60 * second))]
    waits = [StartWait(n, 7, 40 * second, 41 * second) for n in ("n1", "n2")]
    before = StartWait("n1", 7, -20 * second, second)
    asked = replace(window, start_waits=[*waits, before, StartWait("foreign", 7, 0, 9)])
    found = {row.key: row for row in rows(nodes, asked)}
    assert (found["a"].timer, found["b"].timer) == (2 * second, second)
    assert found["a"].timer_saved is None
    made = rows(nodes, replace(asked, start_waits=waits, has_prolog=True))
    whole = total(made)
    assert (whole.timer, whole.timer_saved) == (2 * second, 28 * second)
    report = Report(0, 200 * second, "group", tuple(made), whole)
    assert report.columns[8:10] == ("timer", "timer_saved")
    by_user = rows(nodes, replace(asked, by="user", start_waits=waits))
    assert {row.key: row.timer for row in by_user}["anna"] == 2 * second


node_times = st.lists(st.integers(0, 90), min_size=2, max_size=8, unique=True).map(sorted)
starts = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9)), max_size=6)


@given(node_times, starts)
def test_of_a_wait_for_slurms_timer_only_what_is_idle_counts(
    switched: list[int], jobs: list[tuple[int, int]]
) -> None:
    """A node registers before the worker sees it running, and may be seen stopped too late."""
    times = list(pairwise(switched))[::2]
    waits, used, at = [], [], 0
    for job, (length_of_run, wait) in enumerate(jobs, 1):
        begin = at + wait
        waits.append(StartWait("n1", job, at, begin))
        used.append(Allocation("n1", job, "anna", begin, begin + length_of_run))
        at = begin + length_of_run
    asked = replace(question("group", given=used), start_waits=waits)
    asked = replace(asked, reported_at={"n1": sorted(one.begin for one in used)})
    whole = total(rows([history("n1", *times)], asked))
    by_user = total(rows([history("n1", *times)], replace(asked, by="user")))
    assert (whole.timer or 0) <= (whole.idle or 0)
    assert (whole.timer, whole.idle) == (by_user.timer, by_user.idle)


def test_time_without_reports_from_slurm_is_unknown() -> None:
    """A node registers before the worker sees it running; older reports count for earlier times."""
    node = history("n1", (10, 30), (50, 60), (80, 90), jobs=(7,))
    asked = replace(
        question("group", given=[Allocation("n1", 1, "anna", 55, 200)]), reported_at={"n1": (9, 55)}
    )
    (row,) = rows([node], asked)
    assert (row.powered_on, row.allocated, row.unknown, row.idle) == (40, 5, 10, 25)
    (row,) = rows([node], replace(asked, suspend_time=4))
    assert row.suspend_saved == (20 - 4) + (5 - 4)
    found = {row.key: row for row in rows([node], replace(asked, by="job"))}
    assert {key: (row.powered_on, row.unknown, row.idle) for key, row in found.items()} == {
        "1": (5, 0, 0),
        "7": (10, 10, 0),
        UNASSIGNED: (25, 0, 25),
    }


spans = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda s: (min(s), max(s))), max_size=6
)


@given(spans, spans)
def test_spans_add_up_like_the_sets_of_their_moments(
    some: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    here = {moment for begin, end in some for moment in range(begin, end)}
    there = {moment for begin, end in others for moment in range(begin, end)}
    assert length(union(some)) == len(here)
    assert overlap(union(some), union(others)) == len(here & there)
    assert length(minus(union(some), union(others))) == len(here - there)


@given(st.lists(spans, max_size=4), st.integers(1, 7))
def test_the_bins_sum_up_to_the_total(all_spans: list[list[tuple[int, int]]], bins: int) -> None:
    known = [history(f"n{n}", *union(times), jobs=(n,)) for n, times in enumerate(all_spans, 1)]
    for by in ("group", "job"):
        found = rows(known, question(by), bins)
        whole = total(found, bins)
        assert sum(whole.bins) == pytest.approx(whole.powered_on)
        assert whole.powered_on == sum(length(union(times)) for times in all_spans)
        shown = chart(Report(0, 100, by, tuple(found), whole)) if found else None
        assert shown is None or all(bar.y >= 0 and bar.height > 0 for bar in shown.bars)


@given(spans, st.lists(st.tuples(spans, st.sampled_from(["anna", "bert"])), max_size=3))
def test_with_allocations_the_bins_sum_up_to_the_total(
    times: list[tuple[int, int]], used: list[tuple[list[tuple[int, int]], str]]
) -> None:
    """Including unused time; time that two jobs share on a node counts for each of them."""
    known = [history("n1", *union(times))]
    allocations = [
        Allocation("n1", job, user, begin, end)
        for job, (given_spans, user) in enumerate(used)
        for begin, end in given_spans
    ]
    found = rows(known, question("user", given=allocations), 7)
    assert sum(total(found, 7).bins) == pytest.approx(total(found).powered_on)
    given_time = union((a.begin, a.end) for a in allocations)
    idle = sum(row.powered_on for row in found if row.key == UNASSIGNED)
    assert idle == length(minus(union(times), given_time))
    each = sum(overlap(union(times), [(a.begin, a.end)]) for a in allocations)
    assert total(found).powered_on == idle + each
    by_place = rows(known, question("group", given=allocations), 7)
    assert total(by_place).idle == idle


def test_sacct_output_is_parsed_and_errors_name_the_line() -> None:
    head = "JobIDRaw|User|NodeList|Start|End\n"
    lines = [
        head,
        "7|anna|n[1-2]|2026-01-01T00:00:00|2026-01-01T01:00:00\n",
        "8|bert|None assigned|Unknown|Unknown\n",
    ]
    found = allocations(lines)
    assert [(a.node, a.job, a.user, a.end - a.begin) for a in found] == [
        ("n1", 7, "anna", 3600 * 10**9),
        ("n2", 7, "anna", 3600 * 10**9),
    ]
    with pytest.raises(ConfigError, match="line 2"):
        allocations([head, "7|anna|n1|yesterday|today\n"])
    with pytest.raises(ConfigError, match="--parsable2"):
        allocations(["JobID|User\n"])


@pytest.fixture
def paris(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("paris")
@pytest.mark.parametrize(
    ("begin", "end", "seconds"),
    [
        ("2026-10-25T02:50:00", "2026-10-25T02:10:00", 1200),
        ("2026-10-25T01:50:00", "2026-10-25T03:10:00", 2 * 3600 + 1200),
        ("1792889400", "1792893600", 4200),
    ],
)
def test_a_job_over_the_end_of_daylight_saving_time_keeps_its_length(
    begin: str, end: str, seconds: int
) -> None:
    lines = ["JobIDRaw|User|NodeList|Start|End\n", f"7|anna|n1|{begin}|{end}\n"]
    assert [a.end - a.begin for a in allocations(lines)] == [seconds * 10**9]


def test_an_id_that_slurm_gives_again_belongs_to_the_user_of_each_time() -> None:
    twice = [Allocation("n1", 5, "ann", 10, 30), Allocation("n1", 5, "bob", 60, 70)]
    asked = replace(question("user", given=twice), reported_at={"n1": (10, 30, 60, 70)})
    asked = replace(asked, start_waits=[StartWait("n1", 5, 8, 10), StartWait("n1", 5, 55, 60)])
    found = {row.key: row for row in rows([history("n1", (0, 40), (50, 80), jobs=(5,))], asked)}
    assert {key: row.powered_on for key, row in found.items()} == {"ann": 20, "bob": 10, "-": 40}
    assert {key: row.timer for key, row in found.items()} == {"ann": 2, "bob": 5, "-": None}
    assert found["ann"].boots == 2, "both boots came before the first job's end"


HOUR = 3600 * 10**9


@given(st.integers(0, 10**9), st.integers(1, 40 * 365 * 24 * 60))
def test_the_time_axis_has_few_and_round_marks(begin: int, minutes: int) -> None:
    since = begin * 10**9
    until = since + minutes * 60 * 10**9
    marks = chart(Report(since, until, "group", (), total([], 4))).times
    assert len(marks) <= 9
    assert all(0 < mark.at < 100 for mark in marks)
    gaps = {round(later.at - mark.at, 1) for mark, later in pairwise(marks)}
    assert len(gaps) <= 2, "equally spaced, except for rounding"


@given(st.permutations(["a", "b", "-", *(f"g{n}" for n in range(20))]), st.integers(1, 22))
def test_a_key_keeps_its_colour_whatever_is_shown_and_in_whatever_order(
    keys: list[str], shown: int
) -> None:
    order = ("a", "b", *(f"g{n}" for n in range(20)))
    whole = {key: colour(key, order) for key in keys}
    assert len(set(whole.values())) == len(keys), "each key has a colour of its own"
    found = [UsageRow(key, bins=[1.0, 2.0], powered_on=9 - n) for n, key in enumerate(keys[:shown])]
    made = chart(Report(0, 100, "group", tuple(found), total(found, 2), order))
    named = dict(made.names)
    others = named.pop("others", None)
    assert (others is not None) is (shown > len(named))
    assert named == {key: whole[key] for key in named}
    assert {bar.colour for bar in made.bars} == {*named.values(), *filter(None, [others])}


def test_the_time_axis_of_a_week_has_one_mark_a_day() -> None:
    since = 1_767_323_045 * 10**9  # 2 January 2026, 03:04:05
    marks = chart(Report(since, since + 168 * HOUR, "group", (), total([], 4))).times
    assert [mark.label for mark in marks] == [f"{day:02} Jan" for day in range(3, 9)]
