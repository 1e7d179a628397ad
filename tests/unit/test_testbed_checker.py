"""The checker of whole runs finds every broken promise, and nothing in a correct run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from schemas.commands import Desired, Kind
from schemas.events import Transition
from tests.testbed.checker import Run, broken_promises
from tests.testbed.messages import MOMENT, command, event
from tests.testbed.stores import STORES
from workers.audit.log import append
from workers.audit.record import record_of
from workers.store.database import open_store
from workers.store.tables import audit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from schemas.commands import PowerCommand

UP = command("node1")
DOWN = replace(command("node1", kind=Kind.SUSPEND, generation=MOMENT + 1), correlation_id="d" * 32)


def bodies_of(*steps: tuple[PowerCommand, Transition]) -> list[bytes]:
    return [event(transition, asked).to_envelope().to_json() for asked, transition in steps]


ALL = bodies_of(
    (UP, Transition.ACCEPTED),
    (DOWN, Transition.ACCEPTED),
    (UP, Transition.SUPERSEDED),
    (DOWN, Transition.COMPLETED),
)


@pytest.fixture
def kept(tmp_path: Path) -> Run:
    """A correct run; one event was published twice."""
    return Run(recorded(tmp_path, ALL), [*ALL, ALL[-1]], 2, {"node1": Desired.DOWN})


def recorded(folder: Path, bodies: Sequence[bytes]) -> Sequence[Mapping[str, Any]]:
    """Return the audit's records of these events."""
    store = open_store(STORES.url(folder / "audit.db"), "audit")
    append(store, [record_of(body, "test", MOMENT) for body in bodies])
    with store.connect() as connection:
        rows = connection.execute(sa.select(audit).order_by(audit.c.seq)).mappings()
        records = [dict(row) for row in rows]
    store.dispose()
    return records


def found(run: Run) -> str:
    """Return the only broken promise."""
    [line] = broken_promises(run)
    return line


def test_a_correct_run_has_no_broken_promise(kept: Run) -> None:
    assert broken_promises(kept) == []


@pytest.mark.parametrize("column", ["body", "transition", "recorded_at", "hash"])
def test_an_altered_record_is_found(kept: Run, column: str) -> None:
    altered = {**kept.records[1], column: b"other" if column in {"body", "hash"} else 7}
    lines = broken_promises(replace(kept, records=[kept.records[0], altered, *kept.records[2:]]))
    assert "record 2 does not match its hash" in lines


def test_a_deleted_record_is_found(kept: Run) -> None:
    lines = broken_promises(replace(kept, records=[kept.records[0], *kept.records[2:]]))
    assert "record 3 does not follow the previous one" in lines
    assert any(line.startswith("1 events are not recorded") for line in lines)


def test_an_event_without_a_record_is_found(kept: Run) -> None:
    assert found(replace(kept, records=kept.records[:3])).startswith("1 events are not recorded")


def test_a_record_without_an_event_is_found(kept: Run) -> None:
    lines = broken_promises(replace(kept, events=kept.events[1:]))
    assert any(line.startswith("1 records without an event") for line in lines)


def test_a_round_with_two_outcomes_is_found_though_the_audit_has_only_one(kept: Run) -> None:
    run = replace(kept, events=[*kept.events, *bodies_of((DOWN, Transition.FAILED))])
    assert found(run).endswith("has 2 outcomes: completed, failed")


def test_an_outcome_published_again_with_other_content_is_found(kept: Run) -> None:
    later = event(Transition.COMPLETED, DOWN, time=MOMENT + 7).to_envelope().to_json()
    assert "has 2 outcomes" in found(replace(kept, events=[*kept.events, later]))


def test_a_request_without_an_outcome_is_found(kept: Run) -> None:
    lines = broken_promises(replace(kept, events=ALL[:3], records=kept.records[:3]))
    assert any(line.startswith("1 rounds have not ended") for line in lines)


def test_a_request_that_was_not_accepted_is_found(kept: Run) -> None:
    assert {"2 of 3 requests accepted", "2 rounds of 3 requests ended"} == set(
        broken_promises(replace(kept, requests=3))
    )


@pytest.mark.parametrize(
    "made",
    [
        command("node1", kind=Kind.SUSPEND, generation=MOMENT - 1),
        command("node1", generation=MOMENT + 1),
        command("node2", kind=Kind.SUSPEND, generation=MOMENT + 1),
    ],
    ids=["an older request", "a request for the same state", "another node's request"],
)
def test_a_request_superseded_without_a_newer_different_one_is_found(
    tmp_path: Path, made: PowerCommand
) -> None:
    other = replace(made, correlation_id="e" * 32)
    bodies = bodies_of(
        (other, Transition.ACCEPTED),
        (other, Transition.COMPLETED),
        (UP, Transition.ACCEPTED),
        (UP, Transition.SUPERSEDED),
    )
    run = Run(recorded(tmp_path, bodies), bodies, 2, {})
    assert found(run).endswith("was superseded without a newer request")


def test_a_node_whose_newest_request_is_not_the_last_one_made_is_found(kept: Run) -> None:
    line = found(replace(kept, wanted={"node1": Desired.UP}))
    assert line == "the last request for node1 was up, but its newest accepted request was not"
