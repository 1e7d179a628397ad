"""A site whose stores tell of many nodes without a worker or a cloud: what the console is looked at with."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import requests
import sqlalchemy as sa

from schemas.commands import Kind
from schemas.events import Cause, CloudAction, Transition
from tests.testbed.installation import CLUSTER, Installation
from tests.testbed.messages import command, event
from tests.testbed.ports import Ports
from tests.testbed.waiting import until
from workers.audit.log import append
from workers.audit.record import record_of
from workers.store.database import open_store
from workers.store.holds import Hold, place
from workers.store.tables import nodes, refresh_tokens
from workers.store.tables import requests as rounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from schemas.commands import PowerCommand
    from schemas.events import RequestEvent

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
    """A populated site.

    Attributes:
        site: its configuration, with a console on `url`.
        url: the console's, without a slash at the end.
    """

    site: Installation
    url: str

    def set(self, lamps: Mapping[str, tuple[str, str | None]], at: int | None = None) -> None:
        """Let the store say of these nodes what is desired and was observed."""
        now = at or time.time_ns()
        with self._state() as connection:
            names = sorted(lamps)
            connection.execute(sa.delete(nodes).where(nodes.c.node.in_(names)))
            connection.execute(
                sa.insert(nodes),
                [
                    {
                        "cluster": CLUSTER,
                        "node": name,
                        "desired": lamps[name][0],
                        "observed": lamps[name][1],
                        "observed_at": now,
                        "generation": now,
                        "request_id": f"r-{name}",
                        "server_id": f"server-of-{name}",
                    }
                    for name in names
                ],
            )

    def begin(self, asked: Iterable[PowerCommand]) -> None:
        """Let requests be under way."""
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
                    for one in asked
                ],
            )

    def end_all(self) -> None:
        """Let none be under way any more."""
        with self._state() as connection:
            connection.execute(sa.update(rounds).values(decided_at=time.time_ns()))

    def hold(self, node: str, reason: str) -> None:
        """Somebody is at a node."""
        with self._state() as connection:
            place(connection, self.site.settings.cluster, [Hold(node, reason, "somebody", 1)])

    def refresh_token_ends(self, cloud: str, at: int) -> None:
        """Let a cloud's refresh token end then."""
        with self._state() as connection:
            connection.execute(sa.insert(refresh_tokens).values(cloud=cloud, expires_at=at))

    def tell(self, events: Iterable[RequestEvent], now: int | None = None) -> None:
        """Let the audit have recorded these."""
        engine = open_store(self.site.settings.store.audit_url, "audit")
        at = now or time.time_ns()
        append(engine, [record_of(told.to_envelope().to_json(), CLUSTER, at) for told in events])
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
    """A site with these groups (hostlists), and its console running.

    Args:
        folder: holds all of it.
        broker_url: with the password, on a fresh vhost.
        groups: hostlists by name.
        console: further lines of [console].
        broker_is_there: whether it is.
    """
    with Ports() as ports:
        port = ports.take()
        tables = [
            _CLOUD,
            *(
                f'[groups."{name}"]\nnodes = "{nodes}"\ncloud = "sbg"\n'
                for name, nodes in groups.items()
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
    """Its console, until it answers and for as long as the block lasts."""
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
    node: str, at: int, *, took: float = 40.0, jobs: tuple[int, ...] = (4711,)
) -> list[RequestEvent]:
    """The events of a resume that went well, asked at `at` (ns)."""
    asked = command(node, generation=at, jobs=jobs)
    started = at + int(0.6 * NS)
    ended = at + int(took * NS)
    done = replace(
        event(Transition.COMPLETED, asked, time=ended),
        cloud="sbg",
        server_id="e3e70682",
        address="10.0.0.7",
        actions=(CloudAction("os-start", "e3e70682", started, "done"),),
    )
    return [event(Transition.ACCEPTED, asked, time=at + int(0.2 * NS)), done]


def failed(
    node: str, at: int, cause: str = "quota", words: str = "No room left"
) -> list[RequestEvent]:
    """The events of a resume that failed after one retry."""
    asked = command(node, generation=at)
    why = Cause(cause, words)
    return [
        event(Transition.ACCEPTED, asked, time=at + NS // 5),
        replace(event(Transition.RETRIED, asked, time=at + NS, cause=why), attempt=1, retry_in=5),
        replace(
            event(Transition.FAILED, asked, time=at + 7 * NS, cause=why), cloud="sbg", attempt=1
        ),
    ]


def suspended(node: str, at: int) -> list[RequestEvent]:
    """The events of a suspend that went well."""
    asked = command(node, generation=at, kind=Kind.SUSPEND, jobs=())
    done = replace(
        event(Transition.COMPLETED, asked, time=at + 9 * NS),
        cloud="sbg",
        server_id="e3e70682",
        actions=(CloudAction("os-stop", "e3e70682", at + NS, "done"),),
    )
    return [event(Transition.ACCEPTED, asked, time=at + NS // 5), done]
