"""A history of a storm that is in order: each test breaks it in one way."""

from __future__ import annotations

from storm.evidence import (
    BatchJob,
    Beats,
    DeadLetter,
    Evidence,
    HookCall,
    Injected,
    PoweredOn,
    QueueSeen,
    ServerSeen,
    Step,
)
from storm.rules.end import PROCESSES, QUEUES


def step(request: str, transition: str, time: float, **more: object) -> Step:
    fields: dict[str, object] = {"round": 1, "kind": "resume", "node": "node1", **more}
    return Step(request_id=request, transition=transition, time=time, **fields)  # type: ignore[arg-type]


# node1 is resumed at 100, runs a job from 110 to 130, and is suspended at 140.
GOOD = Evidence(
    calls=(
        HookCall("resume", ("node1",), 100.0, 0, 100.2),
        HookCall("suspend", ("node1",), 140.0, 0, 140.2),
    ),
    steps=(
        step("r1", "accepted", 101.0, origin="hook", asked=100.1),
        step("r1", "completed", 105.0, server="s1"),
        step("r2", "accepted", 141.0, origin="hook", kind="suspend", asked=140.1),
        step("r2", "completed", 142.0, kind="suspend"),
    ),
    ledger=(PoweredOn("node1", "s1", 104.0, 142.0),),
    beats=(Beats("7", "node1", 110.0, 130.0, "end"),),
    servers=(ServerSeen("node1", "s1", "SHUTOFF", powered=False),),
    queues=(
        *(QueueSeen(name, 0, 2) for name in sorted(QUEUES) if name != "power.dlq"),
        QueueSeen("power.dlq", 1, 0),
    ),
    letters=(DeadLetter("node1", "quota", "too many", 120.0),),
    injected=(Injected("answers", "403", 115.0, 119.0),),
    states={"node1": frozenset({"IDLE", "CLOUD", "POWERED_DOWN"})},
    memory=dict.fromkeys(PROCESSES, (90.0,) * 12),
    verify=(0, "2 records"),
    batch=(BatchJob(("7",), 1, 100.0),),
    suspending=(("node1", 139.9),),
    ctld_starts=(1.0,),
    strategies={"node1": "stop"},
)
RUNNING = (ServerSeen("node1", "s1", "ACTIVE", powered=True),)
IN_USE = {"node1": frozenset({"IDLE", "CLOUD"})}
SILENT = Beats("7", "node1", 110.0, 130.0, None)
AGAIN = Beats("7", "node1", 131.0, 139.0, "end")
REFUSED = step("r3", "failed", 117.0, error="quota")
