"""An installation whose stores hold many nodes, with a console and without workers or clouds."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import requests
import sqlalchemy as sa

from schemas.commands import Kind
from schemas.events import Cause, CloudAction, Transition
from schemas.jobs import JobEvent, JobTransition
from tests.testbed.installation import CLUSTER, Installation
from tests.testbed.messages import command, event
from tests.testbed.ports import Ports
from tests.testbed.waiting import until
from workers.audit.log import append
from workers.audit.record import record_of
from workers.resync import drift_memory
from workers.slurm import node_memory
from workers.store.database import open_store
from workers.store.holds import Hold, place
from workers.store.snapshots import keep_snapshot
from workers.store.tables import nodes
from workers.store.tables import requests as rounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from schemas.commands import PowerCommand
    from schemas.events import RequestEvent
    from schemas.registrations import Registration
    from schemas.snapshot import Snapshot
    from workers.resync.drift_memory import DriftMemory
    from workers.slurm.node_memory import NodeMemory

NS = 10**9
_CLOUD = """
[clouds.sbg]
auth_url = "https://cloud.invalid:5000/v3"
project_id = "c8005e7c"
[clouds.sbg.source]
type = "oidc_refresh_token"
refresh_token_file = "refresh.token"
token_endpoint = "https://login.invalid/token"
"""


@dataclass(frozen=True)
class ConsoleSite:
    """An installation with a console.

    Attributes:
        site: the installation.
        url: the console's URL, without a slash at the end.
    """

    site: Installation
    url: str

    def set_nodes(self, states: Mapping[str, tuple[str, str | None]]) -> None:
        """Store what is desired of these nodes, and what was observed."""
        now = time.time_ns()
        with self._state() as connection:
            connection.execute(sa.delete(nodes).where(nodes.c.node.in_(list(states))))
            connection.execute(
                sa.insert(nodes),
                [
                    {
                        "cluster": CLUSTER,
                        "node": name,
                        "desired": desired,
                        "observed": observed,
                        "observed_at": now,
                        "generation": now,
                        "request_id": f"r-{name}",
                        "server_id": f"server-of-{name}",
                    }
                    for name, (desired, observed) in states.items()
                ],
            )

    def open_requests(self, commands: Iterable[PowerCommand]) -> None:
        """Store these requests as in progress."""
        with self._state() as connection:
            connection.execute(
                sa.insert(rounds),
                [
                    {
                        "cluster": CLUSTER,
                        "request_id": one.id,
                        "round": 1,
                        "node": one.node,
                        "generation": one.generation,
                        "accepted_at": one.generation,
                    }
                    for one in commands
                ],
            )

    def hold(self, node: str, reason: str) -> None:
        """Place a hold on a node."""
        with self._state() as connection:
            place(connection, self.site.settings.cluster, [Hold(node, reason, "somebody", 1)])

    def out_of_service(self, memories: Iterable[NodeMemory], taken: Snapshot) -> None:
        """Store nodes in cool-down, and a snapshot of Slurm."""
        with self._state() as connection:
            node_memory.remember(connection, CLUSTER, memories)
            keep_snapshot(connection, taken)

    def drift(self, memories: Iterable[DriftMemory]) -> None:
        """Store all drifts."""
        with self._state() as connection:
            drift_memory.remember(connection, CLUSTER, memories)

    def record(
        self, events: Iterable[RequestEvent | JobEvent | Registration], now: int | None = None
    ) -> None:
        """Append these events to the audit."""
        engine = open_store(self.site.settings.store.audit_url, "audit")
        at = now or time.time_ns()
        append(engine, [record_of(one.to_envelope().to_json(), CLUSTER, at) for one in events])
        engine.dispose()

    @contextmanager
    def _state(self) -> Iterator[sa.Connection]:
        engine = open_store(self.site.settings.store.url, "state")
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()


@contextmanager
def console_site(
    folder: Path,
    broker_url: str,
    groups: Mapping[str, str],
    console: str = "",
    *,
    broker_is_there: bool = True,
) -> Iterator[ConsoleSite]:
    """An installation with these groups, and its running console.

    Args:
        folder: holds the installation's files.
        broker_url: with the password, on a new vhost.
        groups: hostlists by name.
        console: further lines of the [console] table.
        broker_is_there: whether a broker listens at the URL.
    """
    with Ports() as ports:
        port = ports.take()
        tables = [
            _CLOUD,
            *(
                f'[groups."{name}"]\nnodes = "{hostlist}"\ncloud = "sbg"\n'
                for name, hostlist in groups.items()
            ),
            f'[console]\nlisten = "127.0.0.1:{port}"\n{console}\n',
        ]
        site = Installation(folder, broker_url, more="\n".join(tables))
        if broker_is_there:
            site.prepare()
        else:
            open_store(site.settings.store.url, "state").dispose()
        made = ConsoleSite(site, f"http://127.0.0.1:{port}")
        with serving(made):
            yield made


@contextmanager
def serving(made: ConsoleSite) -> Iterator[None]:
    """Run the console; it must exit with 0."""
    child = made.site.start("console")
    try:
        until(lambda: _answers(made.url) or not child.running, 30, "the console")
        child.require_running()
        yield
    finally:
        code = child.stop()
    assert code == 0, made.site.logs()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/static/lamp.svg", timeout=5).ok
    except requests.ConnectionError:
        return False


def resumed(
    node: str, at: int, *, seconds: float = 40.0, jobs: tuple[int, ...] = (4711,)
) -> list[RequestEvent]:
    """The events of a successful resume that was requested at `at` (ns since the epoch)."""
    requested = command(node, generation=at, jobs=jobs)
    done = replace(
        event(Transition.COMPLETED, requested, time=at + int(seconds * NS)),
        cloud="sbg",
        server_id="e3e70682",
        address="10.0.0.7",
        actions=(CloudAction("os-start", "e3e70682", at + int(0.6 * NS), "done"),),
    )
    return [event(Transition.ACCEPTED, requested, time=at + NS // 5), done]


def failed(
    node: str, at: int, cause: str = "quota", message: str = "No room left"
) -> list[RequestEvent]:
    """The events of a resume that failed after one retry."""
    requested = command(node, generation=at)
    why = Cause(cause, message)
    return [
        event(Transition.ACCEPTED, requested, time=at + NS // 5),
        replace(
            event(Transition.RETRIED, requested, time=at + NS, cause=why), attempt=1, retry_in=5
        ),
        replace(
            event(Transition.FAILED, requested, time=at + 7 * NS, cause=why), cloud="sbg", attempt=1
        ),
    ]


def ran(node: str, job_id: int, at: int, state: str = "COMPLETED") -> list[JobEvent]:
    """The events of a job of a UWS service that was submitted at `at`, and ran on a node."""
    known: dict[str, Any] = {
        "cluster": CLUSTER,
        "job_id": job_id,
        "submitted_at": at // NS * NS,
        "uws_id": "f755f0",
        "nodes": (node,),
    }
    started = (at + 60 * NS) // NS * NS
    of_run = {**known, "started_at": started, "user": "vouws"}
    return [
        JobEvent(JobTransition.STARTED, time=started, **of_run),
        JobEvent(JobTransition.ENDED, time=at + 90 * NS, state=state, **of_run),
        JobEvent(JobTransition.FINISHED, time=at + 90 * NS, state=state, **known),
    ]


def suspended(node: str, at: int) -> list[RequestEvent]:
    """The events of a successful suspend."""
    requested = command(node, generation=at, kind=Kind.SUSPEND, jobs=())
    done = replace(
        event(Transition.COMPLETED, requested, time=at + 9 * NS),
        cloud="sbg",
        server_id="e3e70682",
        actions=(CloudAction("os-stop", "e3e70682", at + NS, "done"),),
    )
    return [event(Transition.ACCEPTED, requested, time=at + NS // 5), done]
