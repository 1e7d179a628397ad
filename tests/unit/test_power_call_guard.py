"""The guard of a call reads the row at the last moment, and says whether an earlier try was made."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, cast

import pytest

from schemas.commands import Desired
from tests.testbed.deliveries import RecordingLink, run_at_once
from workers.clouds.errors import CloudError
from workers.config.tables import PowerSettings
from workers.errors import TokenServiceAwayError
from workers.power import calls
from workers.power.calls import Calls, NotWantedError
from workers.power.desired_state import DesiredRow
from workers.power.outbox import Outbox
from workers.power.pending_nodes import PendingNodes

if TYPE_CHECKING:
    from workers.power.power_store import PowerStore

WANTED = DesiredRow("node1", Desired.UP, 7, "request", None, "we", lease_left=60.0)


class OneRow:
    """A store that holds one row."""

    owner = "we"

    def __init__(self, row: DesiredRow) -> None:
        self.row = row

    def read(self, names: list[str]) -> dict[str, DesiredRow]:
        return dict.fromkeys(names, self.row)


def guard(row: DesiredRow, tries: int = 0) -> None:
    board = PendingNodes(Outbox(RecordingLink().link, run_at_once), attempts=5)
    settings = PowerSettings(api_timeout=20.0, lease=60.0)
    made = Calls(settings, board, cast("PowerStore", OneRow(row)), {}, lambda _: None)
    made._guard("node1", WANTED, count(tries))


def test_what_is_wanted_and_ours_may_be_called() -> None:
    guard(WANTED)
    guard(replace(WANTED, lease_left=20.1, wary_left=5.0))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (replace(WANTED, generation=8), "generation 8 has come"),
        (replace(WANTED, lease_owner="another"), "no longer ours"),
        (replace(WANTED, lease_owner=None), "no longer ours"),
        (replace(WANTED, lease_left=20.0), "ends in 20.0 s"),
        (replace(WANTED, lease_left=-1.0), "ends in -1.0 s"),
    ],
)
def test_what_has_moved_on_or_would_outlast_the_lease_may_not(row: DesiredRow, why: str) -> None:
    with pytest.raises(NotWantedError, match=why) as caught:
        guard(row, tries=2)
    assert caught.value.earlier == 2


@pytest.mark.parametrize(
    ("error", "may_land"),
    [
        (NotWantedError("moved on", 0), False),
        (NotWantedError("moved on", 1), True),
        (CloudError(None, "reset by peer"), True),
        (CloudError(504, "gateway timeout"), True),
        (CloudError(409, "conflict"), False),
        (CloudError(500, "boom"), False),
        (TokenServiceAwayError("nobody answered"), False),
        (KeyError("server"), True),
    ],
)
def test_only_what_nobody_heard_answered_may_take_effect_later(
    error: Exception,
    may_land: bool,  # noqa: FBT001
) -> None:
    assert calls._may_land(error) is may_land
