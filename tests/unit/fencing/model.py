"""Every step that two workers, the broker, the store and Nova can take next.

One node, one server, two requests: the first has generation 1, the second 2. They are delivered in
any order, to either worker, and again after a fault. At most one fault happens, at any step: a worker
is killed, or loses its connection to the broker, or gets no answer to a call. A lease may end at any
moment, as if its holder were frozen, except while a call of its is under way: that is what the guard
of a call makes sure of (`lease_left > api_timeout`). A call takes effect before it is answered, or not
at all; one whose answer nobody hears may do so later, but within the API's timeout.

Of steps that nothing can come between but a fault, those of a worker that no fault can hit any more
are one: it has told and acknowledged what has ended, and has heard what was answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from schemas.commands import Desired
from schemas.events import Transition
from tests.unit.fencing import reality
from tests.unit.fencing import store as stores
from tests.unit.fencing.state import Call, State, Worker, acted, finished, put
from tests.unit.fencing.store import DEAD
from workers.clouds.actions import START
from workers.power.decide import Act, Fail, Settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.fencing.reality import Wants


@dataclass(frozen=True)
class Rules:
    """What protects a node. Each can be left out, to see what it is there for.

    Attributes:
        reconcile: raise the desired state and pursue that; else drop what is stale, do the rest.
        guard: read the row immediately before a call.
        lease: one worker acts on the node at a time.
        wary: let nothing end before a call whose answer nobody heard has had its time.
        death_shows: whether the store tells a killed worker's lease from a living one's.
        freeze: whether a process may be frozen between the guard and the call, as a fault.
    """

    reconcile: bool = True
    guard: bool = True
    lease: bool = True
    wary: bool = True
    death_shows: bool = True
    freeze: bool = False


class Step(NamedTuple):
    """What happened, what it led to, and whose late call it was if it undid a newer request."""

    name: str
    state: State
    late: str | None = None


class Model:
    """The steps from a state, under rules.

    Args:
        wants: what the first request wants, and what the second.
        rules: what protects the node.
    """

    def __init__(self, wants: Wants, rules: Rules) -> None:
        self.wants = wants
        self.rules = rules

    def steps(self, state: State) -> Iterator[Step]:
        """All that can happen next."""
        if state.server.task is not None:
            yield Step("Nova finishes", state._replace(server=finished(state.server)))
        for number in (0, 1):
            yield from self._message_steps(state, number)
            yield from self._worker_steps(state, number)
        for call in state.calls:
            yield from self._landings(state, call)
        yield from self._time(state)
        if state.faults:
            yield from self._faults(state)

    # -- messages

    def _message_steps(self, state: State, number: int) -> Iterator[Step]:
        place = state.messages[number].place
        if place == "queued":
            for taker in (0, 1):
                yield from self._deliver(state, number, taker)
        elif place == "ended":
            yield Step(f"request {number + 1} is told", _tell(state, number))
        elif place == "told":
            yield Step(f"request {number + 1} is acked", state.with_message(number, "acked"))

    def _deliver(self, state: State, number: int, worker: int) -> Iterator[Step]:
        name = f"request {number + 1} comes to worker {worker}"
        if state.store.outcomes[number] is not None:
            yield Step(name, _end(state, number, worker))
        elif self.rules.reconcile:
            store = stores.accept(
                state.store, number + 1, worker, death_shows=self.rules.death_shows
            )
            state = state._replace(store=store._replace(wary=store.wary and self.rules.wary))
            if self._holds(state, worker):
                yield Step(name, _take(state, number, worker))
            else:
                yield Step(f"{name}, who parks it", state)
        elif number + 1 < state.store.generation:
            ended = ((number + 1, str(Transition.SUPERSEDED)),)
            state = state._replace(store=stores.fix(state.store, ended))
            yield Step(f"{name}, who drops it", _end(state, number, worker))
        elif state.workers[worker].generation == 0:
            state = state._replace(store=state.store._replace(generation=number + 1))
            yield Step(name, _take(state, number, worker))

    # -- workers

    def _worker_steps(self, state: State, number: int) -> Iterator[Step]:
        worker = state.workers[number]
        if worker.generation == 0:
            return
        if worker.phase == "guarded":
            yield Step(f"worker {number} calls", _send(state, number))
        elif worker.phase == "answered":
            yield Step(f"worker {number} hears", _hear(state, number))
        elif worker.phase == "idle":
            looked = worker._replace(view=state.server, settles=not state.store.wary)
            yield Step(f"worker {number} looks", state.with_worker(number, looked))
            yield from self._decided(state, number)
        if self.rules.reconcile:
            kept = self._moved(state._replace(store=stores.renew(state.store, number)), number)
            yield Step(f"worker {number} keeps house", kept)

    def _decided(self, state: State, number: int) -> Iterator[Step]:
        worker = state.workers[number]
        decision = reality.decision(
            self.wants,
            worker.generation,
            worker.view,
            settles=worker.settles,
            called=worker.called,
            made=state.made[worker.generation - 1],
        )
        if isinstance(decision, Act):
            name = f"worker {number} is about to {decision.action}"
            yield Step(name, self._guard(state, number, decision.action))
        elif isinstance(decision, Settled):
            yield Step(
                f"worker {number} settles", self._settle(state, number, Transition.COMPLETED)
            )
        elif isinstance(decision, Fail):
            yield Step(f"worker {number} fails", self._settle(state, number, Transition.FAILED))

    def _guard(self, state: State, number: int, action: str) -> State:
        worker = state.workers[number]
        wanted = (
            self._holds(state, number)
            and (state.store.live or not self.rules.lease)
            and state.store.generation == worker.generation
        )
        if wanted or not (self.rules.guard and self.rules.reconcile):
            call = action, worker.generation
            return state.with_worker(number, worker._replace(phase="guarded", call=call))
        refused = worker._replace(called=True, settles=False)
        return self._moved(state.with_worker(number, refused), number)

    def _settle(self, state: State, number: int, transition: Transition) -> State:
        generation, held = state.workers[number].generation, state.holding(number)
        ended = tuple((i + 1, reality.outcome(self.wants, generation, i, transition)) for i in held)
        store: stores.Store | None = stores.fix(state.store, ended)
        if self.rules.lease and self.rules.reconcile:
            store = stores.settle(state.store, generation, number, ended)
        if store is None:
            return self._moved(state, number)
        state = _give_up(state._replace(store=store), number)
        for i in held:
            state = _end(state, i, number)
        return state

    def _moved(self, state: State, number: int) -> State:
        """Follow the row; without the lease, park: but a call's answer comes first."""
        state = _follow(state, number)
        if self._holds(state, number) or state.workers[number].phase != "idle":
            return state
        for i in state.holding(number):
            state = state.with_message(i, "queued")
        return _give_up(state, number)

    def _holds(self, state: State, number: int) -> bool:
        return state.store.owner == number or not self.rules.lease

    # -- calls, time and faults

    def _landings(self, state: State, call: Call) -> Iterator[Step]:
        calls = list(state.calls)
        calls.remove(call)
        rest = state._replace(calls=tuple(calls))
        server, late = acted(state.server, call.action), None
        if server is not None and call.generation < state.store.generation:
            late = self._whose(state, call)
        landed = rest._replace(server=server or state.server)
        effect = "works" if server else "is refused"
        if call.worker == DEAD:
            yield Step("the unheard call is lost", rest)
            yield Step(f"the unheard {call.action} {effect}", landed, late)
            return
        worker = state.workers[call.worker]
        answered = worker._replace(phase="answered", done=server is not None)
        landed = landed.with_worker(call.worker, answered)
        if _spared(state, call.worker):
            landed = _hear(landed, call.worker)
        yield Step(f"worker {call.worker}'s {call.action} {effect}", landed, late)

    def _whose(self, state: State, call: Call) -> str | None:
        """Whose call undoes what a newer request wants, and whether that was told already."""
        wanted = self.wants[state.store.generation - 1]
        if (call.action == START) is (wanted is Desired.UP):
            return None
        if call.worker == DEAD:
            whose = "unheard"
        else:
            whose = "racing" if state.store.owner == call.worker else "frozen"
        ended = state.store.outcomes[state.store.generation - 1] is not None
        return f"{whose}, after its end" if ended else whose

    def _time(self, state: State) -> Iterator[Step]:
        store = state.store
        if store.wary and not any(call.worker == DEAD for call in state.calls):
            yield Step(
                "what was sent has had its time", state._replace(store=store._replace(wary=False))
            )
        if store.owner is None or not store.live:
            return
        if any(call.worker == store.owner for call in state.calls):
            return
        ended = state._replace(store=store._replace(live=False))
        if store.owner == DEAD or state.workers[store.owner].phase != "guarded":
            yield Step("the lease ends", ended)
        elif self.rules.freeze and state.faults:
            yield Step(f"worker {store.owner} is frozen", ended._replace(faults=state.faults - 1))

    def _faults(self, state: State) -> Iterator[Step]:
        """Of worker 0: worker 1's are the same by another name."""
        worker = state.workers[0]
        state = state._replace(faults=state.faults - 1)
        calls = tuple(c._replace(worker=DEAD) if c.worker == 0 else c for c in state.calls)
        if worker.phase == "calling":
            store = state.store._replace(wary=self.rules.wary)
            unheard = worker._replace(phase="idle", call=None, called=True, settles=False)
            state_of = state._replace(calls=calls, store=store)
            yield Step("worker 0 gets no answer", state_of.with_worker(0, unheard))
        for i, message in enumerate(state.messages):
            if message.worker == 0:
                state = state.with_message(i, "queued")
        killed = state._replace(calls=calls, store=stores.died(state.store, 0))
        yield Step("worker 0 is killed", killed.with_worker(0, Worker()))
        if worker.generation and worker.phase == "idle":
            state = _give_up(state, 0)
        yield Step("worker 0 loses the broker", state)


def _send(state: State, number: int) -> State:
    worker = state.workers[number]
    assert worker.call is not None
    calls = (*state.calls, Call(number, *worker.call))
    return state._replace(calls=calls).with_worker(number, worker._replace(phase="calling"))


def _hear(state: State, number: int) -> State:
    worker = state.workers[number]
    assert worker.call is not None
    _, generation = worker.call
    made = state.made[generation - 1]
    if worker.done:
        made = min(made + 1, reality.BOOTS)
    heard = worker._replace(phase="idle", call=None, done=False, called=True, settles=False)
    state = state._replace(made=put(state.made, generation - 1, made))
    return state.with_worker(number, heard)


def _take(state: State, number: int, worker: int) -> State:
    """What was seen before the request came settles nothing: whoever had it may have acted."""
    state = _follow(state.with_message(number, "held", worker), worker)
    return state.with_worker(worker, state.workers[worker]._replace(settles=False))


def _follow(state: State, number: int) -> State:
    """The work's row is this now; a new work begins without a sight that settles."""
    worker = state.workers[number]
    if worker.generation == 0:
        worker = Worker(view=worker.view)
    return state.with_worker(number, worker._replace(generation=state.store.generation))


def _spared(state: State, worker: int) -> bool:
    """Whether no fault can hit this worker any more."""
    return worker == 1 or not state.faults


def _end(state: State, number: int, worker: int) -> State:
    state = state.with_message(number, "ended", worker)
    if _spared(state, worker):
        state = _tell(state, number).with_message(number, "acked")
    return state


def _tell(state: State, number: int) -> State:
    outcome = state.store.outcomes[number]
    assert outcome is not None
    told = put(state.told, number, state.told[number] | {outcome})
    return state._replace(told=told).with_message(number, "told", state.messages[number].worker)


def _give_up(state: State, number: int) -> State:
    state = state._replace(store=stores.release(state.store, number))
    return state.with_worker(number, Worker(view=state.workers[number].view))
