"""What the model's world consists of, and what Nova makes of an action."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from tests.unit.fencing.store import EMPTY, Store
from workers.clouds.actions import START, STOP

T = TypeVar("T")


class Shown(NamedTuple):
    """What Nova shows of the one server."""

    status: str
    task: str | None = None


class Call(NamedTuple):
    """A call under way; of one whose answer nobody will hear, `worker` is DEAD."""

    worker: int
    action: str
    generation: int


class Worker(NamedTuple):
    """One process. Generation 0: it has no work on the node.

    Attributes:
        generation: of its work's row, as last read.
        view: what its last listing showed.
        settles: whether that was requested after all that its work must wait for.
        called: whether its work has had an answer.
        phase: idle; guarded (about to call); calling; answered.
        call: the action under way and the generation it is for.
        done: whether the answer was good.
    """

    generation: int = 0
    view: Shown | None = None
    settles: bool = False
    called: bool = False
    phase: str = "idle"
    call: tuple[str, int] | None = None
    done: bool = False


class Message(NamedTuple):
    """Where a request is: queued, held, ended (to be told), told (to be acked), acked."""

    place: str
    worker: int | None = None


class State(NamedTuple):
    """All there is.

    Attributes:
        made: calls that were taken, by generation - 1, as recorded in the store.
        told: the outcomes published for each request.
        faults: how many may still happen.
    """

    server: Shown
    calls: tuple[Call, ...]
    store: Store
    made: tuple[int, ...]
    told: tuple[frozenset[str], ...]
    messages: tuple[Message, ...]
    workers: tuple[Worker, ...]
    faults: int

    def at_rest(self) -> bool:
        """Whether nothing is under way any more."""
        acked = all(message.place == "acked" for message in self.messages)
        return acked and not self.calls and self.server.task is None

    def holding(self, worker: int) -> list[int]:
        """The requests that wait for their outcome with this worker."""
        return [i for i, message in enumerate(self.messages) if message == ("held", worker)]

    def with_worker(self, number: int, worker: Worker) -> State:
        """The same with one worker changed."""
        return self._replace(workers=put(self.workers, number, worker))

    def with_message(self, number: int, place: str, worker: int | None = None) -> State:
        """The same with one request elsewhere."""
        return self._replace(messages=put(self.messages, number, Message(place, worker)))


def initial(status: str, faults: int = 1) -> State:
    """Both requests wait, nothing is known."""
    return State(
        server=Shown(status),
        calls=(),
        store=EMPTY,
        made=(0, 0),
        told=(frozenset(), frozenset()),
        messages=(Message("queued"), Message("queued")),
        workers=(Worker(), Worker()),
        faults=faults,
    )


def put(values: tuple[T, ...], position: int, value: T) -> tuple[T, ...]:
    """The values with one changed."""
    return (*values[:position], value, *values[position + 1 :])


def acted(server: Shown, action: str) -> Shown | None:
    """As Nova does; None for its 409."""
    if server == ("SHUTOFF", None) and action == START:
        return Shown("SHUTOFF", "powering-on")
    if server == ("ACTIVE", None) and action == STOP:
        return Shown("ACTIVE", "powering-off")
    return None


def finished(server: Shown) -> Shown:
    """A task has come to its end."""
    return Shown("ACTIVE" if server.task == "powering-on" else "SHUTOFF")
