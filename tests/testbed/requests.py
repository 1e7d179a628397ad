"""Requests for the nodes of a PowerBench, and the number of cloud calls that they caused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from schemas.commands import Kind, PowerCommand
from tests.testbed.messages import command

if TYPE_CHECKING:
    from tests.testbed.simcloud.handle import SimCloud


def resume(node: str = "main1", after: float = 0.0) -> PowerCommand:
    """A resume request made now, or `after` seconds later."""
    return _request(Kind.RESUME, node, after)


def suspend(node: str = "main1", after: float = 0.0) -> PowerCommand:
    """A suspend request made now, or `after` seconds later."""
    return _request(Kind.SUSPEND, node, after)


def _request(kind: Kind, node: str, after: float) -> PowerCommand:
    return command(node, kind=kind, generation=time.time_ns() + int(after * 10**9))


def starts(cloud: SimCloud) -> int:
    """The number of start calls so far."""
    return cloud.counts().get("start", 0)


def stops(cloud: SimCloud) -> int:
    """The number of stop calls so far."""
    return cloud.counts().get("stop", 0)
