"""One scontrol answers many queries; one that is slow, ends or fails costs no more than its answer."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from tests.testbed.waiting import until
from workers.slurm import scontrol_session
from workers.slurm.commands import SlurmAwayError, SlurmCommands
from workers.slurm.scontrol_session import ScontrolSession

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workers.config.settings import Settings

# As scontrol: prints its input after a prompt, and does what it says.
FAKE = """#!/bin/bash
echo "$*" >>"$0.starts"
while read -r line; do
  printf 'scontrol: %s\\n' "$line"
  [[ $line != 'show '[nj]o* ]] || echo "$line" >>"$0.asked"
  [[ $line != 'show node'* || ! -e $0.same ]] || echo 'slurm_load_node no change in data'
  case $line in
    verbose) ;;
    'show node all') cat "$0.nodes" ;;
    'show hostnames '*) echo "${line##* }" ;;
    'show node') printf 'NodeName=%01000d State=IDLE\\n' {1..300} ;;
    'show node end') exit 1 ;;
    'show node never') sleep 60 ;;
    *) echo "Node ${line##* } not found" >&2 ;;
  esac
done
"""


@pytest.fixture
def session(run_dir: Path) -> Iterator[ScontrolSession]:
    for name in ("scontrol", "squeue"):
        (run_dir / name).write_text(FAKE)
        (run_dir / name).chmod(0o755)
    (run_dir / "slurm.conf").touch()
    slurm = SimpleNamespace(bin=run_dir, timeout=5.0, conf=run_dir / "slurm.conf")
    commands = SlurmCommands(cast("Settings", SimpleNamespace(slurm=slurm)))
    made = ScontrolSession(commands)
    yield made
    made.close()


def answer(session: ScontrolSession, query: str) -> str:
    session.ask(query)
    found: list[str] = []

    def came() -> bool:
        text = session.answer()
        found.extend([] if text is None else [text])
        return bool(found)

    until(came, 10, "the answer")
    return found[0]


def test_one_process_answers_all_queries(session: ScontrolSession, run_dir: Path) -> None:
    assert "Node nodeX not found" in answer(session, "show node nodeX")
    long = answer(session, "show node ")
    assert long.count("NodeName=") == 300
    assert "nodeY not found" in answer(session, "show node nodeY")
    assert "nodeX" not in answer(session, "show node nodeY")
    assert (run_dir / "scontrol.starts").read_text() == "--all --oneliner\n"


def test_nodes_are_printed_again_only_when_one_has_changed(
    session: ScontrolSession, run_dir: Path
) -> None:
    """Slurmctld says that none has; another query, and one of another scontrol, is answered in full."""
    nodes, same, asked = (run_dir / f"scontrol.{name}" for name in ("nodes", "same", "asked"))

    def states(query: str = "show node all") -> list[str]:
        lines = answer(session, query).splitlines()
        return [line for line in lines if line.startswith("NodeName=")]

    first, then = ("NodeName=a State=IDLE", "NodeName=a State=MIXED")
    nodes.write_text(f"{first}\n")
    assert states() == [first]
    same.touch()
    assert [states() for _ in range(3)] == [[first]] * 3
    full, probe = "show node all", scontrol_session._PROBE
    assert asked.read_text().splitlines() == [full, full, probe, probe]
    same.unlink()
    nodes.write_text(f"{then} Reason=slurm_load_node no change in data\n")
    assert states()[0].startswith(then)
    assert states()[0].startswith(then)
    assert asked.read_text().splitlines()[4:] == [probe, full, full]
    same.touch()
    assert states()[0].startswith(then)
    assert "nodeX not found" in answer(session, "show node nodeX")
    session.close()
    assert states()[0].startswith(then)
    assert asked.read_text().splitlines()[7:] == [full, "show node nodeX", full]


def test_a_process_that_ends_is_started_again(session: ScontrolSession, run_dir: Path) -> None:
    session.ask("show node end")
    until(lambda: session.answer() is None and session.fds == [], 10, "its end")
    assert "not found" in answer(session, "show node a")
    assert len((run_dir / "scontrol.starts").read_text().splitlines()) == 2


def test_an_answer_that_does_not_come_does_not_block(session: ScontrolSession) -> None:
    session.ask("show node never")
    assert session.answer() is None
    session.close()
    assert session.fds == []
    assert "not found" in answer(session, "show node a")


def test_without_scontrol_no_answer_comes(session: ScontrolSession, run_dir: Path) -> None:
    (run_dir / "scontrol").unlink()
    session.ask("show node a")
    assert session.answer() is None


@pytest.mark.parametrize(("step", "starts"), [(-1.0, 2), (-3600.0, 2), (1.0, 1), (3600.0, 1)])
def test_scontrol_is_replaced_when_the_clock_is_set_back(
    session: ScontrolSession, run_dir: Path, step: float, starts: int
) -> None:
    """All changes would be hidden from the old one, for as long as the step."""
    steps = [0.0]
    replaced = ScontrolSession(session._commands, clock=lambda: time.time() + sum(steps))
    for _ in range(2):
        answer(replaced, "show node node1")
    steps.append(step)
    for _ in range(2):
        answer(replaced, "show node node1")
    replaced.close()
    assert len((run_dir / "scontrol.starts").read_text().splitlines()) == starts


def test_scontrol_is_replaced_after_some_time(
    session: ScontrolSession, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory cannot grow without end."""
    monkeypatch.setattr(scontrol_session, "_LASTS", 0.0)
    for _ in range(2):
        answer(session, "show node node1")
    assert len((run_dir / "scontrol.starts").read_text().splitlines()) == 2


def test_of_a_long_answer_the_end_says_why_it_failed(
    session: ScontrolSession, run_dir: Path
) -> None:
    """`scontrol show config` prints all that it has before it finds that slurmctld is gone."""
    (run_dir / "scontrol").write_text(
        "#!/bin/sh\nseq 500\necho 'Slurmctld(primary) at vm is DOWN'\nexit 1\n"
    )
    with pytest.raises(SlurmAwayError, match=r" is DOWN$"):
        session._commands.query("scontrol", "show", "config")


def test_a_federation_shows_only_the_nodes_and_jobs_of_its_own_cluster(run_dir: Path) -> None:
    """With FederationParameters=fed_display, both commands show those of all clusters together.

    Nodes of one name would then be unknown, and the others would seem to lack a group.
    """
    for name in ("scontrol", "squeue"):
        (run_dir / name).write_text("#!/bin/sh\necho ${SCONTROL_LOCAL} ${SQUEUE_LOCAL}\n")
        (run_dir / name).chmod(0o755)
    slurm = SimpleNamespace(bin=run_dir, timeout=5.0, conf=run_dir / "slurm.conf")
    settings = cast("Settings", SimpleNamespace(slurm=slurm, path=run_dir / "lamplighter.toml"))
    commands = SlurmCommands(settings)
    assert commands.query("scontrol", "show", "node") == commands.run("squeue") == "1 1\n"
    with commands.converse("scontrol") as conversation:
        assert conversation.communicate()[0] == b"1 1\n"
