"""An operator's process that is killed (-9) at a chosen step of a decision; run as a program.

Steps are the operations with an effect outside the process: each commit in the store, each publish and
each acknowledgement. The process is killed just before the step, or after it has taken effect.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ops.dead_letters.messages import Operator
from ops.dead_letters.queue import DeadLetterQueue
from producers import clock
from producers.amqp import connection_parameters
from workers.config.settings import load
from workers.store.database import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from producers.message import Message
    from workers.broker.delivery import Delivery
    from workers.broker.link import Link

SECONDS = 20.0


class KillSwitch:
    """Counts steps and kills the process at one of them."""

    def __init__(self, step: int, *, after: bool) -> None:
        self._left = step
        self._after = after

    def before(self) -> None:
        """Called before a step."""
        self._left -= 1
        if self._left == 0 and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)

    @property
    def due(self) -> bool:
        """Whether to kill when the current step has taken effect."""
        return self._left == 0

    def after(self) -> None:
        """Called when a step has taken effect."""
        if self.due:
            os.kill(os.getpid(), signal.SIGKILL)


class CountingLink:
    """A link that counts each publish and each acknowledgement as a step."""

    def __init__(self, link: Link, switch: KillSwitch) -> None:
        self._link = link
        self._switch = switch

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of the link
        return getattr(self._link, name)

    def publish(self, message: Message) -> Future[None]:
        self._switch.before()
        future = self._link.publish(message)
        if self._switch.due:
            future.result(SECONDS)
            self._switch.after()
        return future

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._switch.before()
        self._link.ack(deliveries)
        if self._switch.due:
            self._link.stop()  # sends pending acknowledgements
            self._switch.after()


def main(config: str, verb: str, step: str, when: str) -> None:
    """Replay, discard or restamp all letters, killed at the step; ends normally if it has fewer."""
    settings = load(Path(config))
    switch = KillSwitch(int(step), after=when == "after")
    store = open_store(settings.store.url, "state")
    sa.event.listen(store, "commit", lambda _connection: switch.before())
    with DeadLetterQueue(
        connection_parameters(settings.broker, "doomed"), settings.cluster
    ) as dead_letters:
        letters = dead_letters.letters()
        dead_letters._link = CountingLink(dead_letters._link, switch)  # type: ignore[assignment]
        who = Operator("doomed", "a test")
        act = {
            "replay": lambda: dead_letters.replay(store, letters, who),
            "discard": lambda: dead_letters.discard(store, letters, who),
            "restamp": lambda: dead_letters.restamp(
                store, letters, who, lambda: clock.stamp(settings.hook.state)
            ),
        }
        for _ in act[verb]():
            pass
    store.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
