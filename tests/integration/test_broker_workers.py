"""Every worker consumes its queues again after an operator has deleted and declared them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from producers.amqp import connection_parameters
from tests.testbed.installation import ONE_GROUP, Installation
from tests.testbed.waiting import until
from workers.broker import topology
from workers.broker.blocking import blocking_channel
from workers.store.heartbeats import PROBLEM

if TYPE_CHECKING:
    from pathlib import Path

QUEUES = {
    "power": (topology.RESUME_QUEUE, topology.SUSPEND_QUEUE),
    "tokens": (topology.TOKEN_QUEUE,),
    "audit": (topology.AUDIT_QUEUE,),
    "slurm": (topology.FEEDBACK_QUEUE,),
    "notify": (topology.NOTIFY_QUEUE,),
    "resync": (topology.SNAPSHOT_QUEUE,),
}
MORE = f"""{ONE_GROUP}[[notify.webhook]]
name = "desk"
url = "http://127.0.0.1:1/"
events = ["failed"]
"""


def test_every_worker_reports_a_deleted_queue_and_consumes_it_again(
    run_dir: Path, broker_url: str
) -> None:
    site = Installation(run_dir / "site", broker_url, more=MORE)
    site.prepare()

    def problems() -> dict[str, str]:
        """What each worker does not consume, by role."""
        status = site.lamplighter("status", "--json").lines[0]
        states = {worker["role"]: worker["state"] for worker in status["workers"]}
        assert states.keys() <= QUEUES.keys()
        return {
            role: state.removeprefix(PROBLEM).partition(":")[0]
            for role, state in states.items()
            if state.startswith(PROBLEM) and "does not consume" in state
        }

    def consumed() -> bool:
        return all(site.consumers(name) for names in QUEUES.values() for name in names)

    with ExitStack() as running:
        for role in QUEUES:
            running.enter_context(site.start("worker", role))
        until(consumed, 60, "consumers of all queues")
        with blocking_channel(connection_parameters(site.settings.broker, "operator")) as channel:
            for names in QUEUES.values():
                for name in names:
                    channel.queue_delete(name)
        expected = {role: f"does not consume {', '.join(names)}" for role, names in QUEUES.items()}
        until(lambda: problems() == expected, 30, f"{expected}", interval=0.5)
        assert site.lamplighter("topology", "apply").code == 0
        until(consumed, 20, "consumers of all queues")
        until(lambda: not problems(), 30, "no problems", interval=0.5)
