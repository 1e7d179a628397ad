"""An operator who is killed (-9) at a chosen step of a decision; run as a program.

Steps are the operations that leave a trace: each commit in the store, each publish and each
acknowledgement. The kill comes just before the step, or once it has surely taken effect.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from producers import clock
from producers.amqp import connection_parameters
from workers.config.settings import load
from workers.dead_letters.messages import Operator
from workers.dead_letters.queue import DeadLetterQueue
from workers.store.database import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from producers.message import Message
    from workers.broker.link import Delivery, Link

SECONDS = 20.0


class Fate:
    """Counts steps and kills at one of them."""

    def __init__(self, step: int, *, after: bool) -> None:
        self._left = step
        self._after = after

    def before(self) -> None:
        """A step is about to be made."""
        self._left -= 1
        if self._left == 0 and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)

    @property
    def come(self) -> bool:
        """Whether to kill once the step that is being made has taken effect."""
        return self._left == 0

    def after(self) -> None:
        """A step has taken effect."""
        if self.come:
            os.kill(os.getpid(), signal.SIGKILL)


class DoomedLink:
    """A link whose every publish and acknowledgement is a step."""

    def __init__(self, link: Link, fate: Fate) -> None:
        self._link = link
        self._fate = fate

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the link has
        return getattr(self._link, name)

    def publish(self, message: Message) -> Future[None]:
        self._fate.before()
        future = self._link.publish(message)
        if self._fate.come:
            future.result(SECONDS)
            self._fate.after()
        return future

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._fate.before()
        self._link.ack(deliveries)
        if self._fate.come:
            self._link.stop()  # sends what is on its way
            self._fate.after()


def main(config: str, verb: str, step: str, when: str) -> None:
    """Replay, discard or restamp all letters, and be killed; without so many steps, end in peace."""
    settings = load(Path(config))
    fate = Fate(int(step), after=when == "after")
    store = open_store(settings.store.url, "state")
    sa.event.listen(store, "commit", lambda _connection: fate.before())
    with DeadLetterQueue(
        connection_parameters(settings.broker, "doomed"), settings.cluster
    ) as desk:
        letters = desk.letters()
        desk._link = DoomedLink(desk._link, fate)  # type: ignore[assignment]
        who = Operator("doomed", "a test")
        act = {
            "replay": lambda: desk.replay(store, letters, who),
            "discard": lambda: desk.discard(store, letters, who),
            "restamp": lambda: desk.restamp(
                store, letters, who, lambda: clock.stamp(settings.hook.state)
            ),
        }
        for _ in act[verb]():
            pass
    store.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
