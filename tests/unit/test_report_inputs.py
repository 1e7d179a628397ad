"""The outcomes that a report reads show the state of each node at its beginning."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ops.report.history import histories
from ops.report.inputs import outcomes
from schemas.commands import Kind
from schemas.events import CloudAction, RequestEvent, Transition
from tests.testbed.messages import command, event
from tests.testbed.stores import STORES
from workers.audit.log import append
from workers.audit.record import record_of
from workers.store.database import open_store, reading

if TYPE_CHECKING:
    from pathlib import Path

NS = 10**9
T0 = 1_767_323_045 * NS


def completed(kind: Kind, at: int, word: str = "", *, dry_run: bool = False) -> RequestEvent:
    asked = command("node1", kind=kind, generation=T0 + (at - 10) * NS)
    made = event(Transition.COMPLETED, asked, time=T0 + at * NS)
    call = CloudAction(word, "s", T0 + (at - 1) * NS, "dry_run" if dry_run else "done")
    return replace(made, actions=(call,) if word else (), dry_run=dry_run, cloud="c")


@pytest.mark.parametrize(
    "last", [completed(Kind.ADOPT, 300), completed(Kind.SUSPEND, 300, "os-stop", dry_run=True)]
)
def test_an_outcome_that_says_nothing_of_power_does_not_hide_the_one_before(
    tmp_path: Path, last: RequestEvent
) -> None:
    """A running node was adopted, or had a suspend in a dry run, before the report begins."""
    up = completed(Kind.RESUME, 100, "os-start")
    store = open_store(STORES.url(tmp_path / "audit.db"), "audit")
    append(store, [record_of(e.to_envelope().to_json(), "test", e.time) for e in (up, last)])
    begin, end = T0 + 500 * NS, T0 + 900 * NS
    with reading(store) as connection:
        (node,) = histories(outcomes(connection, begin, end), end)
    store.dispose()
    assert [(on.begin, on.end) for on in node.powered_on] == [(T0 + 100 * NS, end)]


def test_an_adopted_node_is_not_known_to_be_off(tmp_path: Path) -> None:
    store = open_store(STORES.url(tmp_path / "audit.db"), "audit")
    adopted = completed(Kind.ADOPT, 300)
    append(store, [record_of(adopted.to_envelope().to_json(), "test", adopted.time)])
    with reading(store) as connection:
        assert histories(outcomes(connection, T0, T0 + 900 * NS), T0 + 900 * NS) == []
    store.dispose()
