"""P6: nothing that is written has a piece of a secret, although every provider repeats what it is sent."""

from __future__ import annotations

import base64
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product
from typing import TYPE_CHECKING

import requests

from producers.amqp import connection_parameters
from schemas.roles import Role
from tests.testbed.broker_roles import BrokerRoles
from tests.testbed.leaks import Children, pieces_found, random_parts
from tests.testbed.ports import Ports
from tests.testbed.processes import Child
from tests.testbed.receiver import Got, Receiver, Reply
from tests.testbed.scrape import port_of
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.echo import echoed, echoing_headers
from tests.testbed.simcloud.effects import Echoes
from tests.testbed.simcloud.faults import Fault
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.waiting import until
from tests.testbed.whole_system import ROOT, SystemPlan, WholeSystem
from workers.broker import topology
from workers.broker.blocking import blocking_channel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.testbed.broker import Broker

HELD = {"cloud.password", "refresh.token", "hook.secret", "hook.url", "broker.password"}
HELD |= {"app.secret", "robot.secret", "console.said", *(f"{role}.password" for role in Role)}
# Each kind of call that a login and a boot make, with answers that end, park, lead on and repeat it.
LOGIN = [("refresh", 302), *product(("refresh", "federation", "rescope"), (400,)), ("rescope", 500)]
BOOT = [
    *product(("list_detail",), (200, 302, 403)),
    *(("start", status) for status in (202, 302, 400, 401, 403, 404, 409, 500)),
]
OTHERS = (
    ("app", "token_application_credential"),
    ("person", "token_password"),
    ("robot", "client_credentials"),
)
COMMANDS = (
    ("status",),
    ("doctor",),
    ("config", "--json"),
    ("tokens", "status"),
    ("tokens", "status", "--json"),
    ("tokens", "test", "main"),
    ("nodes", "list"),
    ("drift",),
    ("dead-letters", "list", "--json"),
    ("dead-letters", "show", "--all"),
    ("audit", "list", "--json"),
    ("audit", "export", "export.jsonl"),
    ("audit", "export", "export.csv"),
    ("support-bundle", "bundle.tar.gz"),
)
PAGES = ("", "nodes", "events", "report", "dead-letters", "nodes/node1", "login", "no-such-page")
CLOUDS = """
[metrics]
listen = "127.0.0.1:0"
[console]
listen = "127.0.0.1:{port}"
operators_file = "operators"
[clouds.app]
auth_url = "{auth_url}"
[clouds.app.source]
type = "application_credential"
id = "{credentials.APPLICATION_CREDENTIAL_ID}"
secret_file = "app.secret"
[clouds.person]
auth_url = "{auth_url}"
project_id = "{credentials.PROJECT_ID}"
[clouds.person.source]
type = "password"
username = "{credentials.USERNAME}"
password_file = "cloud.password"
[clouds.robot]
auth_url = "{auth_url}"
project_id = "{credentials.PROJECT_ID}"
[clouds.robot.source]
type = "oidc_client_credentials"
client_id = "{credentials.CONFIDENTIAL_CLIENT}"
client_secret_file = "robot.secret"
token_endpoint = "{token_endpoint}"
[[notify.webhook]]
name = "one"
url_file = "hook.url"
secret_file = "hook.secret"
events = ["#"]
"""


def at_rest(system: WholeSystem, url: str) -> dict[str, bytes]:
    """All messages in all queues, with their headers; they stay there."""
    found = {}
    with blocking_channel(connection_parameters(system.settings.broker, url)) as channel:
        for queue in topology.topology().queues:
            left = channel.queue_declare(queue.name, passive=True).method.message_count
            for number, (_, properties, body) in (
                enumerate(channel.consume(queue.name), 1) if left else ()
            ):
                found[f"{queue.name} {number}"] = f"{properties}".encode() + body
                if number == left:
                    break
            channel.cancel()  # they return to the queue
    return found


class Scanned:
    """Runs the whole installation against echoes, and keeps what it says.

    Attributes:
        said: outputs of commands, pages and metrics, by what was asked.
    """

    def __init__(self, system: WholeSystem, other: SimCloud) -> None:
        self.system, self.other = system, other
        self.said: dict[str, bytes] = {}

    def command(self, *words: str) -> int:
        """Run a command; files are in the run's folder."""
        folder = self.system.folder
        done = self.system.operator(*(str(folder / w) if "." in w else w for w in words))
        self.said[f"{' '.join(words)} {time.monotonic_ns()}"] = (done.stdout + done.stderr).encode()
        return done.returncode

    def logins(self) -> None:
        """Each kind of login, refused in each way; and one by device code."""
        secret = self.system.folder / "refresh.token"
        for kind, status in LOGIN:
            # the token service may try by itself too
            fault = self.system.cloud.inject(Fault(kind=kind, effect=Echoes(status=status)))
            os.utime(secret)  # a changed file is tried at once
            assert self.command("tokens", "test", "main"), "it is refused"
            self.system.cloud.remove_fault(fault)
        for cloud, kind in OTHERS:
            fault = self.other.inject(Fault(kind=kind, effect=Echoes(status=401)))
            self.command("tokens", "test", cloud)
            self.other.remove_fault(fault)
        with ThreadPoolExecutor(1) as pool:
            login = pool.submit(self.command, "tokens", "login", "main")
            until(self.system.cloud.device_logins, 30, "a login by device code")
            self.system.cloud.approve_device(self.system.cloud.device_logins()[0].user_code)
            assert login.result(60) == 0

    def boots(self) -> None:
        """Each call to a cloud, answered in each way, until every request has ended."""
        for kind, status in BOOT:
            self.system.cloud.inject(Fault(kind=kind, effect=Echoes(status=status), times=1))
        self.system.worker("power")
        self.system.request("resume")
        self.system.settle(90)
        assert self.system.cloud.counts()["start"] >= len(BOOT) - 4

    def console(self, url: str) -> list[str]:
        """Log in and read each page; the operator's token and the session's."""
        folder = self.system.folder
        made = self.system.operator("console", "operator", "alice").stdout
        token = made.partition("with: ")[2].split()[0]
        with Child(self.system.command("console"), log=folder / "console.log", cwd=ROOT) as child:
            until(lambda: _answers(url) or not child.running, 30, "the console")
            with requests.Session() as session:
                form = {"token": token, "to": "/"}
                headers = {"Origin": url}
                self.said["wrong login"] = session.post(
                    f"{url}/login", {"token": token[1:]}, headers=headers, timeout=20
                ).content
                answer = session.post(f"{url}/login", form, headers=headers, timeout=20)
                assert answer.ok
                cookie = session.cookies["lamplighter"]
                for page in PAGES:
                    read = session.get(f"{url}/{page}", timeout=20)
                    self.said[f"page /{page}"] = read.content
        return [token, cookie]

    def metrics(self) -> None:
        """What each worker serves."""
        for name in self.system.workers:
            port = port_of(self.system.log(name))
            page = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=20)
            self.said[f"metrics of {name}"] = page.content


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/static/lamp.svg", timeout=5).ok
    except requests.ConnectionError:
        return False


def test_no_secret_is_written_whole_or_in_part_if_every_provider_repeats_it(
    run_dir: Path, broker: Broker, vhost: str
) -> None:
    """Logs, stores, spool, messages, bundle, exports, pages, metrics, commands, /proc of each process."""
    path, signing = secrets.token_urlsafe(24), base64.b64encode(secrets.token_bytes(24)).decode()
    folder = run_dir / "echoes"
    roles = BrokerRoles(broker, vhost, folder)

    def echo(got: Got) -> Reply:
        sent = {**got.headers, "authorization": path}
        said = f"{got.path} {signing} {echoed(sent, got.body)}"
        return Reply((404, 500, 302)[len(receiver.got) % 3], said, echoing_headers(sent))

    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver(echo))
        other = stack.enter_context(SimCloud())
        port = stack.enter_context(Ports()).take()
        children = stack.enter_context(Children())
        plan = SystemPlan(
            nodes=len(BOOT),
            source="oidc_refresh_token",
            more=CLOUDS.format(
                port=port,
                auth_url=other.auth_url,
                token_endpoint=other.token_endpoint,
                credentials=credentials,
            ),
            files={
                "hook.url": f"{receiver.url}/{path}",
                "hook.secret": f"whsec_{signing}",
                "app.secret": credentials.APPLICATION_CREDENTIAL_SECRET,
                "robot.secret": credentials.CONFIDENTIAL_CLIENT_SECRET,
            },
        )
        system = stack.enter_context(
            WholeSystem(folder, broker.amqp_url(vhost), plan, start=(), roles=roles)
        )
        for cloud in (system.cloud, other):
            cloud.set(echoes=True, device_interval_seconds=0.2)
        run = Scanned(system, other)
        for name in ("tokens", "audit", "notify"):
            system.worker(name)
        run.logins()
        run.boots()
        until(lambda: receiver.got, 30, "a notification")
        until(lambda: system.depths().get(topology.DEAD_LETTER_QUEUE), 30, "a dead letter")
        of_console = run.console(f"http://127.0.0.1:{port}")
        run.metrics()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda words: run.command(*words), COMMANDS))
        for name in ("app", "main"):
            run.command("tokens", "revoke", name, "--yes")
        for worker in system.workers.values():
            worker.stop()
        written = run.said | children.seen | at_rest(system, "test scan")
        written |= {
            str(file.relative_to(folder)): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file() and file.name not in HELD
        }
        assert {"power.log", "tokens.log", "notify.log", "export.jsonl"} <= set(written)
        issued = random_parts([*system.cloud.issued_secrets(), *other.issued_secrets()])
        assert len(issued) >= 5
        held = [roles.users.secret_file(role).read_text().strip() for role in Role]
        held += [path, signing, credentials.PASSWORD, credentials.APPLICATION_CREDENTIAL_SECRET]
        held += [credentials.CONFIDENTIAL_CLIENT_SECRET, *of_console]
        assert pieces_found([*issued, *held], written) == {}
        assert pieces_found(["broker_connected"], written), "the search finds what is there"
