"""P6: nothing that is written has a piece of a secret, although every provider repeats what it is sent."""

from __future__ import annotations

import base64
import os
import secrets
from itertools import product
from typing import TYPE_CHECKING

from producers.amqp import connection_parameters
from tests.testbed.leaks import pieces_found
from tests.testbed.receiver import Got, Receiver, Reply
from tests.testbed.simcloud.echo import echoed
from tests.testbed.simcloud.effects import Echoes
from tests.testbed.simcloud.faults import Fault
from tests.testbed.waiting import until
from tests.testbed.whole_system import SystemPlan, WholeSystem
from workers.broker import topology
from workers.broker.blocking import blocking_channel

if TYPE_CHECKING:
    from pathlib import Path

HELD = {"cloud.password", "refresh.token", "hook.secret", "hook.url", "broker.password"}
# Each kind of call that a login and a boot make, with refusals that end, park and repeat it.
LOGIN = [*product(("refresh", "federation", "rescope"), (400, 500)), ("rescope", 401)]
BOOT = [("list_detail", 403), *(("start", status) for status in (400, 401, 403, 404, 409, 500))]
# Prefixes of the simulated tokens, which every one of them has.
PREFIXES = ("sim-access-", "sim-refresh-", "gAAAAAB")
COMMANDS = (
    ("status",),
    ("doctor",),
    ("tokens", "status"),
    ("tokens", "test", "main"),
    ("dead-letters", "list"),
    ("dead-letters", "show", "--all"),
    ("audit", "list", "--json"),
    ("audit", "export", "export.jsonl"),
    ("support-bundle", "bundle.tar.gz"),
)


def at_rest(system: WholeSystem) -> dict[str, bytes]:
    """All messages in all queues, with their headers; they stay there."""
    found = {}
    with blocking_channel(connection_parameters(system.settings.broker, "test bed")) as channel:
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


def test_no_secret_is_written_whole_or_in_part_if_every_provider_repeats_it(
    run_dir: Path, broker_url: str
) -> None:
    """Logs, stores, spool, messages at rest, bundle, export and what commands print."""
    path, signing = secrets.token_urlsafe(24), base64.b64encode(secrets.token_bytes(24)).decode()

    def echo(got: Got) -> Reply:
        said = f"{got.path} {signing} {echoed({**got.headers, 'authorization': path}, got.body)}"
        return Reply(len(receiver.got) % 2 * 96 + 404, said)

    with Receiver(echo) as receiver:
        hook = 'name = "one"\nurl_file = "hook.url"\nsecret_file = "hook.secret"\nevents = ["#"]'
        plan = SystemPlan(
            nodes=len(BOOT),
            source="oidc_refresh_token",
            more=f"[[notify.webhook]]\n{hook}",
            files={"hook.url": f"{receiver.url}/{path}", "hook.secret": f"whsec_{signing}"},
        )
        with WholeSystem(run_dir / "echoes", broker_url, plan, start=()) as system:
            folder, said = system.folder, []
            for name in ("tokens", "audit", "notify"):
                system.worker(name)
            for kind, status in LOGIN:
                system.cloud.inject(Fault(kind=kind, effect=Echoes(status=status), times=1))
                os.utime(folder / "refresh.token")  # a changed file is tried at once
                done = system.operator("tokens", "test", "main")
                assert done.returncode, "it is refused"
                said.append(done.stdout + done.stderr)
            os.utime(folder / "refresh.token")
            for kind, status in BOOT:
                system.cloud.inject(Fault(kind=kind, effect=Echoes(status=status), times=1))
            system.worker("power")
            system.request("resume")
            system.settle(90)
            assert system.cloud.counts()["start"] >= len(BOOT) - 1
            until(lambda: receiver.got, 30, "a notification")
            until(lambda: system.depths().get(topology.DEAD_LETTER_QUEUE), 30, "a dead letter")
            for words in COMMANDS:
                done = system.operator(*(str(folder / w) if "." in w else w for w in words))
                (folder / f"{'-'.join(words)}.out").write_text(done.stdout + done.stderr)
            for worker in system.workers.values():
                worker.stop()
            written = {f"tokens test {n}": text.encode() for n, text in enumerate(said)}
            written |= at_rest(system)
            written |= {
                str(file.relative_to(folder)): file.read_bytes()
                for file in folder.rglob("*")
                if file.is_file() and file.name not in HELD
            }
            assert {"power.log", "tokens.log", "notify.log", "export.jsonl"} <= set(written)
            issued = {text.removeprefix(p) for p in PREFIXES for text in system.cloud.issued_secrets()
                      if text.startswith(p)}  # fmt: skip
            assert len(issued) >= 3
            assert pieces_found([*issued, path, signing], written) == {}
            assert pieces_found(["broker_connected"], written), "the search finds what is there"
