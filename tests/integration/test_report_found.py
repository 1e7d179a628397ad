"""What a report reads from the audit, on SQLite and on PostgreSQL: outcomes, strays, orphans."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from ops.report.inputs import outcomes
from ops.report.orphans import orphans
from ops.report.question import UNASSIGNED, NodePlace, Question
from ops.report.strays import Stray, strays
from ops.report.sums import rows
from ops.report.usage import total
from schemas.errors import MalformedMessageError
from schemas.events import Transition, transition_event
from schemas.server import Server
from schemas.snapshot import Power, Snapshot
from tests.testbed.messages import CORRELATION, MOMENT, command, event
from workers.audit.log import append
from workers.audit.record import record_of
from workers.config.tables import SlurmSettings
from workers.resync.drift import ComparedNode, Drift, DriftAction, RepairStep, ServerState
from workers.resync.drift_memory import DriftMemory
from workers.resync.notices import drifts
from workers.resync.plan import FoundDrift, repair_requests
from workers.resync.survey import SurveyedNode
from workers.store.database import open_store
from workers.store.tables import audit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.events import RequestEvent
    from schemas.notices import Notice

SECOND = 10**9


@pytest.fixture
def log(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "audit")
    yield engine
    engine.dispose()


def found(
    server: str,
    *,
    since: int = 5,
    step: RepairStep = RepairStep.REPORT,
    cloud: str = "sbg",
    node: str = "old",
) -> FoundDrift:
    """A stray server as the resync worker finds it."""
    memory = DriftMemory(server, Drift.STRAY, since * SECOND)
    shown = Server(server, node, "ACTIVE", node=node)
    return FoundDrift(
        server, DriftAction(Drift.STRAY, step), memory, new=True, cloud=cloud, server=shown
    )


def record(log: sa.Engine, *events: Notice | RequestEvent) -> None:
    append(log, [record_of(each.to_envelope().to_json(), "test", 0) for each in events])


def counted(log: sa.Engine, begin: int = 0, end: int = 100) -> list[Stray]:
    with log.connect() as connection:
        return strays(connection, begin * SECOND, end * SECOND)


def test_outcomes_are_read_from_the_last_before_the_time_to_its_end(log: sa.Engine) -> None:
    """The last outcome before shows the state at the beginning; a malformed record is named."""
    up = command("node1", generation=MOMENT)
    ends = [MOMENT + at * SECOND for at in (1, 2, 3, 4)]
    for end in ends:
        record(log, event(Transition.COMPLETED, replace(up, generation=end - 1), time=end))
    with log.begin() as connection:
        read = list(outcomes(connection, ends[2], ends[3]))
        assert sorted(outcome.time for outcome in read) == [ends[1], ends[2]]
        connection.execute(sa.update(audit).where(audit.c.time == ends[2]).values(body=b"{"))
        with pytest.raises(MalformedMessageError, match=r"record 3: .*audit verify"):
            list(outcomes(connection, ends[2], ends[3]))


def test_a_stray_counts_once_even_if_reported_repeatedly(log: sa.Engine) -> None:
    """It is found, then about to be deleted, then gone and found again."""
    record(log, *drifts("test", [found("id-1"), found("id-2", cloud="ifca")]))
    record(log, *drifts("test", [found("id-1", step=RepairStep.DELETE)]))
    record(log, *drifts("test", [found("id-1", since=50)]))
    assert counted(log) == [
        Stray("id-1", 5 * SECOND, "sbg", "old"),
        Stray("id-2", 5 * SECOND, "ifca", "old"),
    ]


def test_a_stray_counts_at_the_time_it_was_found_not_reported(log: sa.Engine) -> None:
    record(log, *drifts("test", [found("id-1", since=5)]))
    record(log, *drifts("test", [found("id-1", since=5, step=RepairStep.DELETE)]))
    assert [len(counted(log, *part)) for part in ((0, 5), (5, 6), (6, 100))] == [0, 1, 0]


def test_strays_in_a_summary_notice_count_too(log: sa.Engine) -> None:
    """The first twenty have a notice each, the others share one. Drifted nodes are not strays."""
    memory = DriftMemory("node1", Drift.BROKEN, SECOND)
    broken = FoundDrift("node1", DriftAction(Drift.BROKEN, RepairStep.HELD), memory, new=True)
    each = [found(f"id-{number}", node="n\n[]") for number in range(50)]
    notices = drifts("test", [broken, *each])
    assert len(notices) == 21
    record(log, *notices)
    assert {stray.server for stray in counted(log)} == {f"id-{number}" for number in range(50)}
    assert {(stray.cloud, stray.node) for stray in counted(log)} == {("sbg", "n\n[]")}


def test_a_notice_without_cloud_and_time_still_counts(log: sa.Engine) -> None:
    (notice,) = drifts("test", [found("id-1")])
    bare = replace(notice, time=7 * SECOND, details={"drift": "stray", "step": "report"})
    record(log, bare)
    assert counted(log) == [Stray("id-1", 7 * SECOND)]


@pytest.mark.parametrize("details", [{"id-1": "{"}, {"id-1": "[]"}, {"id-1": "{}"}])
def test_a_malformed_notice_is_named(log: sa.Engine, details: dict[str, str]) -> None:
    (notice,) = drifts("test", [found("id-1")])
    record(log, replace(notice, time=7 * SECOND, details=details))
    with pytest.raises(MalformedMessageError, match=r"record 1: .*audit verify"):
        counted(log)


PLACES = {"n1": NodePlace("a", "sbg", "stop", "vo.x")}


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("cloud", {"sbg": 2, "ifca": 1, UNASSIGNED: 1}),
        ("vo", {"vo.x": 2, UNASSIGNED: 2}),
        ("group", {"a": 1, UNASSIGNED: 3}),
        ("strategy", {"stop": 1, UNASSIGNED: 3}),
        ("user", {}),
        ("job", {}),
    ],
)
def test_a_stray_counts_for_its_cloud_or_for_the_place_of_its_node(
    by: str, keys: dict[str, int]
) -> None:
    lost = (
        Stray("id-1", 0, "sbg", "gone"),
        Stray("id-2", 0, "ifca", "n1"),
        Stray("id-3", 0, "sbg"),
        Stray("id-4", 0),
    )
    made = rows([], Question(0, 100, by, PLACES, strays=lost), 4)
    assert {row.key: row.strays for row in made} == keys
    assert total(made, 4).strays == sum(keys.values())


@pytest.mark.parametrize("who", ["resync", "by anna (as root)"])
def test_an_orphan_is_found_by_the_request_that_powers_it_off(log: sa.Engine, who: str) -> None:
    """Whoever requested it; once, even if requested repeatedly. Other suspended nodes do not count."""
    for node, drift, why in (
        ("n1", Drift.ORPHAN, who),
        ("n2", Drift.GHOST, who),
        ("n3", Drift.GHOST, "by orphan; Slurm: x"),
        ("n4", Drift.ORPHAN, who),
    ):
        known = ComparedNode(Power.OFF, None, ServerState.RUNNING)
        place = SurveyedNode(node, known, None, (), None, None)
        one = FoundDrift(
            node,
            DriftAction(drift, RepairStep.SUSPEND),
            DriftMemory(node, drift, 1),
            new=True,
            place=place,
        )
        for asked_at in (5, 7):
            snapshot = Snapshot("test", asked_at * SECOND, CORRELATION, "host", ())
            (asked,) = repair_requests([one], snapshot, SlurmSettings(), "host", why)
            record(
                log, transition_event(asked, Transition.ACCEPTED, round_=1, time=asked_at * SECOND)
            )
    with log.connect() as connection:
        assert orphans(connection, 0, 100 * SECOND) == {"n1", "n4"}
        assert orphans(connection, 0, 5 * SECOND) == frozenset()
    made = rows([], Question(0, 100, "group", PLACES, orphans=frozenset({"n1", "n4"})))
    assert {row.key: row.orphans for row in made} == {"a": 1, UNASSIGNED: 1}
