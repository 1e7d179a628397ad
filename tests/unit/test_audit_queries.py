"""Queries select what belongs to the question, and nothing of a job that has the same number."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from schemas.events import Cause, RequestEvent, Transition
from schemas.jobs import JobEvent, JobTransition
from tests.testbed.messages import command, event
from tests.testbed.stores import STORES
from workers.audit.log import append
from workers.audit.queries import Filter, find
from workers.audit.record import record_of
from workers.store.database import open_store, reading

if TYPE_CHECKING:
    from pathlib import Path

NS = 10**9
DAY = 86_400 * NS
T0 = 1_767_323_045 * NS


def test_a_uws_job_ends_with_its_end_although_its_id_is_used_again(tmp_path: Path) -> None:
    """The request that it waited for may end later; a report of its failed boot may come later."""
    asked = command("node1", generation=T0 + 2 * NS, jobs=(7,))
    later = command("node2", generation=T0 + DAY, jobs=(7,))
    known = JobEvent(JobTransition.IDENTIFIED, "test", 7, T0, T0 + 40 * NS, "f755f0")
    cause = Cause("quota", "no room")
    other = replace(known, submitted_at=T0 + DAY, uws_id=None, nodes=("node2",), user="ann")
    events: list[RequestEvent | JobEvent] = [
        event(Transition.ACCEPTED, asked, time=T0 + 3 * NS),
        replace(known, transition=JobTransition.FINISHED, state="CANCELLED", time=T0 + 30 * NS),
        known,
        replace(
            known,
            transition=JobTransition.FAILED,
            state="NODE_FAIL",
            cause=cause,
            time=T0 + 200 * NS,
        ),
        event(Transition.COMPLETED, asked, time=T0 + 60 * NS),
        event(Transition.ACCEPTED, later, time=T0 + DAY + NS),
        replace(
            other,
            transition=JobTransition.STARTED,
            started_at=T0 + DAY + 9 * NS,
            time=T0 + DAY + 9 * NS,
        ),
    ]
    store = open_store(STORES.url(tmp_path / "audit.db"), "audit")
    append(store, [record_of(e.to_envelope().to_json(), "test", e.time) for e in events])
    with reading(store) as connection:
        found = find(connection, Filter(uws="f755f0"))
        of_both = find(connection, Filter(job=7))
    store.dispose()
    assert [one.type.split(".")[-2] for one in found] == [
        *("accepted", "finished", "identified", "completed", "failed"),
    ]
    assert len(of_both) == len(events)
