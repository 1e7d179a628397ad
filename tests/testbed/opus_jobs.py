"""Events about a job of OPUS."""

from __future__ import annotations

from typing import Any

from schemas.events import Cause
from schemas.jobs import JobEvent, JobTransition
from tests.testbed.messages import MOMENT

_NS = 1_000_000_000


def opus_job(**more: object) -> JobEvent:
    """A job that has ended because its node could not boot; `more` replaces fields."""
    known: dict[str, Any] = {
        "transition": JobTransition.FAILED,
        "cluster": "test",
        "job_id": 4711,
        "submitted_at": MOMENT // _NS * _NS,
        "time": MOMENT,
        "uws_id": "f755f0",
        "state": "NODE_FAIL",
        "nodes": ("node1",),
        "cause": Cause("quota", "used 10 of 10"),
    }
    return JobEvent(**{**known, **more})
