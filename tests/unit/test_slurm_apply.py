"""An update is sent only if it is still right: it is decided again right before each command."""

from __future__ import annotations

import os
import time
from itertools import count
from typing import TYPE_CHECKING

import pytest
import structlog

from workers.slurm import apply
from workers.slurm.commands import SlurmAwayError, SlurmCommands, SlurmRefusedError
from workers.slurm.nodes import NodeState
from workers.slurm.scontrol import Slurm
from workers.slurm.updates import SlurmUpdate, UpdateKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

BOOTING = frozenset({"POWERING_UP"})


class FakeCommands:
    """scontrol: nodes that wait for their boot; `before` is called before each command."""

    def __init__(self, names: Collection[str], before: Callable[[int], None]) -> None:
        self.states = {name: NodeState(name, "MIXED", BOOTING) for name in names}
        self.refused: set[str] = set()
        self.log: list[tuple[str, ...]] = []
        self._before = before
        self._turns = count()

    def run(self, _program: str, *arguments: str) -> str:
        self._before(next(self._turns))
        self.log.append(arguments)
        nodes = arguments[1].removeprefix("NodeName=")
        if nodes in self.refused or ("," in nodes and self.refused):
            raise SlurmRefusedError("refused")
        return ""


def make(commands: FakeCommands) -> Slurm:
    slurm = Slurm.__new__(Slurm)
    slurm._commands = commands  # type: ignore[assignment]
    slurm._log = structlog.get_logger()
    return slurm


def give_back_booting(
    commands: FakeCommands, reasons: Mapping[str, str]
) -> Callable[[Collection[str]], Mapping[str, SlurmUpdate]]:
    """Gives back the nodes that Slurm waits for, each with its reason."""

    def decide(names: Collection[str]) -> Mapping[str, SlurmUpdate]:
        commands.log.append(("read", *sorted(names)))
        return {
            name: SlurmUpdate(
                UpdateKind.GIVE_BACK if commands.states[name].booting else UpdateKind.NOTHING,
                name,
                "",
                reasons[name],
            )
            for name in names
        }

    return decide


def register(commands: FakeCommands, name: str) -> None:
    commands.states[name] = NodeState(name, "MIXED")


def updates(commands: FakeCommands) -> list[str]:
    return [words[1] for words in commands.log if words[0] == "update"]


@pytest.mark.parametrize("turn", range(3))
def test_node_that_registers_between_two_updates_is_not_updated(turn: int) -> None:
    """For each place in a batch of updates with different reasons."""
    names = ["node1", "node2", "node3", "node4"]
    commands = FakeCommands(names, lambda now: register(commands, "node4") if now == turn else None)
    decide = give_back_booting(commands, {name: name for name in names})
    applied = apply.apply_updates(make(commands), names, decide)
    assert updates(commands) == ["NodeName=node1", "NodeName=node2", "NodeName=node3"]
    assert applied.updates["node4"].kind is UpdateKind.NOTHING
    assert applied.updates["node1"].kind is UpdateKind.GIVE_BACK


def test_equal_updates_are_read_once_and_sent_once() -> None:
    names = [f"node{i}" for i in range(1, 5)]
    commands = FakeCommands(names, lambda _: None)
    decide = give_back_booting(commands, dict.fromkeys(names, "same"))
    apply.apply_updates(make(commands), names, decide)
    assert [words[0] for words in commands.log] == ["read", "read", "update"]
    assert updates(commands) == ["NodeName=node1,node2,node3,node4"]


def test_nodes_that_are_updated_alone_after_a_refusal_are_read_alone() -> None:
    """Slurm refused node1: the others must not rely on the reading before that refusal."""
    names = ["node1", "node2", "node3"]
    commands = FakeCommands(names, lambda now: register(commands, "node3") if now == 1 else None)
    commands.refused = {"node1"}
    decide = give_back_booting(commands, dict.fromkeys(names, "same"))
    applied = apply.apply_updates(make(commands), names, decide)
    assert updates(commands) == ["NodeName=node1,node2,node3", "NodeName=node1", "NodeName=node2"]
    assert applied.refused == {"node1"}
    assert applied.updates["node3"].kind is UpdateKind.NOTHING


def test_second_command_of_an_update_is_checked_too() -> None:
    """A late slurmd ends DOWN by itself; then POWER_DOWN would be wrong."""
    commands = FakeCommands(["node1"], lambda _: None)

    def decide(names: Collection[str]) -> Mapping[str, SlurmUpdate]:
        kind = UpdateKind.TAKE_OUT if not updates(commands) else UpdateKind.NOTHING
        return {name: SlurmUpdate(kind, name, "", "why") for name in names}

    applied = apply.apply_updates(make(commands), ["node1"], decide)
    assert commands.log == [("update", "NodeName=node1", "State=DOWN", "Reason=why")]
    assert applied.updates["node1"].kind is UpdateKind.NOTHING


def test_new_decision_is_applied_and_a_node_that_keeps_changing_waits() -> None:
    commands = FakeCommands(["node1"], lambda _: None)
    reasons = iter(["a", "b", "b", "b"])

    def decide(names: Collection[str]) -> Mapping[str, SlurmUpdate]:
        reason = next(reasons)
        return {name: SlurmUpdate(UpdateKind.GIVE_BACK, name, "", reason) for name in names}

    applied = apply.apply_updates(make(commands), ["node1"], decide)
    assert commands.log == [
        ("update", "NodeName=node1", "State=POWER_DOWN_FORCE", "Reason=b"),
    ]
    assert applied.updates["node1"].reason == "b"
    reasons = iter("abcdefghij")
    applied = apply.apply_updates(make(commands), ["node1"], decide)
    assert applied.updates["node1"].kind is UpdateKind.WAIT
    assert len(commands.log) == 1


def test_what_was_read_before_a_stop_of_the_process_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a clock that runs on while the process or the machine is stopped."""
    commands = FakeCommands(["node1"], lambda _: None)
    ticks = iter([0.0, 3600.0, 3600.0, 3600.1])
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: next(ticks))

    def still_due(names: Collection[str]) -> Collection[str]:
        commands.log.append(("read", *names))
        booting = [name for name in names if commands.states[name].booting]
        register(commands, "node1")  # after the reading, while the process is stopped
        return booting

    assert make(commands).update_nodes(["node1"], "State=DOWN", still_due=still_due) == frozenset()
    assert commands.log == [("read", "node1"), ("read", "node1")]


def test_slow_readings_count_as_an_unavailable_slurmctld(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count(0.0, 10.0)
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: next(ticks))
    commands = FakeCommands(["node1"], lambda _: None)
    with pytest.raises(SlurmAwayError, match="takes more than"):
        make(commands).update_nodes(["node1"], "State=DOWN", still_due=list)
    assert commands.log == []


NOT_PLACES = [
    ("10.0.0.1 State=DOWN", ""),
    ("10.0.0.1,10.0.0.2", ""),
    ("evil.example.org", ""),
    ("-x", ""),
    ("\nState=DOWN", ""),
    ("a\x00b", ""),
    ("\ud800", ""),
    ("fe80::1% State=DOWN", ""),
    ("", ""),
    ("10.0.0.9", "host State=DOWN"),
    ("10.0.0.9", "a,b"),
]


@pytest.mark.parametrize("place", NOT_PLACES)
def test_what_is_not_an_ip_address_never_becomes_an_argument_of_scontrol(
    place: tuple[str, str],
) -> None:
    commands = FakeCommands(["node1", "node2"], lambda _: None)
    slurm = make(commands)
    good = {"node2": ("10.0.0.2", "")}
    commands.query = lambda *_: ""  # type: ignore[attr-defined]
    refused = slurm.set_addresses({"node1": place, **good}, lambda names: names)
    assert refused == {"node1"}
    assert updates(commands) == ["NodeName=node2"]
    assert "NodeAddr=10.0.0.2" in commands.log[0]


UNANSWERED = [
    "Socket timed out on send/recv operation",
    "Unable to contact slurm controller (connect failure)",
    "Zero Bytes were transmitted or received",
    "Slurm backup controller in standby mode",
]


def programs_that(says: str, folder: Path) -> SlurmCommands:
    """A busy slurmctld: each command but `ping` fails with these words."""
    for name in ("scontrol", "squeue"):
        program = folder / name
        program.write_text(
            '#!/bin/sh\n[ "$1" = ping ] && echo "Slurmctld(primary) at x is UP" && exit\n'
            f"echo '{name}: error: {says}' >&2\nexit 1\n"
        )
        program.chmod(0o755)
    commands = SlurmCommands.__new__(SlurmCommands)
    commands._paths = {name: str(folder / name) for name in ("scontrol", "squeue")}
    commands._timeout, commands._environment = 10.0, {"PATH": os.defpath}
    return commands


@pytest.mark.parametrize("says", UNANSWERED)
def test_what_a_busy_slurmctld_does_not_answer_is_neither_refused_nor_an_unknown_job(
    tmp_path: Path, says: str
) -> None:
    """Jobs of a failed boot would be neither started nor reported; each node would be updated alone."""
    slurm = make(FakeCommands((), lambda _: None))
    slurm._commands = programs_that(says, tmp_path)
    with pytest.raises(SlurmAwayError, match=says[:20]):
        slurm.jobs([4711])
    with pytest.raises(SlurmAwayError, match=says[:20]):
        slurm.jobs_left_by(["node1"])
    with pytest.raises(SlurmAwayError, match=says[:20]):
        slurm.update_nodes(["node1", "node2"], "State=IDLE", still_due=lambda names: names)


def test_what_slurmctld_refuses_is_refused(tmp_path: Path) -> None:
    slurm = make(FakeCommands((), lambda _: None))
    slurm._commands = programs_that("Invalid job id specified", tmp_path)
    assert slurm.jobs([4711]) == {}
    assert slurm.update_nodes(["node1"], "State=IDLE", still_due=lambda names: names) == {"node1"}


@pytest.mark.parametrize("argument", ["a\x00b", "\ud800", "NodeAddr=10.0.0.1\ud800"])
def test_an_argument_that_no_program_can_take_is_refused(tmp_path: Path, argument: str) -> None:
    """It must not end the worker, which would meet it again after a restart."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\necho "Slurmctld(primary) at x is UP"\n')
    scontrol.chmod(0o755)
    commands = SlurmCommands.__new__(SlurmCommands)
    commands._paths = {"scontrol": str(scontrol)}
    commands._timeout, commands._environment = 10.0, {}
    with pytest.raises(SlurmRefusedError, match="an argument is not text"):
        commands.run("scontrol", "update", argument)
