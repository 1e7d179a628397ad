"""Replays and discards dead letters so that a kill at any step loses nothing.

A letter is acknowledged last, after the broker has confirmed all messages that follow from it. Until
then it stays in its queue, and a repetition sends the same messages, which the receivers ignore.

The store tells whether a letter is still undecided: once the round after the one it failed in has an
outcome, the request has continued without the letter, and the letter is only dropped. A round that no
worker ended, because the broker itself gave up the delivery, is ended here first.

A restamp is a discard that names the request which replaces the old one. The store keeps that name with
the outcome, so every later decision about the same letter sends the same replacement.
"""

import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Self

import sqlalchemy as sa

from ops.cli.session import Session
from ops.dead_letters import messages
from ops.dead_letters.letter import Letter, letter_from
from ops.dead_letters.messages import Operator
from ops.dead_letters.reading import take_all
from ops.dead_letters.results import (
    LetterOutcome,
    LetterResult,
    discard_result,
    dropped,
    missing_outcome,
    result,
    separate,
    sort,
    unreadable,
)
from producers.amqp import ConnectionParameters
from producers.batched import batched
from producers.message import Message
from schemas.events import Transition
from schemas.roles import Role
from workers.broker import outgoing, topology
from workers.broker.authority import judged
from workers.broker.link import Link
from workers.broker.roles import AUTHORITIES, may_say
from workers.errors import AccessRefusedError, BrokerAwayError
from workers.store.requests import RoundKey, RoundOutcome, fix_outcomes, outcomes

if TYPE_CHECKING:
    from workers.broker.delivery import Delivery

BATCH = 200
# AMQP's prefetch has 16 bits: we can hold this many letters at once.
MOST = 65_535
_CONNECT_SECONDS = 15.0
_CONFIRM_SECONDS = 60.0


class DeadLetterQueue:
    """Holds dead letters; when it is closed, the broker requeues those without a decision.

    Attributes:
        is_shared: whether another consumer may hold letters that `letters` could not take.
    """

    def __init__(self, parameters: ConnectionParameters, cluster: str) -> None:
        self._cluster = cluster
        self._users, self._role = parameters.broker.users, parameters.broker.role
        self._arrived: queue.Queue[Delivery] = queue.Queue()
        self._held: dict[int, Delivery] = {}
        self._started = False
        self.is_shared = False
        self._connections: list[int] = []
        self._link = Link(
            parameters,
            {topology.DEAD_LETTER_QUEUE: MOST},
            on_delivery=self._arrived.put,
            on_up=self._connections.append,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._link.stop()

    def letters(self) -> list[Letter]:
        """Take all letters that no other operator holds, at most MOST, oldest first. Call it once.

        Raises:
            BrokerError: the broker is away or refuses, or the queue has no quorum: never some letters
                for all.
        """
        role = self._role
        if self._users is not None and topology.DEAD_LETTER_QUEUE not in AUTHORITIES[role].reads:
            # to read a queue is to be able to empty it
            raise AccessRefusedError(
                f"the broker user {self._users.name(role)} may not read dead letters: run this as"
                f" a user who can read {self._users.secret_file(Role.OPERATOR)}"
            )
        self._link.start()
        self._started = True
        self._link.prove_consuming(_CONNECT_SECONDS)
        taken = take_all(self._link, topology.DEAD_LETTER_QUEUE, self._arrived, MOST)
        self._check_connection()
        self.is_shared = taken.is_shared
        self._held = {delivery.tag: delivery for delivery in taken.deliveries}
        letters = (letter_from(judged(one, self._users)) for one in taken.deliveries)
        return sorted(letters, key=lambda letter: letter.died_at or 0)

    def _check_connection(self) -> None:
        if len(self._connections) != 1:
            raise BrokerAwayError("the connection was lost; the broker requeued the letters")

    def replay(
        self, store: sa.Engine, letters: Sequence[Letter], operator: Operator
    ) -> Iterator[LetterResult]:
        """Send each request again, in a new round that starts with attempt 0.

        Raises:
            BrokerAwayError, sqlalchemy.exc.SQLAlchemyError: letters without a result are unchanged.
        """
        requests, undelivered = separate(letters)
        barred = [] if self._users is None else [one for one in requests if self._is_barred(one)]
        for letter in barred:
            why = "only the command line may replay this: lamplighter dead-letters replay"
            yield LetterResult(letter, LetterOutcome.REFUSED, why)
        free = [letter for letter in requests if not barred or letter not in barred]
        yield from self._settle(free, lambda batch: self._replay(store, batch, operator))
        yield from self._notify(undelivered, Transition.REPLAYED, operator)

    def discard(
        self, store: sa.Engine, letters: Sequence[Letter], operator: Operator
    ) -> Iterator[LetterResult]:
        """End each request in a new round, as the operator's decision; errors as in `replay`."""
        requests, undelivered = separate(letters)
        yield from self._settle(requests, lambda batch: self._discard(store, batch, operator))
        yield from self._notify(undelivered, Transition.DISCARDED, operator)

    def restamp(
        self,
        store: sa.Engine,
        letters: Sequence[Letter],
        operator: Operator,
        stamp: Callable[[], int],
    ) -> Iterator[LetterResult]:
        """Replace each request with a new one, with a generation from `stamp`; discard the old ones.

        Errors as in `replay`.
        """
        requests, undelivered = separate(letters)
        # the new generations keep the order of the old ones
        old = sorted(requests, key=lambda one: one.command.generation if one.command else 0)
        yield from self._settle(old, lambda batch: self._discard(store, batch, operator, stamp))
        for letter in undelivered:
            why = "it is not a request and has no generation: replay it without --restamp"
            yield LetterResult(letter, LetterOutcome.REFUSED, why)

    def _is_barred(self, letter: Letter) -> bool:
        """Whether the broker would refuse to let this role replay the letter's request."""
        if letter.command is None:
            return False
        return not may_say(self._role, topology.REQUEUE, letter.command.kind.routing_key)

    def _settle(
        self, letters: Sequence[Letter], decide: Callable[[Sequence[Letter]], list[LetterResult]]
    ) -> Iterator[LetterResult]:
        for batch in batched(letters, BATCH):
            self._check_connection()
            results = decide(batch)
            done = [r.letter.tag for r in results if r.done is not LetterOutcome.REFUSED]
            self._link.ack([self._held.pop(tag) for tag in done])
            yield from results

    def _replay(
        self, store: sa.Engine, batch: Sequence[Letter], operator: Operator
    ) -> list[LetterResult]:
        with store.begin() as connection:
            ends = self._ends(connection, batch)
        malformed, decided, undecided = sort(batch, ends)
        now = time.time_ns()
        events = {
            letter.tag: [
                *missing_outcome(letter, ends),
                outgoing.event(messages.replayed(letter, command, operator, now)),
            ]
            for letter, command in undecided
        }
        commands = {letter.tag: [messages.again(letter, command)] for letter, command in undecided}
        refused = self._publish(events, commands)
        return [
            *map(unreadable, malformed),
            *self._drop(decided),
            *(result(letter, LetterOutcome.REPLAYED, refused) for letter, _ in undecided),
        ]

    def _discard(
        self,
        store: sa.Engine,
        batch: Sequence[Letter],
        operator: Operator,
        stamp: Callable[[], int] | None = None,
    ) -> list[LetterResult]:
        now = time.time_ns()
        # before the transaction: the clock waits for its disk, and the store's lock must be short
        stamps = {letter.tag: stamp() for letter in batch} if stamp else {}
        with store.begin() as connection:
            ends = self._ends(connection, batch)
            malformed, decided, undecided = sort(batch, ends)
            events = [
                messages.discarded(letter, command, operator, now, stamps.get(letter.tag))
                for letter, command in undecided
            ]
            fixed = fix_outcomes(connection, self._cluster, events)
        discards = [(one, body) for (one, _), (_, body) in zip(undecided, fixed, strict=True)]
        published = {
            letter.tag: [*missing_outcome(letter, ends), *messages.outcome_messages(letter, body)]
            for letter, body in discards
        }
        if stamp is None:
            for letter in malformed:
                notice = messages.malformed_discarded(letter, self._cluster, operator, now)
                published[letter.tag] = [notice]
        refused = self._publish(published)
        return [
            *self._drop(decided),
            *(
                unreadable(letter) if stamp else result(letter, LetterOutcome.DISCARDED, refused)
                for letter in malformed
            ),
            *(discard_result(letter, body, refused) for letter, body in discards),
        ]

    def _notify(
        self, undelivered: Sequence[Letter], transition: Transition, operator: Operator
    ) -> Iterator[LetterResult]:
        def decide(batch: Sequence[Letter]) -> list[LetterResult]:
            stages = [
                messages.events_decided(batch, transition, self._cluster, operator, time.time_ns())
            ]
            if transition is Transition.REPLAYED:
                stages.append(messages.events_again(batch))
            refused = self._publish(*stages)
            return [result(letter, LetterOutcome(transition.value), refused) for letter in batch]

        return self._settle(undelivered, decide)

    def _ends(
        self, connection: sa.Connection, batch: Sequence[Letter]
    ) -> Mapping[RoundKey, RoundOutcome]:
        """The outcomes of the rounds that the letters failed in, and of the rounds after those."""
        now = time.time_ns()
        read = [(letter, letter.command) for letter in batch if letter.command is not None]
        failed = [messages.failed_by_broker(one, c, now) for one, c in read if one.by_broker]
        fix_outcomes(connection, self._cluster, failed)
        keys = {(command.id, letter.round + more) for letter, command in read for more in (0, 1)}
        return outcomes(connection, self._cluster, sorted(keys))

    def _drop(self, decided: Sequence[tuple[Letter, RoundOutcome]]) -> list[LetterResult]:
        """Drop letters of requests that have continued or ended; publish the outcome once more."""
        refused = self._publish(
            {one.tag: messages.outcome_messages(one, outcome.event) for one, outcome in decided}
        )
        return [dropped(letter, outcome.transition, refused) for letter, outcome in decided]

    def _publish(self, *stages: Mapping[int, Sequence[Message]]) -> dict[int, str]:
        """Publish one stage after the other, so that an event is safe before its command is sent.

        A stage has messages by the tag of the letter that they follow from. Returned are the tags of
        letters with a refused message, and why; later stages skip them.

        Raises:
            BrokerAwayError: the connection ended, or the broker has not confirmed all in time.
        """
        refused: dict[int, str] = {}
        for stage in stages:
            left = {tag: many for tag, many in stage.items() if tag not in refused}
            errors = outgoing.publish_each(self._link, left, _CONFIRM_SECONDS)
            refused |= {tag: str(error) for tag, error in errors.items()}
        return refused


def dead_letter_queue(session: Session) -> DeadLetterQueue:
    """The queue, for a command or the console."""
    session.log_errors()
    return DeadLetterQueue(session.broker, session.settings.cluster)
