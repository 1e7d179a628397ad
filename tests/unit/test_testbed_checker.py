"""The checker of whole runs finds each promise that is broken, and nothing where all are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from schemas.commands import Desired, Kind
from schemas.events import Transition
from tests.testbed.checker import Run, broken_promises
from tests.testbed.messages import MOMENT, command, event
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


def told(*steps: tuple[PowerCommand, Transition]) -> list[bytes]:
    return [event(transition, asked).to_envelope().to_json() for asked, transition in steps]


ALL = told(
    (UP, Transition.ACCEPTED),
    (DOWN, Transition.ACCEPTED),
    (UP, Transition.SUPERSEDED),
    (DOWN, Transition.COMPLETED),
)


@pytest.fixture
def kept(tmp_path: Path) -> Run:
    """A run in which everything was kept; one event was told twice."""
    return Run(recorded(tmp_path, ALL), [*ALL, ALL[-1]], 2, {"node1": Desired.DOWN})


def recorded(folder: Path, bodies: Sequence[bytes]) -> Sequence[Mapping[str, Any]]:
    """As the audit keeps them."""
    store = open_store(f"sqlite:///{folder}/audit.db", "audit")
    append(store, [record_of(body, "test", MOMENT) for body in bodies])
    with store.connect() as connection:
        rows = connection.execute(sa.select(audit).order_by(audit.c.seq)).mappings()
        kept = [dict(row) for row in rows]
    store.dispose()
    return kept


def found(run: Run) -> str:
    """The one promise that is broken."""
    [line] = broken_promises(run)
    return line


def test_nothing_is_found_where_all_was_kept(kept: Run) -> None:
    assert broken_promises(kept) == []


@pytest.mark.parametrize("column", ["body", "transition", "recorded_at", "hash"])
def test_a_record_that_was_altered(kept: Run, column: str) -> None:
    altered = {**kept.records[1], column: b"other" if column in {"body", "hash"} else 7}
    lines = broken_promises(replace(kept, records=[kept.records[0], altered, *kept.records[2:]]))
    assert "record 2 is not what its hash covers" in lines


def test_a_record_that_was_taken_away(kept: Run) -> None:
    lines = broken_promises(replace(kept, records=[kept.records[0], *kept.records[2:]]))
    assert "record 3 does not follow the one before it" in lines
    assert any(line.startswith("1 events are not recorded") for line in lines)


def test_an_event_that_the_audit_lost(kept: Run) -> None:
    assert found(replace(kept, records=kept.records[:3])).startswith("1 events are not recorded")


def test_a_record_of_what_nobody_told(kept: Run) -> None:
    lines = broken_promises(replace(kept, told=kept.told[1:]))
    assert any(line.startswith("1 records of what was never told") for line in lines)


def test_a_round_that_ended_in_two_ways_though_the_audit_folds_it(kept: Run) -> None:
    run = replace(kept, told=[*kept.told, *told((DOWN, Transition.FAILED))])
    assert found(run).endswith("has 2 outcomes: completed, failed")


def test_an_outcome_that_was_told_again_in_other_words(kept: Run) -> None:
    later = event(Transition.COMPLETED, DOWN, time=MOMENT + 7).to_envelope().to_json()
    assert "has 2 outcomes" in found(replace(kept, told=[*kept.told, later]))


def test_a_request_that_did_not_end(kept: Run) -> None:
    lines = broken_promises(replace(kept, told=ALL[:3], records=kept.records[:3]))
    assert any(line.startswith("1 rounds have not ended") for line in lines)


def test_a_request_that_nobody_accepted(kept: Run) -> None:
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
    ids=["an older one", "one that wants the same", "another node's"],
)
def test_a_request_superseded_by_what_does_not_count(tmp_path: Path, made: PowerCommand) -> None:
    other = replace(made, correlation_id="e" * 32)
    bodies = told(
        (other, Transition.ACCEPTED),
        (other, Transition.COMPLETED),
        (UP, Transition.ACCEPTED),
        (UP, Transition.SUPERSEDED),
    )
    run = Run(recorded(tmp_path, bodies), bodies, 2, {})
    assert found(run).endswith("is superseded by nothing that was asked")


def test_a_node_whose_newest_request_is_not_what_was_asked_last(kept: Run) -> None:
    line = found(replace(kept, wanted={"node1": Desired.UP}))
    assert line == "node1 was last asked to be up, which was not its newest request"
