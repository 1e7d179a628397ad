"""A node's power state follows from what is wanted and what was observed."""

from __future__ import annotations

import pytest

from workers.store.power_state import PowerState, power_state


@pytest.mark.parametrize(
    ("desired", "observed", "busy", "expected"),
    [
        (None, None, False, PowerState.OFF),
        ("up", "ACTIVE", False, PowerState.ON),
        ("up", "SHUTOFF", True, PowerState.POWERING_ON),
        ("up", "SHUTOFF", False, PowerState.FAILED),
        ("up", "quota", False, PowerState.FAILED),
        ("down", "ACTIVE", True, PowerState.POWERING_OFF),
        ("down", "ACTIVE", False, PowerState.FAILED),
        ("down", "SHELVED_OFFLOADED", False, PowerState.OFF),
        ("gone", "NONE", False, PowerState.OFF),
        ("adopted", "ACTIVE", False, PowerState.ON),
        ("adopted", "SHUTOFF", False, PowerState.OFF),
        ("adopted", "ERROR", False, PowerState.FAILED),
    ],
)
def test_power_state_compares_desired_with_observed(
    *, desired: str | None, observed: str | None, busy: bool, expected: PowerState
) -> None:
    assert power_state(desired, observed, busy=busy) is expected
