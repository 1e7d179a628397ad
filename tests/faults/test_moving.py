"""Moving a site by the commands of docs/operations.md, with requests in flight."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults.test_restore import ALL, begin, lose
from tests.testbed.broker_address import broker_fields
from tests.testbed.page_commands import printed, run_commands
from tests.testbed.postgresql import PostgreSQL
from tests.testbed.scripted_slurm import ScriptedSlurm
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.simcloud.settings import ServerSpec
from tests.testbed.waiting import until
from tests.testbed.whole_system import TEMPLATE, SystemPlan, WholeSystem
from workers.config.settings import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker

# On SQLite: the site moves from SQLite's files to PostgreSQL.

MORE = (
    "[slurm]\nsnapshot_interval = 5\n[resync]\nenabled = true\ngrace = 0\n"
    '[audit]\nkey_file = "audit.key"\nheads_file = "audit.heads"\nheads_every = 0.5\n'
)
OTHER_CLOUD = f"""cloud = "other"
deploy_wait = 0.5
{TEMPLATE}[clouds.other]
auth_url = "{{auth_url}}"
project_id = "{credentials.PROJECT_ID}"
[clouds.other.source]
type = "password"
username = "{credentials.USERNAME}"
password_file = "cloud.password"
"""


@pytest.fixture
def other_url(broker: Broker) -> Iterator[str]:
    """The AMQP URL of one more fresh vhost."""
    vhost = broker.create_vhost()
    yield broker.amqp_url(vhost)
    broker.delete_vhost(vhost)


def test_a_moved_site_carries_out_what_was_asked_before_during_and_after_the_move(
    run_dir: Path, broker_url: str, other_url: str
) -> None:
    """The controller, the broker, the stores, each with calls that wait; then the cloud."""
    site = run_dir / "site"
    kept = run_dir / "kept"
    kept.mkdir(mode=0o700)
    # absolute, as `init` writes them: a copy of the file names the same stores
    plan = SystemPlan(
        nodes=4,
        power="poll_interval = 0.3\napi_timeout = 5\nlease = 10",
        more=MORE,
        store=(f"sqlite:///{site}/state.db", f"sqlite:///{site}/audit.db"),
    )
    with WholeSystem(site, broker_url, plan, start=()) as system:
        slurm = ScriptedSlurm(system)
        host = Systemd(system, slurm)
        host.start()
        slurm.snapshot()
        slurm.call_hook("node1", "node2", on=True)
        system.settle()

        controller(system, slurm, host, kept)
        other_broker(system, slurm, host, other_url, kept)
        with PostgreSQL(run_dir / "postgresql") as server, SimCloud() as new_cloud:
            urls = server.create_database(), server.create_database()
            postgresql(system, slurm, host, urls, kept)
            other_cloud(system, slurm, host, new_cloud, kept)
            host.stop()


class Systemd:
    """Starts and stops the workers, as the target does; Slurm's snapshots go on."""

    def __init__(self, system: WholeSystem, slurm: ScriptedSlurm) -> None:
        self._system, self._slurm = system, slurm
        self.verbs = {"start": self.start, "stop": self.stop, "restart": self.restart}

    def start(self) -> None:
        begin(self._system)

    def stop(self) -> None:
        for name in ALL:
            self._system.workers[name].send(signal.SIGTERM)
            assert self._system.workers[name].wait(30) == 0

    def restart(self) -> None:
        self.stop()
        self.start()

    def as_wanted(self) -> None:
        """Wait until each server is as Slurm wants its node."""
        until(self._is_as_wanted, 60, "each node to be as Slurm wants it", interval=1.0)

    def _is_as_wanted(self) -> bool:
        self._slurm.snapshot()
        return not self._slurm.wrong()


def controller(system: WholeSystem, slurm: ScriptedSlurm, host: Systemd, kept: Path) -> None:
    """To another host, while calls wait in the queue; no request and no record is lost."""
    before, pack, unpack = split(printed("Moving the controller"), "tar")
    run_commands(before[:1], system, kept)
    slurm.call_hook("node1", on=False)
    slurm.call_hook("node3", on=True)
    run_commands(before[1:], system, kept, host.verbs)
    run_commands([*printed("Backup"), *pack], system, kept)
    records = len(system.records())
    lose(system)
    run_commands([*unpack, *printed("Restore")], system, kept)
    assert len(system.records()) == records
    host.start()
    host.as_wanted()
    system.settle()
    assert slurm.wanted == {"node2", "node3"}
    verified = system.operator("audit", "verify")
    assert verified.returncode == 0, verified.stdout


def split(lines: list[str], word: str) -> tuple[list[str], list[str], list[str]]:
    """The lines before those that begin with a word, and the first and the second of these."""
    first, second = (index for index, line in enumerate(lines) if line.startswith(word))
    return lines[:first], [lines[first]], [lines[second]]


def other_broker(
    system: WholeSystem, slurm: ScriptedSlurm, host: Systemd, url: str, kept: Path
) -> None:
    """To another broker: the old one's requests are carried out, new calls wait at the new one."""
    copy, *new = printed("Moving to another broker")
    run_commands([copy], system, kept)
    slurm.call_hook("node1", on=True)  # before the change: at the old broker
    new_broker = ", ".join(broker_fields(system.folder, [url]))
    edit(system, "broker =", f"broker = {{ {new_broker} }}")
    last = new.pop()
    *prepare, letters, status = new
    run_commands(prepare, system, kept)
    slurm.call_hook("node2", on=False)  # after it: at the new one
    until(lambda: len(system.ended()) == system.requests - 1, 30, "the old broker's requests")
    assert "no dead letters" in run_commands([letters, status], system, kept)[letters].lower()
    run_commands([last], system, kept, host.verbs)
    host.as_wanted()
    system.settle()
    assert slurm.wanted == {"node1", "node3"}


def postgresql(
    system: WholeSystem, slurm: ScriptedSlurm, host: Systemd, urls: tuple[str, str], kept: Path
) -> None:
    """To PostgreSQL: desired states are rebuilt from Slurm, and the new audit log is whole."""
    lines = printed("Moving from SQLite to PostgreSQL")
    change = next(index for index, line in enumerate(lines) if line.startswith("systemctl start"))
    run_commands(lines[:change], system, kept, host.verbs)
    exported = (kept / "audit.jsonl").read_text().splitlines()
    assert len(exported) >= system.requests
    slurm.wanted -= {"node3"}  # no call for it arrives
    slurm.call_hook("node4", on=True)
    edit(system, "store =", f'store = {{ url = "{urls[0]}", audit_url = "{urls[1]}" }}')
    start, snapshot, drift = lines[change:]
    assert snapshot == "lamplighter snapshot"  # it asks slurmctld, which the script stands for
    run_commands([start], system, kept, host.verbs)
    host.as_wanted()
    until(lambda: drifted(system, slurm, drift, kept) == "no drift", 30, "no drift", interval=1.0)
    assert "node4" in {record.subject for record in system.records()}
    verified = system.operator("audit", "verify")
    assert verified.returncode == 0, verified.stdout


def other_cloud(
    system: WholeSystem, slurm: ScriptedSlurm, host: Systemd, new: SimCloud, kept: Path
) -> None:
    """To another cloud: no server remains in the old one, and drift names one that was forgotten."""
    slurm.call_hook(*slurm.wanted, on=False)
    host.as_wanted()
    old = system.cloud
    assert system.operator("nodes", "adopt", "all", "--reason", "ours").returncode == 0
    retire, *deploy, drift = printed("Moving to another cloud or project")
    run_commands([retire], system, kept)
    assert old.servers() == {}
    tags = {"lamplighter_cluster": "test", "lamplighter_node": "node4"}
    old.add_servers([ServerSpec(name="forgotten", metadata=tags)])
    edit(system, 'cloud = "main"', OTHER_CLOUD.format(auth_url=new.auth_url))
    system.cloud = new
    with slurm.snapshots():
        run_commands(deploy, system, kept, host.verbs)
    assert not slurm.wrong()
    until(lambda: "stray" in drifted(system, slurm, drift, kept), 30, "the stray", interval=1.0)
    slurm.call_hook("node2", on=True)
    host.as_wanted()


def drifted(system: WholeSystem, slurm: ScriptedSlurm, command: str, kept: Path) -> str:
    """The last line that `lamplighter drift` prints after a snapshot."""
    slurm.snapshot()
    return run_commands([command], system, kept)[command].splitlines()[-1]


def edit(system: WholeSystem, start: str, line: str) -> None:
    """Replace a line of lamplighter.toml, and of the test bed's own file."""
    for name in ("lamplighter.toml", "test_bed.toml"):
        path = system.folder / name
        old = next(one for one in path.read_text().splitlines() if one.startswith(start))
        path.write_text(path.read_text().replace(old, line))
    system.settings = load(system.folder / "lamplighter.toml")
