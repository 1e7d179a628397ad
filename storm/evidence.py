"""What a storm has left to see, in public outputs only: the input of the checker."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class HookCall:
    """A call of a hook by slurmctld; times are seconds since the epoch.

    Attributes:
        kind: resume, suspend or resume-fail.
        nodes: the names in its hostlist.
        status: the exit status; None if it did not end under the eyes of its caller.
    """

    kind: str
    nodes: tuple[str, ...]
    began: float
    status: int | None


@dataclass(frozen=True)
class Step:
    """A record of the audit about a request."""

    request_id: str
    round: int
    transition: str
    kind: str
    node: str
    time: float
    origin: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class PoweredOn:
    """When a server was powered on; `off` is None while it lasts."""

    node: str
    server_id: str
    on: float
    off: float | None


@dataclass(frozen=True)
class Beats:
    """One run of a task of a job on a node.

    Attributes:
        end: `end`, `term` (Slurm ended it), or None: it fell silent.
    """

    job: str
    node: str
    began: float
    last: float
    end: str | None


@dataclass(frozen=True)
class ServerSeen:
    """A server in the cloud at the end."""

    node: str
    server_id: str
    status: str
    powered: bool


@dataclass(frozen=True)
class QueueSeen:
    """A queue at the end."""

    name: str
    messages: int
    consumers: int


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter, with its class of error; `died_at` is None if it does not say when."""

    node: str
    error: str
    message: str
    died_at: float | None = None


@dataclass(frozen=True)
class Injected:
    """A fault that the storm itself has carried out, by the names of its plan."""

    kind: str
    target: str
    began: float
    ended: float


@dataclass(frozen=True)
class Evidence:
    """All that is seen; `outside` are the storm's own power cuts: node and time.

    Attributes:
        injected: the storm's own record of its faults.
        set_down: node and time at which Slurm was told by us that a node is down.
        reboots: node and time of calls that reboot a server.
        states: Slurm's states of each node at the end.
        named: nodes that `lamplighter drift` names at the end.
        verify: exit code and words of `lamplighter audit verify`.
        memory: MiB over time, by process.
        unsettled: what did not come to rest in the calm phase.
    """

    calls: tuple[HookCall, ...] = ()
    steps: tuple[Step, ...] = ()
    ledger: tuple[PoweredOn, ...] = ()
    beats: tuple[Beats, ...] = ()
    servers: tuple[ServerSeen, ...] = ()
    queues: tuple[QueueSeen, ...] = ()
    letters: tuple[DeadLetter, ...] = ()
    injected: tuple[Injected, ...] = ()
    outside: tuple[tuple[str, float], ...] = ()
    set_down: tuple[tuple[str, float], ...] = ()
    reboots: tuple[tuple[str, float], ...] = ()
    states: dict[str, frozenset[str]] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    verify: tuple[int, str] = (0, "")
    tracebacks: tuple[str, ...] = ()
    memory: dict[str, tuple[float, ...]] = field(default_factory=dict)
    unsettled: tuple[str, ...] = ()
