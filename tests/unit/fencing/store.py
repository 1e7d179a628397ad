"""The store, as the model keeps it: what accepting, leasing and settling do to one node's row.

`test_fencing_store.py` holds it against the real one, step by step.
"""

from __future__ import annotations

from typing import NamedTuple

DEAD = -1
"""The owner of a lease whose process was killed."""


class Store(NamedTuple):
    """One node's row, and the rounds' outcomes.

    Attributes:
        generation: the highest accepted; 0 before the first.
        owner: who holds the lease: a worker, DEAD or None.
        live: whether the lease still runs.
        wary: whether a call may still take effect whose answer nobody has heard.
        outcomes: of each request, by generation - 1; None while it is open.
    """

    generation: int
    owner: int | None
    live: bool
    wary: bool
    outcomes: tuple[str | None, ...]


EMPTY = Store(0, None, live=False, wary=False, outcomes=(None, None))


def accept(store: Store, generation: int, worker: int, *, death_shows: bool = True) -> Store:
    """Raise the desired state; take the lease where it is free."""
    store = store._replace(generation=max(store.generation, generation))
    if death_shows and store.owner == DEAD:
        store = store._replace(owner=None, live=False, wary=store.wary or store.live)
    if store.owner in {None, worker} or not store.live:
        store = store._replace(owner=worker, live=True)
    return store


def renew(store: Store, worker: int) -> Store:
    """Prolong the lease, if it is the worker's."""
    return store._replace(live=True) if store.owner == worker else store


def release(store: Store, worker: int) -> Store:
    """Give the lease up, if it is the worker's."""
    return store._replace(owner=None, live=False) if store.owner == worker else store


def settle(
    store: Store, generation: int, worker: int, ended: tuple[tuple[int, str], ...]
) -> Store | None:
    """End rounds (each its generation and outcome) and give the lease up.

    Returns:
        None where the node has moved on or is no longer the worker's: nothing is written.
    """
    if store.generation != generation or store.owner != worker:
        return None
    return release(fix(store, ended), worker)


def fix(store: Store, ended: tuple[tuple[int, str], ...]) -> Store:
    """End rounds that have not ended yet."""
    outcomes = list(store.outcomes)
    for generation, outcome in ended:
        outcomes[generation - 1] = outcomes[generation - 1] or outcome
    return store._replace(outcomes=tuple(outcomes))


def died(store: Store, worker: int) -> Store:
    """Its process was killed."""
    return store._replace(owner=DEAD) if store.owner == worker else store
