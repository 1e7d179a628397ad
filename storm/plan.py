"""What happens in a storm, and when: drawn from the seed alone. Pure."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

STRATEGIES = ("stop", "shelve", "delete")
WORKERS = ("power", "power2", "slurm", "resync", "snapshot", "relay", "audit", "tokens")
# Seconds between two faults, on average; and between two jobs for the same node, if all ask for one.
_FAULT_GAP, _JOB_GAP = 1.8, 51.0
# The part of the jobs that ask for nodes by name: more boots.
_NAMED = 0.6
# The last seconds bring no new fault, so that each one ends within the storm.
_QUIET_END = 10.0


@dataclass(frozen=True)
class PlannedFault:
    """A fault; times are seconds, `at` since the beginning of the storm.

    Attributes:
        kind: a name in `storm.faults.carrier.FAULTS`.
        target: what it hits: a worker, a disk, a node, a kind of call.
        lasts: how long; 0 if it has no duration.
    """

    at: float
    kind: str
    target: str
    lasts: float = 0.0


@dataclass(frozen=True)
class PlannedJob:
    """A job; `seconds` is its run time; after `whim` it is cancelled or requeued.

    Attributes:
        first: it asks for nodes by name, from this one on, as a part (0 to 1) of its partition; None:
            Slurm chooses, which prefers nodes that are on.
    """

    at: float
    kind: str
    partition: str
    nodes: int
    seconds: int
    whim: float | None = None
    first: float | None = None


@dataclass(frozen=True)
class Storm:
    """All faults and jobs, in order."""

    faults: tuple[PlannedFault, ...]
    jobs: tuple[PlannedJob, ...]


_Kind: TypeAlias = tuple[str, int, tuple[str, ...], tuple[float, float]]
_STEPS = ("+45", "-45", "+20", "-20")
# Kind, weight, targets, shortest and longest duration. `{node}` stands for a node.
_FAULTS: tuple[_Kind, ...] = (
    ("kill", 22, (*WORKERS, "power", "power2", "up"), (0, 0)),
    ("terminate", 8, (*WORKERS, "up"), (0, 0)),
    ("freeze", 10, (*WORKERS, "power", "power2"), (9, 14)),
    ("kill_hook", 6, ("next",), (0, 0)),
    ("broker", 4, ("restart", "kill", "connections"), (0, 4)),
    ("cut_broker", 5, ("reset", "silence", "drop"), (2, 12)),
    ("cut_cloud", 5, ("reset", "silence", "drop"), (2, 12)),
    ("disk", 5, ("spool", "state", "audit"), (3, 8)),
    (
        "clock",
        5,
        tuple(f"{whose} {by}" for whose in ("hooks", "workers") for by in _STEPS),
        (5, 15),
    ),
    (
        "answers",
        14,
        (
            *("500", "502", "503", "504", "429", "408", "409", "404", "401", "403", "policy"),
            *("400", "413", "proxy"),
        ),
        (3, 8),
    ),
    (
        "answers",
        6,
        (
            *("reset", "reset-done", "hang", "hang-done", "nonsense", "no JSON", "503-done"),
            "504-done",
        ),
        (3, 8),
    ),
    ("login_answers", 3, ("500", "503", "429", "401", "reset", "hang", "nonsense"), (3, 8)),
    ("work", 8, ("error", "never", "back", "no_host"), (4, 10)),
    ("outage", 4, ("compute", "identity", "oidc", "all"), (4, 14)),
    ("blind", 2, ("changes",), (5, 12)),
    ("server", 6, ("dies", "runs"), (0, 0)),
    ("tokens", 4, ("revoke", "expire", "logout"), (4, 10)),
    ("slurmctld", 6, ("kill", "reconfigure", "restart"), (0, 2)),
    ("operator", 12, ("replay", "discard", "snapshot", "drift", "topology"), (0, 0)),
    ("operator", 4, ("clock", "seal", "relay", "read", "read", "read"), (0, 0)),
    ("operator", 4, ("adopt", "suspend", "resume", "interrupted"), (0, 0)),
    ("operator", 8, ("hold", "retire", "power_up", "power_down"), (3, 10)),
    ("upgrade", 2, ("all",), (0, 0)),
)
_CLUSTER: tuple[_Kind, ...] = (
    ("partition", 4, ("first", "leader"), (5, 12)),
    ("broker", 4, ("freeze",), (4, 10)),
    ("cut_one_broker", 3, ("reset", "silence", "drop"), (2, 12)),
)
_POSTGRESQL: tuple[_Kind, ...] = (
    ("database", 5, ("kill", "restart", "freeze"), (0, 8)),
    ("disk", 2, ("database",), (3, 8)),
    ("clock", 3, tuple(f"database {by}" for by in _STEPS), (5, 15)),
)
_JOBS = (
    *(("batch", 6), ("nodes", 3), ("array", 2), ("het", 2), ("srun", 2), ("salloc", 2)),
    *(("cancelled", 2), ("requeued", 2), ("unrequeueable", 1)),
)


def store_of(seed: int) -> str:
    """Where state and audit lie, unless it is chosen: PostgreSQL for every second seed."""
    return "sqlite" if seed % 2 else "postgresql"


def storm(seed: int, seconds: float, brokers: int, store: str, nodes: int) -> Storm:
    """The storm of a seed. The faults do not depend on the jobs."""
    kinds = [
        *_FAULTS,
        *(_CLUSTER if brokers > 1 else ()),
        *(_POSTGRESQL if store == "postgresql" else ()),
    ]
    return Storm(
        tuple(_faults(random.Random(f"faults {seed}"), seconds, kinds)),  # noqa: S311 - no secret
        tuple(_jobs(random.Random(f"jobs {seed}"), seconds, _JOB_GAP / nodes)),  # noqa: S311
    )


def _faults(
    chance: random.Random, seconds: float, kinds: Sequence[_Kind]
) -> Iterator[PlannedFault]:
    at = 2.0
    while (at := at + chance.expovariate(1 / _FAULT_GAP)) < seconds - _QUIET_END:
        kind, _, targets, (shortest, longest) = chance.choices(kinds, [k[1] for k in kinds])[0]
        lasts = min(chance.uniform(shortest, longest), seconds - at)
        yield PlannedFault(round(at, 2), kind, chance.choice(targets), round(lasts, 2))


def _jobs(chance: random.Random, seconds: float, gap: float) -> Iterator[PlannedJob]:
    at = 0.0
    while (at := at + chance.expovariate(1 / gap)) < seconds:
        kind = chance.choices([name for name, _ in _JOBS], [weight for _, weight in _JOBS])[0]
        yield PlannedJob(
            at=round(at, 2),
            kind=kind,
            partition=chance.choice(STRATEGIES),
            nodes=1 if kind in {"batch", "array"} else chance.choice((1, 1, 2, 2, 3)),
            seconds=chance.choice((2, 4, 8, 15)),
            whim=round(chance.uniform(1, 15), 1) if kind in {"cancelled", "requeued"} else None,
            first=chance.random()
            if kind not in {"array", "het"} and chance.random() < _NAMED
            else None,
        )
