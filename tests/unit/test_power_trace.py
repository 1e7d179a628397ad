"""One flawless resume can be followed: few changes of module, and no decision without a reason."""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import Future
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prometheus_client import CollectorRegistry

import workers
from schemas.server import Server
from tests.testbed.deliveries import delivery
from tests.testbed.installation import CLUSTER
from tests.testbed.requests import resume
from tests.testbed.waiting import until
from workers.clouds.client import Cloud, Listing
from workers.clouds.driver import CloudDriver
from workers.config.settings import load
from workers.power.desired_state import Lease
from workers.power.engine import Engine
from workers.power.lease_owner import Owner
from workers.power.metrics import PowerMetrics
from workers.power.power_store import PowerStore
from workers.power.slurm_view import SnapshotReader
from workers.store.database import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from producers.message import Message
    from workers.broker.delivery import Delivery
    from workers.broker.link import Link
    from workers.clouds.nova_requests import Call

ROOT = Path(workers.__file__).parents[1]
CONFIG = """
cluster = "test"
[broker]
url = "amqp://127.0.0.1/test"
password_file = "password"
[power]
poll_interval = 0.2
[clouds.main]
auth_url = "http://127.0.0.1/v3"
project_id = "p"
source = { type = "password", username = "u", password_file = "password" }
[groups.main]
nodes = "main[1-9]"
cloud = "main"
"""


class InstantLink:
    """A broker that confirms at once."""

    def __init__(self) -> None:
        self.acked: list[Delivery] = []
        self.published: list[Message] = []

    def publish(self, message: Message) -> Future[None]:
        self.published.append(message)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def ack(self, deliveries: list[Delivery]) -> None:
        self.acked += deliveries

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class InstantCloud:
    """Nova without a network: a server runs as soon as it is started."""

    def __init__(self) -> None:
        self.status = "SHUTOFF"
        self.calls: list[str] = []

    def act(self, call: Call, guard: Callable[[], None]) -> str:
        guard()
        self.calls.append(call.action)
        self.status = "ACTIVE"
        return call.server_id

    def list_servers(self, _since: str | None) -> Listing:
        return Listing([Server("id-1", "main1", self.status)], "2026-01-01T00:00:00Z")

    def close(self) -> None: ...


@contextmanager
def engine_on(folder: Path, link: InstantLink, cloud: InstantCloud) -> Iterator[Engine]:
    config = folder / "lamplighter.toml"
    config.write_text(CONFIG)
    (folder / "password").write_text("secret")
    (folder / "password").chmod(0o600)
    settings = load(config)
    store = open_store(f"sqlite:///{folder}/state.db", "state")
    with closing(Owner(store.url)) as owner:
        lease = Lease(owner, 60.0, settling=20.0)
        engine = Engine(
            settings,
            cast("Link", link),
            PowerStore(store, CLUSTER, lease),
            SnapshotReader(store, CLUSTER, enabled=False, stale_after=60.0),
            lambda name, post: CloudDriver(
                name, CLUSTER, settings.clouds[name], cast("Cloud", cloud), post
            ),
            metrics=PowerMetrics(CollectorRegistry()),
        )
        yield engine
        engine.close()
    store.dispose()


class Trace:
    """The calls of our own functions on this thread, as (file, function)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:  # noqa: ANN401
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            name = str(path.relative_to(ROOT))
            if not name.startswith((".venv", "tests")):
                self.calls.append((name, frame.f_code.co_name))

    @property
    def changes(self) -> int:
        """How often the next call was in another module."""
        files = [file for file, _ in self.calls]
        return sum(one != other for one, other in pairwise(files))

    @property
    def modules(self) -> set[str]:
        """Those that were entered."""
        return {file for file, _ in self.calls}


def test_a_flawless_resume_passes_through_few_modules(run_dir: Path) -> None:
    link, cloud = InstantLink(), InstantCloud()
    with engine_on(run_dir, link, cloud) as engine:
        engine.turn()
        trace = Trace()
        asked = delivery(resume("main1"))
        engine.deliver(asked)

        def turned() -> bool:
            sys.setprofile(trace)
            try:
                engine.turn()
            finally:
                sys.setprofile(None)
            return link.acked == [asked]

        until(turned, 10, "the resume to be acknowledged", interval=0)
    assert cloud.calls == ["os-start"]
    said = Counter(function for _, function in trace.calls)
    assert trace.changes <= 150, Counter(trace.calls).most_common(40)
    assert len(trace.modules) <= 25, sorted(trace.modules)
    # it arrived; its turn to call came; the call was answered and the next listing came
    assert said["next_step"] <= 4
