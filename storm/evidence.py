"""What a storm has left to see, in public outputs only: the input of the checker."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class HookCall:
    """A call of a hook by slurmctld; times are seconds since the epoch.

    Attributes:
        kind: resume, suspend or resume-fail.
        nodes: the names in its hostlist.
        status: the exit status; None if it did not end under the eyes of its caller.
        ended: when it ended; None if its caller did not see it.
    """

    kind: str
    nodes: tuple[str, ...]
    began: float
    status: int | None
    ended: float | None = None


@dataclass(frozen=True)
class BatchJob:
    """A batch job that slurmctld has taken.

    Attributes:
        tasks: of which each shows its end; an array's have their number after `_`.
        nodes: how many nodes must show it.
        submitted: when slurmctld had taken it.
        parts: of a heterogeneous job; two of them may run on one node.
    """

    tasks: tuple[str, ...]
    nodes: int
    submitted: float
    parts: int = 1


@dataclass(frozen=True)
class Step:
    """A record of the audit about a request; `time` is of the workers' clock.

    Attributes:
        origin: `hook`, `operator`, `resync` or another sender; None if the record names none.
        error: the class of the error that it names.
        asked: the time in its generation, by the sender's clock.
        server: the server that it names.
    """

    request_id: str
    round: int
    transition: str
    kind: str
    node: str
    time: float
    origin: str | None = None
    error: str | None = None
    asked: float = 0.0
    server: str | None = None


@dataclass(frozen=True)
class Command:
    """A command of Lamplighter that the storm's operator gave: its words, and when it ran."""

    words: tuple[str, ...]
    began: float
    ended: float


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
    """A dead letter, with its class of error; `died_at` is None if it does not say when.

    Attributes:
        request_id: of the request that it holds; None if it holds none that can be read.
    """

    node: str
    error: str
    message: str
    died_at: float | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class Injected:
    """A fault that the storm itself has carried out, by the names of its plan.

    Attributes:
        made: False if it failed; it may have been in force all the same.
    """

    kind: str
    target: str
    began: float
    ended: float
    made: bool = True


@dataclass(frozen=True)
class Evidence:
    """All that is seen; `outside` are the storm's own power cuts: node and time.

    Attributes:
        injected: the storm's own record of its faults.
        set_down: node and time at which Slurm was told by us that a node is down.
        reboots: node and time of calls that reboot a server.
        stuck: server id and time of calls to power it off that the storm made Nova never end, or end
            in ERROR.
        suspending: node and time at which slurmctld said that it calls SuspendProgram for it.
        ctld_starts: when slurmctld said that it has started.
        batch: batch jobs that must end.
        gave_up: jobs that, by slurmctld's log, were cancelled or ended with an error; and its words.
        gave_up_at: when its log said so.
        requeued: job and time at which somebody asked slurmctld to requeue it.
        commands: what the storm's operator did.
        states: Slurm's states of each node at the end.
        named: nodes that `lamplighter drift` names at the end.
        verify: exit code and words of `lamplighter audit verify`.
        memory: MiB over time, by process.
        unsettled: what did not come to rest in the calm phase.
        strategies: of each node, how it is powered off.
        refused: commands that were to show a part of this, and failed.
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
    stuck: tuple[tuple[str, float], ...] = ()
    suspending: tuple[tuple[str, float], ...] = ()
    ctld_starts: tuple[float, ...] = ()
    batch: tuple[BatchJob, ...] = ()
    gave_up: dict[str, str] = field(default_factory=dict)
    commands: tuple[Command, ...] = ()
    states: dict[str, frozenset[str]] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    verify: tuple[int, str] = (1, "it was not run")
    tracebacks: tuple[str, ...] = ()
    memory: dict[str, tuple[float, ...]] = field(default_factory=dict)
    unsettled: tuple[str, ...] = ()
    gave_up_at: dict[str, float] = field(default_factory=dict)
    requeued: tuple[tuple[str, float], ...] = ()
    strategies: dict[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
