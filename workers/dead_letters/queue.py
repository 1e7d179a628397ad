"""Replays and discards dead letters so that a kill at any step loses nothing.

A letter is acknowledged last, after the broker has confirmed all that follows from it; until then
it stays in its queue, and doing the same again repeats messages that fold.

Whether a letter has been dealt with is told by the store: once the round after the one it died in
has an outcome, the request has gone on without it, and the letter is only dropped. A round that
no worker ended, because the broker itself gave its delivery up, is ended here first.

A restamp is a discard that says which request was asked instead: that is fixed in the store with
the outcome, so that whoever finds the letter again, whatever they want, asks the very same.
"""

import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Self

import pika
import sqlalchemy as sa

from schemas.events import Transition
from workers.broker import outgoing, topology
from workers.broker.blocking import blocking_channel
from workers.broker.link import Delivery, Link
from workers.dead_letters import messages
from workers.dead_letters.confirms import confirm
from workers.dead_letters.letter import Letter, letter_from
from workers.dead_letters.messages import Operator
from workers.dead_letters.notifications import settle, told_apart
from workers.dead_letters.results import Done, Result, closing, ended, result, sort, unreadable
from workers.errors import BrokerAwayError
from workers.store.requests import RoundKey, RoundOutcome, fix_outcomes, outcomes

BATCH = 200
# AMQP's prefetch has 16 bits: more letters than this are not seen at once.
MOST = 65_535
_SILENCE = 2.0
_CONNECT_SECONDS = 15.0


class DeadLetterQueue:
    """Holds dead letters, and gives back on closing what was not dealt with.

    Args:
        parameters: from producers.amqp.connection_parameters.
        cluster: whose letters.
    """

    def __init__(self, parameters: pika.URLParameters, cluster: str) -> None:
        self._parameters = parameters
        self._cluster = cluster
        self._arrived: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._held: dict[int, Delivery] = {}
        self._started = False
        self._connection = 0
        self._link = Link(
            parameters,
            {topology.DEAD_LETTER_QUEUE: MOST},
            on_delivery=self._arrived.put,
            on_up=self._connected,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._link.stop()

    def _connected(self, number: int) -> None:
        self._connection = number

    def letters(self) -> list[Letter]:
        """Take all letters that nobody else holds, at most MOST, oldest first. Call it once.

        Raises:
            pika.exceptions.AMQPError: the broker is away or refuses.
            BrokerAwayError: likewise.
        """
        with blocking_channel(self._parameters) as channel:
            answer = channel.queue_declare(queue=topology.DEAD_LETTER_QUEUE, passive=True)
            waiting = min(MOST, answer.method.message_count)
        self._link.start()
        self._started = True
        if not self._link.wait_up(_CONNECT_SECONDS):
            raise BrokerAwayError(f"no connection within {_CONNECT_SECONDS:g} s")
        letters: list[Letter] = []
        while len(letters) < waiting:
            try:
                delivery = self._arrived.get(timeout=_SILENCE)
            except queue.Empty:
                break  # others have taken the rest meanwhile
            self._held[delivery.tag] = delivery
            letters.append(
                letter_from(delivery.tag, delivery.routing_key, delivery.headers, delivery.body)
            )
        return sorted(letters, key=lambda letter: letter.died_at or 0)

    def replay(
        self, store: sa.Engine, letters: Sequence[Letter], operator: Operator
    ) -> Iterator[Result]:
        """Send each request again, in a new round with no attempt burned.

        Raises:
            BrokerAwayError, sqlalchemy.exc.SQLAlchemyError: what has no result yet stays.
        """
        requests, untaken = told_apart(letters)
        yield from self._settle(requests, lambda batch: self._replay(store, batch, operator))
        yield from self._settle(
            untaken, lambda batch: self._told(batch, Transition.REPLAYED, operator)
        )

    def discard(
        self, store: sa.Engine, letters: Sequence[Letter], operator: Operator
    ) -> Iterator[Result]:
        """End each request in a new round, by the operator's will.

        Raises:
            BrokerAwayError, sqlalchemy.exc.SQLAlchemyError: what has no result yet stays.
        """
        requests, untaken = told_apart(letters)
        yield from self._settle(requests, lambda batch: self._discard(store, batch, operator))
        yield from self._settle(
            untaken, lambda batch: self._told(batch, Transition.DISCARDED, operator)
        )

    def restamp(
        self,
        store: sa.Engine,
        letters: Sequence[Letter],
        operator: Operator,
        stamp: Callable[[], int],
    ) -> Iterator[Result]:
        """Ask each anew, with a generation of its own from `stamp`; the old requests are discarded.

        Raises:
            BrokerAwayError, sqlalchemy.exc.SQLAlchemyError: what has no result yet stays.
        """
        # the clock keeps the order in which they were asked
        requests, untaken = told_apart(letters)
        old = sorted(requests, key=lambda one: one.command.generation if one.command else 0)
        yield from self._settle(old, lambda batch: self._discard(store, batch, operator, stamp))
        for letter in untaken:
            yield Result(letter, Done.REFUSED, "it is no request, and has no generation: replay it")

    def _settle(
        self, letters: Sequence[Letter], decide: Callable[[Sequence[Letter]], list[Result]]
    ) -> Iterator[Result]:
        for start in range(0, len(letters), BATCH):
            if self._connection != 1:
                raise BrokerAwayError(
                    "the connection was lost; the letters are in their queue again"
                )
            results = decide(letters[start : start + BATCH])
            done = [r.letter.tag for r in results if r.done is not Done.REFUSED]
            self._link.ack([self._held.pop(tag) for tag in done])
            yield from results

    def _replay(
        self, store: sa.Engine, batch: Sequence[Letter], operator: Operator
    ) -> list[Result]:
        with store.begin() as connection:
            ends = self._ends(connection, batch)
        malformed, gone, alive = sort(batch, ends)
        now = time.time_ns()
        refused = confirm(
            self._link,
            {
                letter.tag: [
                    *closing(letter, ends),
                    outgoing.event(messages.replayed(letter, command, operator, now)),
                ]
                for letter, command in alive
            },
        )
        # after the event is safe, so that no replay goes untold
        refused |= confirm(
            self._link,
            {
                letter.tag: [messages.again(letter, command)]
                for letter, command in alive
                if letter.tag not in refused
            },
        )
        return [
            *map(unreadable, malformed),
            *self._drop(gone),
            *(result(letter, Done.REPLAYED, refused) for letter, _ in alive),
        ]

    def _discard(
        self,
        store: sa.Engine,
        batch: Sequence[Letter],
        operator: Operator,
        stamp: Callable[[], int] | None = None,
    ) -> list[Result]:
        now = time.time_ns()
        # before the transaction: the clock waits for its disk, and must hold up no worker
        stamps = {letter.tag: stamp() for letter in batch} if stamp else {}
        with store.begin() as connection:
            ends = self._ends(connection, batch)
            malformed, gone, alive = sort(batch, ends)
            decided = [
                messages.discarded(letter, command, operator, now, stamps.get(letter.tag))
                for letter, command in alive
            ]
            bodies = fix_outcomes(connection, self._cluster, decided)
        told = {
            letter.tag: [*closing(letter, ends), *messages.ending(letter, body)]
            for (letter, _), body in zip(alive, bodies, strict=True)
        }
        if stamp is None:
            for letter in malformed:
                told[letter.tag] = [messages.thrown_away(letter, self._cluster, operator, now)]
        refused = confirm(self._link, told)
        return [
            *self._drop(gone),
            *(
                unreadable(letter) if stamp else result(letter, Done.DISCARDED, refused)
                for letter in malformed
            ),
            *(
                ended(letter, body, refused)
                for (letter, _), body in zip(alive, bodies, strict=True)
            ),
        ]

    def _told(
        self, batch: Sequence[Letter], transition: Transition, operator: Operator
    ) -> list[Result]:
        return settle(partial(confirm, self._link), batch, transition, self._cluster, operator)

    def _ends(
        self, connection: sa.Connection, batch: Sequence[Letter]
    ) -> Mapping[RoundKey, RoundOutcome]:
        """The outcomes of the rounds that the letters died in, and of those that follow."""
        now = time.time_ns()
        read = [(letter, letter.command) for letter in batch if letter.command is not None]
        given_up = [
            messages.gave_up(letter, command, now) for letter, command in read if letter.by_broker
        ]
        fix_outcomes(connection, self._cluster, given_up)
        keys = {(command.id, letter.round + more) for letter, command in read for more in (0, 1)}
        return outcomes(connection, self._cluster, sorted(keys))

    def _drop(self, gone: Sequence[tuple[Letter, RoundOutcome]]) -> list[Result]:
        """These live on elsewhere or have ended; whoever ended them may not have told it yet."""
        refused = confirm(
            self._link,
            {letter.tag: messages.ending(letter, outcome.event) for letter, outcome in gone},
        )
        return [
            result(letter, Done.DROPPED, refused, f"the request is {outcome.transition} already")
            for letter, outcome in gone
        ]
