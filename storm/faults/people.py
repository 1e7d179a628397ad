"""What people do: with slurmctld, and with Lamplighter's and Slurm's commands."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from storm.faults.hit import Hit, NothingHitError

_REASON = ("--reason", "storm")
_BRIEF = (*_REASON, "--timeout", "20s")
# Commands on the whole installation.
COMMANDS: dict[str, tuple[str, ...]] = {
    "replay": ("dead-letters", "replay", "--all", "--yes", *_REASON),
    "discard": ("dead-letters", "discard", "--all", "--yes", *_REASON),
    "snapshot": ("snapshot",),
    "drift": ("drift", "--fix"),
    "topology": ("topology", "apply"),
    "clock": ("clock", "reset", "--yes", *_REASON),
    "seal": ("audit", "seal"),
    "relay": ("relay", "--once"),
}
# Commands that change nothing; a storm draws one of them.
READS: tuple[tuple[str, ...], ...] = (
    *(("status", "--json"), ("status",), ("drift",), ("doctor",), ("config",)),
    *(("nodes", "list"), ("nodes", "show", "{node}"), ("image", "list"), ("topology", "check")),
    *(("audit", "list"), ("audit", "failures"), ("audit", "slowest"), ("audit", "verify")),
    *(("audit", "why", "{job}"), ("dead-letters", "list"), ("dead-letters", "export", "-")),
    *(("tokens", "status"), ("tokens", "test", "simulated"), ("clock", "show"), ("report",)),
)
# Commands that are killed while they work.
_INTERRUPTED = (
    COMMANDS["replay"],
    COMMANDS["discard"],
    COMMANDS["drift"],
    ("hold", "{node}", *_REASON),
    ("nodes", "deploy", "{node}", *_BRIEF),
    ("resume", "{node}", *_BRIEF),
)
_MOST_JOBS = 60


@contextmanager
def slurmctld(hit: Hit) -> Iterator[None]:
    """Kill -9 and start, reconfigure, or restart slurmctld."""
    slurm = hit.site.slurm
    if hit.target == "reconfigure":
        slurm.scontrol("reconfigure")
        yield
        return
    try:
        if not slurm.ctld_runs:
            raise NothingHitError("slurmctld does not run")
        if hit.target == "kill":
            slurm.kill9_ctld()
        else:
            slurm.stop_ctld()
        yield
    finally:
        slurm.start_ctld()


@contextmanager
def operator(hit: Hit) -> Iterator[None]:
    """Give a command; the hold of a node ends later."""
    node = hit.chance.choice(hit.site.slurm.settings.node_names)
    try:
        if hit.target in COMMANDS:
            hit.site.operator(*COMMANDS[hit.target])
        else:
            _ON_A_NODE[hit.target](hit, node)
        yield
    finally:
        if hit.target in {"hold", "interrupted"}:
            hit.site.release(node)


def _filled(hit: Hit, words: tuple[str, ...], node: str) -> list[str]:
    job = str(hit.chance.randrange(1, _MOST_JOBS))
    return [word.format(node=node, job=job) for word in words]


def _read(hit: Hit, node: str) -> None:
    hit.site.operator(*_filled(hit, hit.chance.choice(READS), node))


def _interrupted(hit: Hit, node: str) -> None:
    words = _filled(hit, hit.chance.choice(_INTERRUPTED), node)
    hit.site.operator(*words, lives=hit.chance.uniform(0.3, 2.0))


def _hold(hit: Hit, node: str) -> None:
    hit.site.operator("hold", node, *_REASON)


def _retire(hit: Hit, node: str) -> None:
    hit.site.operator("nodes", "retire", node, "--yes", *_BRIEF)
    if hit.site.plan.strategies.get(node) != "delete":
        hit.site.operator("nodes", "deploy", node, *_BRIEF)


def _adopt(hit: Hit, node: str) -> None:
    hit.site.operator("nodes", "adopt", node, *_BRIEF)


def _power_off_again(hit: Hit, _node: str) -> None:
    """`lamplighter suspend` of a node that is off: a job that comes meanwhile must not end by it."""
    states = hit.site.slurm.node_states().items()
    off = sorted(name for name, state in states if {"POWERED_DOWN", "IDLE"} <= state)
    if not off:
        raise NothingHitError("no node is off")
    hit.site.operator("suspend", hit.chance.choice(off), "--yes", *_BRIEF)


def _power_on(hit: Hit, node: str) -> None:
    hit.site.operator("resume", node, *_BRIEF)


def _scontrol_up(hit: Hit, node: str) -> None:
    hit.site.slurm.scontrol("update", f"NodeName={node}", "State=POWER_UP")


def _scontrol_down(hit: Hit, node: str) -> None:
    hit.cuts_power_of(node)
    words = ("State=POWER_DOWN_FORCE", "Reason=storm")
    hit.site.slurm.scontrol("update", f"NodeName={node}", *words)


_ON_A_NODE: dict[str, Callable[[Hit, str], None]] = {
    "read": _read,
    "interrupted": _interrupted,
    "hold": _hold,
    "retire": _retire,
    "adopt": _adopt,
    "suspend": _power_off_again,
    "resume": _power_on,
    "power_up": _scontrol_up,
    "power_down": _scontrol_down,
}
