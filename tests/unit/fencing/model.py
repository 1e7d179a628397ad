"""Every step that two workers, the broker, the store, operators and Nova can take next.

One node, one server, a few requests. They are delivered in any order, to either worker, and again after
a fault or a rest. At most so many faults happen, at any step: a worker is killed, or loses its connection
to the broker, or gets no answer to a call. A lease may end at any moment, as if its holder were frozen,
except while a call of its is under way: the guard of a call makes sure of that (`lease_left >
api_timeout`). A call takes effect before it is answered, or not at all; one whose answer is lost may take
effect later, but within the API's timeout. An operator may put the node on hold and lift it at any
moment, and may replay a request after its end.

Of steps between which only a fault can come, those of a worker that no fault can hit any more are one:
it has published and acknowledged what has ended, and has received what was answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from schemas.commands import Desired
from schemas.events import Cause, Transition
from tests.unit.fencing import reality
from tests.unit.fencing import store as stores
from tests.unit.fencing.state import REPLAY, Call, State, Worker, acted, finished, put
from tests.unit.fencing.store import DEAD
from workers.clouds.actions import BOOTS, REBOOT, START, STOP
from workers.power.admit import End
from workers.power.steps import Finish, MakeCall, ParkNode, Retry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.fencing.store import Ask

ON_HOLD = "on hold"
UNCONFIRMED = "not confirmed by Slurm"
GIVEN_UP = "Slurm has asked since to power it off"


@dataclass(frozen=True)
class Rules:
    """What protects a node. Each can be left out, to show what it is there for.

    Attributes:
        reconcile: raise the desired state and pursue that; else drop what is stale, do the rest.
        guard: read the row immediately before a call.
        lease: one worker acts on the node at a time.
        unsettled: end nothing before a call without an answer has had its time.
        fresh: end nothing on a listing from before the request came.
        hold: call nothing while an operator holds the node.
        snapshots: execute a late suspend only where Slurm's newest snapshot agrees.
        power_offs: boot nothing while a later request of Slurm's to power off waits for a snapshot.
        boots: reboot a running server where Slurm waits for a boot.
        death_shows: whether the store can tell a killed worker's lease from a living one's.
        freeze: whether a process may be frozen between the guard and the call, as a fault.
    """

    reconcile: bool = True
    guard: bool = True
    lease: bool = True
    unsettled: bool = True
    fresh: bool = True
    hold: bool = True
    snapshots: bool = True
    power_offs: bool = True
    boots: bool = True
    death_shows: bool = True
    freeze: bool = False


class Step(NamedTuple):
    """What happened, what it led to, and what was wrong with it: a late call that undid a newer request."""

    name: str
    state: State
    late: str | None = None


class Model:
    """The steps from a state, under rules.

    Args:
        asks: the requests.
        rules: what protects the node.
    """

    def __init__(self, asks: tuple[Ask, ...], rules: Rules) -> None:
        self.asks = asks
        self.rules = rules

    def steps(self, state: State) -> Iterator[Step]:
        """All that can happen next."""
        if state.server.task is not None:
            yield Step("Nova finishes", state._replace(server=finished(state.server)))
        for number in range(len(self.asks)):
            yield from self._message_steps(state, number)
        for number in (0, 1):
            yield from self._worker_steps(state, number)
        for call in state.calls:
            yield from self._landings(state, call)
        yield from self._time(state)
        yield from self._operators(state)
        if state.faults:
            yield from self._faults(state)

    # -- messages

    def _message_steps(self, state: State, number: int) -> Iterator[Step]:
        place = state.messages[number].place
        name = f"request {number + 1}"
        if place == "unasked":
            if state.messages[number - 1].place != "unasked":
                waits = self.asks[number].waits_for_boot
                asked = state.with_message(number, "queued")
                yield Step(
                    f"{name} is asked for", asked._replace(booted=state.booted and not waits)
                )
        elif place == "queued":
            for taker in (0, 1):
                yield from self._deliver(state, number, taker)
        elif place == "ended":
            yield Step(f"the end of {name} is published", _publish(state, number))
        elif place == "told":
            yield Step(f"{name} is acked", state.with_message(number, "acked"))

    def _deliver(self, state: State, number: int, worker: int) -> Iterator[Step]:
        name = f"request {number + 1} comes to worker {worker}"
        if state.store.outcomes[number] is not None:
            yield Step(name, _end(state, number, worker))
        elif self.rules.reconcile:
            yield self._admit(name, state, number, worker)
        elif self.asks[number].generation < state.store.generation:
            ended = ((number, str(Transition.SUPERSEDED)),)
            state = state._replace(store=stores.fix(state.store, ended))
            yield Step(f"{name}, which drops it", _end(state, number, worker))
        elif state.workers[worker].generation == 0:
            generation = self.asks[number].generation
            state = state._replace(store=state.store._replace(generation=generation))
            yield Step(name, self._join(state, number, worker))

    def _admit(self, name: str, state: State, number: int, worker: int) -> Step:
        slurm = state.slurm if self.rules.snapshots else "none"
        match reality.admission(self.asks, number, slurm, late=state.late):
            case Cause():
                noted = stores.note_power_off(state.store, self.asks, self.asks[number])
                name = f"{name}, which parks it: no newer snapshot has come"
                return Step(name, state._replace(store=noted))
            case End(transition):
                ended = ((number, str(transition)),)
                noted = stores.note_power_off(state.store, self.asks, self.asks[number])
                state = state._replace(store=stores.fix(noted, ended))
                return Step(f"{name}, which ends it", _end(state, number, worker))
        store = stores.accept(
            state.store, self.asks, number, worker, death_shows=self.rules.death_shows
        )
        return self._taken(name, state._replace(store=self._kept(store)), number, worker)

    def _taken(self, name: str, state: State, number: int, worker: int) -> Step:
        if not self._holds(state, worker):
            return Step(f"{name}, which parks it", state)
        if not self._is_held(state):
            return Step(name, self._join(state, number, worker))
        if state.workers[worker].generation == 0:
            state = state._replace(store=stores.release(state.store, worker))
        return Step(f"{name}, which parks it: the node is on hold", state)

    def _join(self, state: State, number: int, worker: int) -> State:
        before = state.workers[worker]
        joined = reality.join(
            self.asks,
            before,
            state.holding(worker),
            number,
            state.store.generation,
            boot_due=state.store.boot_due,
            unsettled=state.store.unsettled,
        )
        if not self.rules.fresh:
            joined = joined._replace(fresh=before.view is not None)
        return state.with_message(number, "held", worker).with_worker(worker, joined)

    # -- workers

    def _worker_steps(self, state: State, number: int) -> Iterator[Step]:
        worker = state.workers[number]
        if worker.generation == 0:
            return
        if worker.phase == "guarded":
            yield Step(f"worker {number} calls", _send(state, number))
        elif worker.phase == "answered":
            yield Step(f"worker {number} receives the answer", self._receive(state, number))
        elif worker.is_idle:
            listed = worker._replace(view=state.server, fresh=not worker.waits)
            yield Step(f"worker {number} lists", state.with_worker(number, listed))
            yield from self._decided(state, number)
        if self.rules.reconcile:
            kept = self._follow(state._replace(store=stores.renew(state.store, number)), number)
            yield Step(f"worker {number} renews its lease and reads the row", kept)

    def _decided(self, state: State, number: int) -> Iterator[Step]:
        held = state.holding(number)
        step = reality.step(self.asks, state.workers[number], held, state.made)
        match step:
            case MakeCall(act):
                name = f"worker {number} is about to {act.action}"
                yield self._guard(name, state, number, act.action)
            case Finish(transition):
                name = f"worker {number} ends its requests: {transition}"
                yield Step(name, self._finish(state, number, transition))
            case Retry() | ParkNode():
                yield Step(
                    f"worker {number} lets its requests rest, after one more attempt",
                    self._rest(state, number),
                )

    def _guard(self, name: str, state: State, number: int, action: str) -> Step:
        worker = state.workers[number]
        verdict = reality.guarded(
            self.asks,
            worker.generation,
            state.store.generation,
            action,
            ours=self._holds(state, number),
            live=state.store.live or not self.rules.lease,
            held=self._is_held(state),
            slurm=state.slurm if self.rules.snapshots else "none",
            late=state.late,
            off_asked=state.store.off_asked if self.rules.power_offs else 0,
            present=any(
                self.asks[i].generation == worker.generation for i in state.holding(number)
            ),
        )
        call = action, reality.number(self.asks, worker, state.holding(number))
        worker = worker._replace(call=call)
        if verdict == "passed" or not (self.rules.guard and self.rules.reconcile):
            late = ON_HOLD if state.store.held else None
            always = any(a.is_always_late for a in self.asks if a.generation == worker.generation)
            if (state.late or always) and state.slurm in {"old", "on"} and action == STOP:
                late = UNCONFIRMED
            given_up = worker.generation < state.store.off_asked and state.slurm != "on"
            if given_up and action in BOOTS:
                late = GIVEN_UP
            return Step(name, state.with_worker(number, worker._replace(phase="guarded")), late)
        refused = reality.learn(self.asks, worker, state.holding(number), verdict)
        return Step(name, self._follow(state.with_worker(number, refused), number))

    def _finish(self, state: State, number: int, transition: Transition) -> State:
        generation, held = state.workers[number].generation, state.holding(number)
        ended = reality.outcome(self.asks, generation, held, transition)
        done = transition is Transition.COMPLETED
        store: stores.Store | None = stores.fix(state.store, ended)
        if self.rules.lease and self.rules.reconcile:
            store = stores.finish(state.store, generation, number, ended, done=done)
        if store is None:
            return self._follow(state, number)
        state = _give_up(state._replace(store=store), number)
        for i in held:
            state = _end(state, i, number)
        return state

    def _follow(self, state: State, number: int) -> State:
        """Follow the row; without the lease, or on hold, rest: but a call's answer comes first."""
        worker = reality.move(
            self.asks,
            state.workers[number],
            state.holding(number),
            state.store.generation,
            boot_due=state.store.boot_due,
            unsettled=state.store.unsettled,
        )
        state = state.with_worker(number, worker)
        if self._holds(state, number) and not self._is_held(state) and worker.phase != "decided":
            return state
        return self._rest(state, number) if worker.is_idle else state

    def _rest(self, state: State, number: int) -> State:
        for i in state.holding(number):
            state = state.with_message(i, "queued")
        return _give_up(state, number)

    def _holds(self, state: State, number: int) -> bool:
        return state.store.owner == number or not self.rules.lease

    def _is_held(self, state: State) -> bool:
        return state.store.held and self.rules.hold

    def _kept(self, store: stores.Store) -> stores.Store:
        """The row without what the rules leave out."""
        if not self.rules.unsettled:
            store = store._replace(unsettled=False)
        return store if self.rules.boots else store._replace(boot_from=0)

    # -- calls

    def _landings(self, state: State, call: Call) -> Iterator[Step]:
        calls = list(state.calls)
        calls.remove(call)
        rest = state._replace(calls=tuple(calls))
        server, late = acted(state.server, call.action), None
        if server is not None and self.asks[call.number].generation < state.store.generation:
            late = self._whose(state, call)
        landed = rest._replace(server=server or state.server)
        if server is not None and call.action in {START, REBOOT}:
            landed = landed._replace(booted=True)
        effect = "takes effect" if server else "is refused"
        if call.worker == DEAD:
            yield Step("the call without an answer is lost", rest)
            yield Step(f"the {call.action} without an answer {effect}", landed, late)
            return
        worker = state.workers[call.worker]
        answered = worker._replace(phase="answered", done=server is not None)
        landed = landed.with_worker(call.worker, answered)
        if _spared(state, call.worker):
            landed = self._receive(landed, call.worker)
        yield Step(f"worker {call.worker}'s {call.action} {effect}", landed, late)

    def _whose(self, state: State, call: Call) -> str | None:
        """Whose call undoes what a newer request wants, and whether that has ended already."""
        newest = [i for i, a in enumerate(self.asks) if a.generation == state.store.generation]
        if (call.action in {START, REBOOT}) is (self.asks[newest[0]].want is Desired.UP):
            return None
        if call.worker == DEAD:
            whose = "unanswered"
        else:
            whose = "racing" if state.store.owner == call.worker else "frozen"
        ended = any(state.store.outcomes[i] is not None for i in newest)
        return f"{whose}, after its end" if ended else whose

    def _receive(self, state: State, number: int) -> State:
        worker = state.workers[number]
        assert worker.call is not None
        action, request = worker.call
        answer = "done" if worker.done else "conflict"
        learned = reality.learn(self.asks, worker, state.holding(number), answer)
        if worker.done:
            made = put(state.made, request, min(state.made[request] + 1, reality.BOOTS))
            state = state._replace(made=made)
            if action in {START, REBOOT}:
                booted = self.asks[request].generation
                state = state._replace(
                    store=state.store._replace(booted=max(booted, state.store.booted))
                )
        return state.with_worker(number, learned)

    # -- time, operators and faults

    def _time(self, state: State) -> Iterator[Step]:
        store = state.store
        waits = store.unsettled or any(worker.waits for worker in state.workers)
        if waits and not any(call.worker == DEAD for call in state.calls):
            workers = tuple(worker._replace(waits=False) for worker in state.workers)
            settled = state._replace(store=store._replace(unsettled=False), workers=workers)
            yield Step("a call without an answer has had its time", settled)
        if state.slurm == "old" and not state.late:
            yield Step("the suspend is late", state._replace(late=True))
        if state.slurm == "old" and state.late:
            yield Step("a snapshot shows the node as running", state._replace(slurm="on"))
            yield Step("a snapshot shows the node as off", state._replace(slurm="off"))
        if store.owner is None or not store.live:
            return
        if any(call.worker == store.owner for call in state.calls):
            return
        ended = state._replace(store=store._replace(live=False))
        if store.owner == DEAD or state.workers[store.owner].phase != "guarded":
            yield Step("the lease ends", ended)
        elif self.rules.freeze and state.faults:
            yield Step(f"worker {store.owner} is frozen", ended._replace(faults=state.faults - 1))

    def _operators(self, state: State) -> Iterator[Step]:
        if state.store.held:
            yield Step("the hold is lifted", state._replace(store=state.store._replace(held=False)))
        elif state.holds:
            held = state._replace(store=state.store._replace(held=True), holds=state.holds - 1)
            yield Step("the node is put on hold", held)
        for number, message in enumerate(state.messages):
            if message == REPLAY and state.messages[0].place == "acked":
                replayed = state.with_message(number, "queued")
                yield Step("the first request is replayed", replayed)

    def _faults(self, state: State) -> Iterator[Step]:
        """Of worker 0: worker 1's are the same by another name."""
        worker = state.workers[0]
        state = state._replace(faults=state.faults - 1)
        calls = tuple(c._replace(worker=DEAD) if c.worker == 0 else c for c in state.calls)
        if worker.phase == "calling":
            unanswered = reality.learn(self.asks, worker, state.holding(0), "lost")
            if not self.rules.unsettled:
                unanswered = unanswered._replace(waits=False)
            store = state.store._replace(unsettled=self.rules.unsettled)
            state_of = state._replace(calls=calls, store=store)
            yield Step("worker 0 gets no answer", state_of.with_worker(0, unanswered))
        for i, message in enumerate(state.messages):
            if message.worker == 0:
                state = state.with_message(i, "queued")
        killed = state._replace(calls=calls, store=stores.died(state.store, 0))
        yield Step("worker 0 is killed", killed.with_worker(0, Worker()))
        if worker.generation and worker.is_idle:
            state = _give_up(state, 0)
        yield Step("worker 0 loses the broker", state)


def _send(state: State, number: int) -> State:
    worker = state.workers[number]
    assert worker.call is not None
    calls = (*state.calls, Call(number, *worker.call))
    return state._replace(calls=calls).with_worker(number, worker._replace(phase="calling"))


def _spared(state: State, worker: int) -> bool:
    """Whether no fault can hit this worker any more."""
    return worker == 1 or not state.faults


def _end(state: State, number: int, worker: int) -> State:
    state = state.with_message(number, "ended", worker)
    if _spared(state, worker):
        state = _publish(state, number).with_message(number, "acked")
    return state


def _publish(state: State, number: int) -> State:
    outcome = state.store.outcomes[number]
    assert outcome is not None
    told = put(state.told, number, state.told[number] | {outcome})
    return state._replace(told=told).with_message(number, "told", state.messages[number].worker)


def _give_up(state: State, number: int) -> State:
    state = state._replace(store=stores.release(state.store, number))
    return state.with_worker(number, Worker(view=state.workers[number].view))
