"""The commands that the pages print do what the pages say, as they stand there.

Those of docs/operations.md: test_restore.py and test_moving.py; of the quick start: tests/e2e.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from producers.amqp import connection_parameters
from producers.message import Batch
from producers.publish import publish as send
from schemas.events import Transition
from tests.faults.test_moving import Systemd
from tests.faults.test_restore import begin
from tests.testbed.messages import MOMENT, command, dead_letter, event, published
from tests.testbed.page_commands import printed, run_commands
from tests.testbed.scripted_slurm import ScriptedSlurm
from tests.testbed.waiting import until
from tests.testbed.whole_system import TEMPLATE, SystemPlan, WholeSystem

if TYPE_CHECKING:
    from producers.message import Message

ROOT = Path(__file__).parents[2]
PLAN = SystemPlan(
    nodes=7,
    group=f"deploy_wait = 0.5\n{TEMPLATE}",
    more="[slurm]\nsnapshot_interval = 60\n[resync]\nenabled = true\ngrace = 600\n"
    '[audit]\nkey_file = "audit.key"\nheads_file = "audit.heads"\nheads_every = 0.5\n',
)


def test_the_commands_of_the_pages_work_as_printed(run_dir: Path, broker_url: str) -> None:
    """Examples of names and ids stand for those of this installation."""
    kept = run_dir / "kept"
    kept.mkdir(mode=0o700)
    with WholeSystem(run_dir / "site", broker_url, PLAN, start=()) as system:
        slurm = ScriptedSlurm(system)
        begin(system)
        slurm.snapshot()
        slurm.call_hook("node7", on=True)
        system.settle()
        adopted(system, kept)
        at_three(system, kept)
        audited(system, kept)
        timed(system, kept)
        assert system.operator("release", "node7").returncode == 0
        slurm.call_hook("node7", on=False)
        system.settle()
        with slurm.snapshots():
            baked(system, kept)


def commands(page: str, heading: str) -> list[str]:
    """The section's commands of Lamplighter, without the sentences between them."""
    found = [line for line in printed(heading, ROOT / page) if line.startswith("lamplighter ")]
    assert found
    return found


def adopted(system: WholeSystem, kept: Path) -> None:
    [adopt] = commands("docs/from-scripts.md", "The way")
    run_commands([adopt], system, kept, examples={"adopt nodes": "adopt all"})
    tags = [server.metadata.get("lamplighter_node") for server in system.cloud.servers().values()]
    assert sorted(map(str, tags)) == system.nodes


def at_three(system: WholeSystem, kept: Path) -> None:
    """Two requests have died, and a job has waited for node7."""
    quota, other = (command(node, generation=MOMENT) for node in ("node1", "node2"))
    publish(
        system,
        dead_letter(quota, cause="quota"),
        dead_letter(other, cause="server_error"),
        published(event(Transition.ACCEPTED, quota)),
    )
    request = next(record for record in system.records() if record.subject == "node7")
    lines = commands("README.md", "For the operator at 3 a.m.")
    console = lines.pop()
    assert console.startswith("lamplighter console ")  # it runs until it is ended: test_console.py
    # each line stands by itself: a letter that `discard --stale` has ended cannot be replayed
    lines.sort(key=lambda line: "--stale" in line)
    told = run_commands(
        lines,
        system,
        kept,
        examples={"REQUEST_ID": str(request.request_id), "ID": other.id},
    )
    assert system.depths() == {}
    assert "job 4711" in next(out for line, out in told.items() if " why " in line)


def audited(system: WholeSystem, kept: Path) -> None:
    """The log is exported, verified by its signed heads, sealed and pruned."""
    until((system.folder / "audit.heads").exists, 20, "a signed head")
    for heading in ("Export", "Verification", "Retention"):
        lines = commands("docs/audit.md", heading)
        run_commands(lines, system, kept, examples={"/backup": str(system.folder)})
    assert (kept / "audit.jsonl").exists()


def timed(system: WholeSystem, kept: Path) -> None:
    """The hooks' clock was wrong for a while; all requests have ended, and the workers are stopped."""
    show, discard, reset = commands("docs/configuration.md", "The time")
    run_commands([show, discard], system, kept, examples={"wrong time": "the time was wrong"})
    host = Systemd(system, ScriptedSlurm(system))
    host.stop()
    run_commands([reset], system, kept, examples={"wrong time": "the time was wrong"})
    host.start()


def baked(system: WholeSystem, kept: Path) -> None:
    """One node is prepared and becomes an image, from which the group's next servers come."""
    retired = system.operator("nodes", "retire", "node1", "--reason", "one image", "--yes")
    assert retired.returncode == 0, retired.stderr
    lines = commands("docs/nodes.md", "One image for many nodes")
    run_commands(lines, system, kept, examples={"deploy compute": "deploy all"})
    assert "slurm-node-2026-12" in system.operator("image", "list").stdout


def publish(system: WholeSystem, *messages: Message) -> None:
    batch = Batch(messages, lambda: None)
    sent = send(connection_parameters(system.settings.broker, "test"), [batch], 10.0)
    assert sent.problem is None, sent.problem
