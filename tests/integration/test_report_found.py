"""What a report reads from the audit, on SQLite and on PostgreSQL: outcomes, strays, and nodes that burned in vain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from ops.report.inputs import outcomes
from ops.report.orphans import orphans
from ops.report.question import NOBODY, NodePlace, Question
from ops.report.strays import Stray, strays
from ops.report.sums import rows, total
from schemas.commands import Kind
from schemas.errors import MalformedMessageError
from schemas.events import Transition, about
from schemas.server import Server
from schemas.snapshot import Power, Snapshot
from tests.testbed.messages import CORRELATION, MOMENT, command, event
from workers.audit.log import append
from workers.audit.record import record_of
from workers.resync.drift import ComparedNode, Drift, DriftAction, RepairStep, ServerState
from workers.resync.drift_memory import DriftMemory
from workers.resync.notices import drifts
from workers.resync.plan import Found, command_for
from workers.resync.survey import SurveyedNode
from workers.store.database import open_store
from workers.store.tables import audit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.events import Notice, RequestEvent

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
) -> Found:
    """A stray, as the resync worker finds it."""
    memory = DriftMemory(server, Drift.STRAY, since * SECOND)
    shown = Server(server, node, "ACTIVE", node=node)
    return Found(
        server, DriftAction(Drift.STRAY, step), memory, new=True, cloud=cloud, server=shown
    )


def tell(log: sa.Engine, *told: Notice | RequestEvent) -> None:
    append(log, [record_of(each.to_envelope().to_json(), "test", 0) for each in told])


def counted(log: sa.Engine, begin: int = 0, end: int = 100) -> list[Stray]:
    with log.connect() as connection:
        return strays(connection, begin * SECOND, end * SECOND)


def test_outcomes_are_read_from_the_last_before_the_time_to_its_end(log: sa.Engine) -> None:
    """What was so at the beginning is told by what was last before; a record that cannot be read is named."""
    up = command("node1", generation=MOMENT)
    ends = [MOMENT + at * SECOND for at in (1, 2, 3, 4)]
    for end in ends:
        tell(log, event(Transition.COMPLETED, replace(up, generation=end - 1), time=end))
    with log.begin() as connection:
        read = list(outcomes(connection, ends[2], ends[3]))
        assert sorted(told.time for told in read) == [ends[1], ends[2]]
        connection.execute(sa.update(audit).where(audit.c.time == ends[2]).values(body=b"{"))
        with pytest.raises(MalformedMessageError, match=r"record 3: .*audit verify"):
            list(outcomes(connection, ends[2], ends[3]))


def test_a_server_counts_once_however_often_it_is_told_of(log: sa.Engine) -> None:
    """It is found, it is about to be deleted, it was gone and is found again."""
    tell(log, *drifts("test", [found("id-1"), found("id-2", cloud="ifca")]))
    tell(log, *drifts("test", [found("id-1", step=RepairStep.DELETE)]))
    tell(log, *drifts("test", [found("id-1", since=50)]))
    assert counted(log) == [
        Stray("id-1", 5 * SECOND, "sbg", "old"),
        Stray("id-2", 5 * SECOND, "ifca", "old"),
    ]


def test_it_counts_when_it_was_found_not_when_it_was_told_of(log: sa.Engine) -> None:
    tell(log, *drifts("test", [found("id-1", since=5)]))
    tell(log, *drifts("test", [found("id-1", since=5, step=RepairStep.DELETE)]))
    assert [len(counted(log, *part)) for part in ((0, 5), (5, 6), (6, 100))] == [0, 1, 0]


def test_those_beyond_the_first_few_count_too(log: sa.Engine) -> None:
    """People hear of the first twenty one by one; what differs of nodes is no stray."""
    memory = DriftMemory("node1", Drift.BROKEN, SECOND)
    broken = Found("node1", DriftAction(Drift.BROKEN, RepairStep.HELD), memory, new=True)
    each = [found(f"id-{number}", node="n\n[]") for number in range(50)]
    notices = drifts("test", [broken, *each])
    assert len(notices) == 21
    tell(log, *notices)
    assert {stray.server for stray in counted(log)} == {f"id-{number}" for number in range(50)}
    assert {(stray.cloud, stray.node) for stray in counted(log)} == {("sbg", "n\n[]")}


def test_a_notice_that_says_neither_cloud_nor_when_counts_as_nobodys(log: sa.Engine) -> None:
    (told,) = drifts("test", [found("id-1")])
    bare = replace(told, time=7 * SECOND, details={"drift": "stray", "step": "report"})
    tell(log, bare)
    assert counted(log) == [Stray("id-1", 7 * SECOND)]


@pytest.mark.parametrize("details", [{"id-1": "{"}, {"id-1": "[]"}, {"id-1": "{}"}])
def test_what_cannot_be_read_is_named(log: sa.Engine, details: dict[str, str]) -> None:
    (told,) = drifts("test", [found("id-1")])
    tell(log, replace(told, time=7 * SECOND, details=details))
    with pytest.raises(MalformedMessageError, match=r"record 1: .*audit verify"):
        counted(log)


PLACES = {"n1": NodePlace("a", "sbg", "stop", "vo.x")}


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("cloud", {"sbg": 2, "ifca": 1, NOBODY: 1}),
        ("vo", {"vo.x": 2, NOBODY: 2}),
        ("group", {"a": 1, NOBODY: 3}),
        ("strategy", {"stop": 1, NOBODY: 3}),
        ("user", {}),
        ("job", {}),
    ],
)
def test_it_counts_where_it_is_or_where_its_node_belongs(by: str, keys: dict[str, int]) -> None:
    lost = (
        Stray("id-1", 0, "sbg", "gone"),
        Stray("id-2", 0, "ifca", "n1"),
        Stray("id-3", 0, "sbg"),
        Stray("id-4", 0),
    )
    asked = Question(0, 100, by, PLACES, strays=lost)
    made = rows([], asked, 4)
    assert {row.key: row.strays for row in made} == keys
    assert total(made, 4).strays == sum(keys.values())


@pytest.mark.parametrize("who", ["resync", "by anna (as root)"])
def test_an_orphan_is_known_by_the_request_that_puts_it_out(log: sa.Engine, who: str) -> None:
    """Whoever has asked; once, however often it was asked. What else is put out is no orphan."""
    for node, drift, why in (
        ("n1", Drift.ORPHAN, who),
        ("n2", Drift.GHOST, who),
        ("n3", Drift.GHOST, "by orphan; Slurm: x"),
        ("n4", Drift.ORPHAN, who),
    ):
        known = ComparedNode(Power.OUT, None, ServerState.RUNNING)
        place = SurveyedNode(node, known, None, None, None)
        one = Found(
            node,
            DriftAction(drift, RepairStep.SUSPEND),
            DriftMemory(node, drift, 1),
            new=True,
            place=place,
        )
        for asked_at in (5, 7):
            snapshot = Snapshot("test", asked_at * SECOND, CORRELATION, "host", ())
            asked = command_for(one, snapshot, dict.fromkeys(Kind, 60), "host", why)
            tell(log, about(asked, Transition.ACCEPTED, round_=1, time=asked_at * SECOND))
    with log.connect() as connection:
        assert orphans(connection, 0, 100 * SECOND) == {"n1", "n4"}
        assert orphans(connection, 0, 5 * SECOND) == frozenset()
    made = rows([], Question(0, 100, "group", PLACES, orphans=frozenset({"n1", "n4"})))
    assert {row.key: row.orphans for row in made} == {"a": 1, NOBODY: 1}
