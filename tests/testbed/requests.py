"""What hooks ask of the nodes of a PowerBench, and how often its cloud was called for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from schemas.commands import Kind, PowerCommand
from tests.testbed.messages import command

if TYPE_CHECKING:
    from tests.testbed.simcloud.handle import SimCloud


def resume(node: str = "main1", after: float = 0.0) -> PowerCommand:
    """What a hook asks now, or so many seconds later."""
    return _ask(Kind.RESUME, node, after)


def suspend(node: str = "main1", after: float = 0.0) -> PowerCommand:
    """As `resume`."""
    return _ask(Kind.SUSPEND, node, after)


def _ask(kind: Kind, node: str, after: float) -> PowerCommand:
    return command(node, kind=kind, generation=time.time_ns() + int(after * 10**9))


def starts(cloud: SimCloud) -> int:
    """Start calls so far."""
    return cloud.counts().get("start", 0)


def stops(cloud: SimCloud) -> int:
    """Stop calls so far."""
    return cloud.counts().get("stop", 0)
