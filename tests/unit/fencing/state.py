"""What the model's world consists of, and what Nova makes of an action."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tests.unit.fencing.store import DEAD, Ask, Store, empty
from workers.clouds.actions import REBOOT, START, STOP

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


class Shown(NamedTuple):
    """What Nova shows of the one server."""

    status: str
    task: str | None = None


class Call(NamedTuple):
    """A call under way, and the request's position for which it is made.

    `worker` is DEAD for one whose answer no worker will receive.
    """

    worker: int
    action: str
    number: int


class Worker(NamedTuple):
    """One process. Generation 0: the node is not pending with it.

    Attributes:
        generation: of the node's row, as last read.
        boot_due: whether that row says that a boot is due.
        view: what the last listing showed.
        fresh: whether that was requested late enough to end a round.
        waits: whether no listing is fresh before a call without an answer has had its time.
        called: whether a call was answered.
        phase: looking, judging, decided (to rest), guarded (about to call), calling or answered.
        call: the action under way, and its request's position.
        done: whether the answer was good.
    """

    generation: int = 0
    boot_due: bool = False
    view: Shown | None = None
    fresh: bool = False
    waits: bool = False
    called: bool = False
    phase: str = "looking"
    call: tuple[str, int] | None = None
    done: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way."""
        return self.phase in {"looking", "judging", "decided"}


class Message(NamedTuple):
    """Where a request is.

    unasked, queued, held (by a worker), ended (to be published), told (to be acked), acked.
    """

    place: str
    worker: int | None = None


class State(NamedTuple):
    """All there is.

    Attributes:
        booted: whether the guest has booted since Slurm asked for it last.
        made: accepted calls, by request, as recorded in the store.
        told: the outcomes published, by request.
        faults, holds: how many may still come.
        slurm: what Slurm's newest snapshot shows: none (snapshots do not count), old (it is older than
            the requests), off or on.
        late: whether Slurm may have taken its suspends back.
    """

    server: Shown
    booted: bool
    calls: tuple[Call, ...]
    store: Store
    made: tuple[int, ...]
    told: tuple[frozenset[str], ...]
    messages: tuple[Message, ...]
    workers: tuple[Worker, ...]
    faults: int
    holds: int
    slurm: str = "none"
    late: bool = False

    def at_rest(self) -> bool:
        """Whether nothing is under way any more; a replay may never be asked for."""
        done = all(message.place == "acked" or message == REPLAY for message in self.messages)
        return done and not self.calls and self.server.task is None

    def holding(self, worker: int) -> tuple[int, ...]:
        """The requests that wait for their outcome with this worker."""
        held = ("held", worker)
        return tuple(i for i, message in enumerate(self.messages) if message == held)

    def with_worker(self, number: int, worker: Worker) -> State:
        """The same with one worker changed."""
        return self._replace(workers=put(self.workers, number, worker))

    def with_message(self, number: int, place: str, worker: int | None = None) -> State:
        """The same with one request elsewhere."""
        return self._replace(messages=put(self.messages, number, Message(place, worker)))

    def twin(self) -> State:
        """The same with the workers' parts exchanged.

        Only worker 0 meets faults (`model`): once none is left, all that can happen to the one state
        can happen to the other.
        """
        if self.faults:
            return self
        return self._replace(
            calls=tuple(call._replace(worker=_OTHER[call.worker]) for call in self.calls),
            store=self.store._replace(owner=_OTHER[self.store.owner]),
            messages=tuple(Message(place, _OTHER[worker]) for place, worker in self.messages),
            workers=self.workers[::-1],
        )


_OTHER: Mapping[Any, Any] = {0: 1, 1: 0, DEAD: DEAD, None: None}
REPLAY = Message("may be replayed")


def initial(  # noqa: PLR0913 - what may happen
    asks: tuple[Ask, ...],
    status: str,
    *,
    faults: int = 1,
    holds: int = 0,
    in_turn: bool = False,
    slurm: str = "none",
) -> State:
    """All requests wait, or are asked for in turn; nothing is known."""
    first = [Message("unasked" if in_turn and i else "queued") for i in range(len(asks))]
    return State(
        server=Shown(status),
        booted=False,
        calls=(),
        store=empty(len(asks)),
        made=(0,) * len(asks),
        told=(frozenset(),) * len(asks),
        messages=tuple(
            REPLAY if ask.round > 1 else place for ask, place in zip(asks, first, strict=True)
        ),
        workers=(Worker(), Worker()),
        faults=faults,
        holds=holds,
        slurm=slurm,
    )


def put(values: tuple[T, ...], position: int, value: T) -> tuple[T, ...]:
    """The values with one changed."""
    return (*values[:position], value, *values[position + 1 :])


def acted(server: Shown, action: str) -> Shown | None:
    """As Nova does; None for its 409. A hard reboot also starts a server that is off."""
    if server.task is not None:
        return None
    if action == START and server.status == "SHUTOFF":
        return Shown("SHUTOFF", "powering-on")
    if action == STOP and server.status == "ACTIVE":
        return Shown("ACTIVE", "powering-off")
    if action == REBOOT and server.status in {"ACTIVE", "SHUTOFF"}:
        return Shown("HARD_REBOOT", "rebooting_hard")
    return None


def finished(server: Shown) -> Shown:
    """A task has come to its end."""
    return Shown("SHUTOFF" if server.task == "powering-off" else "ACTIVE")
