"""The store, as the model keeps it: what accepting, leasing and committing do to one node's row.

`test_fencing_store.py` compares it with the real one, step by step.
"""

from __future__ import annotations

from typing import NamedTuple

from schemas.commands import Desired

DEAD = -1
"""The owner of a lease whose process was killed."""


class Ask(NamedTuple):
    """A request.

    Attributes:
        generation: its rank among the requests, from 1.
        want: the state it asks for.
        round: 2 for a replay.
        is_slurms: whether Slurm asks for it, and not an operator.
        kind: "hook"; "repair", which follows from a snapshot of before all later requests; or
            "resume_fail", of a boot that Slurm has given up.
    """

    generation: int
    want: Desired
    round: int = 1
    is_slurms: bool = True
    kind: str = "hook"

    @property
    def waits_for_boot(self) -> bool:
        """Whether slurmctld waits for a boot by it."""
        return self.want is Desired.UP and self.is_slurms and self.kind == "hook"

    @property
    def is_always_late(self) -> bool:
        """Whether Slurm may have taken the node back before it comes."""
        return self.want is Desired.DOWN and self.kind != "hook"


class Store(NamedTuple):
    """One node's row, and the outcomes of its requests' rounds.

    Attributes:
        generation: the highest accepted; 0 before the first.
        owner: who holds the lease: a worker, DEAD or None.
        live: whether the lease still runs.
        unsettled: whether a call without an answer may still take effect.
        outcomes: by request; None while its round is open.
        reached, booted, boot_from: generations, as in the row.
        held: whether the node is on hold.
        off_asked: of Slurm's newest request to power the node off that was not acted upon.
    """

    generation: int
    owner: int | None
    live: bool
    unsettled: bool
    outcomes: tuple[str | None, ...]
    reached: int = 0
    booted: int = 0
    boot_from: int = 0
    held: bool = False
    off_asked: int = 0

    @property
    def boot_due(self) -> bool:
        """Whether the node must boot though its server may run."""
        return self.booted < self.boot_from


def note_power_off(store: Store, asks: tuple[Ask, ...], ask: Ask) -> Store:
    """Note Slurm's request to power the node off that waits for a snapshot, or ended by one."""
    if ask.want is not Desired.DOWN or not ask.is_slurms:
        return store
    store = store._replace(off_asked=max(store.off_asked, ask.generation))
    return _miss(store, asks, ask)


def empty(requests: int) -> Store:
    """Before anything was accepted."""
    return Store(0, None, live=False, unsettled=False, outcomes=(None,) * requests)


def accept(
    store: Store, asks: tuple[Ask, ...], number: int, worker: int, *, death_shows: bool = True
) -> Store:
    """Raise the desired state; take the lease where it is free."""
    store = _raise(store, asks, asks[number])
    if death_shows and store.owner == DEAD:
        store = store._replace(owner=None, live=False, unsettled=store.unsettled or store.live)
    if store.owner in {None, worker}:
        store = store._replace(owner=worker, live=True)
    elif not store.live:  # its clock may have been set forward: calls may be under way
        store = store._replace(owner=worker, live=True, unsettled=True)
    return store


def _raise(store: Store, asks: tuple[Ask, ...], ask: Ask) -> Store:
    is_up = _wanted(store, asks) is Desired.UP
    is_open = store.reached < store.generation
    if ask.generation > store.generation:
        if ask.waits_for_boot and not (
            is_up and is_open and store.boot_from and store.boot_from >= store.off_asked
        ):
            store = store._replace(boot_from=ask.generation)
        return store._replace(generation=ask.generation)
    return _miss(store, asks, ask)


def _miss(store: Store, asks: tuple[Ask, ...], ask: Ask) -> Store:
    """A suspend that a resume has overtaken: the boot that is due is one after it."""
    is_up = _wanted(store, asks) is Desired.UP
    is_open = store.reached < store.generation
    is_missed = ask.want is Desired.DOWN and ask.is_slurms and ask.generation < store.generation
    if is_missed and is_up and is_open and 1 <= store.boot_from <= ask.generation:
        store = store._replace(boot_from=ask.generation)
    return store


def _wanted(store: Store, asks: tuple[Ask, ...]) -> Desired | None:
    return next((ask.want for ask in asks if ask.generation == store.generation), None)


def renew(store: Store, worker: int) -> Store:
    """Extend the lease, if it is the worker's."""
    return store._replace(live=True) if store.owner == worker else store


def release(store: Store, worker: int) -> Store:
    """Give the lease up, if it is the worker's."""
    return store._replace(owner=None, live=False) if store.owner == worker else store


def finish(
    store: Store, generation: int, worker: int, ended: tuple[tuple[int, str], ...], *, done: bool
) -> Store | None:
    """End rounds (each its request's position and outcome) and give the lease up.

    Returns:
        None where the node has moved on or is no longer the worker's: nothing is written.
    """
    if store.generation != generation or store.owner != worker:
        return None
    if done:
        store = store._replace(reached=generation)
    return release(fix(store, ended), worker)


def fix(store: Store, ended: tuple[tuple[int, str], ...]) -> Store:
    """End rounds that have not ended yet."""
    outcomes = list(store.outcomes)
    for position, outcome in ended:
        outcomes[position] = outcomes[position] or outcome
    return store._replace(outcomes=tuple(outcomes))


def died(store: Store, worker: int) -> Store:
    """Its process was killed."""
    return store._replace(owner=DEAD) if store.owner == worker else store
