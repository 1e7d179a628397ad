"""The relay: publishes the calls that hooks left in the spool, oldest generation first."""

import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from producers import spool
from producers.message import Batch
from producers.outbox import Sending, deliver
from producers.report import report
from producers.settings import HookSettings, hook_settings
from schemas.roles import Role

_INTERVAL = 2.0
_LONGEST = 30.0
_CONNECT_SECONDS = 10.0
_BATCH_SECONDS = 30.0
# Calls in a row that made the broker close the connection. The relay skips such a call and connects
# again; after this many the calls are not the reason.
_MOST_LOST = 20


def main(config: Path, *, once: bool, role: Role = Role.RELAY) -> int:
    """Sweep the role's spool until SIGTERM or SIGINT, or once; ConfigError for an unusable configuration.

    Returns:
        0, or 1 if a single sweep left calls in the spool.
    """
    settings = hook_settings(config, role)
    if once:
        return 0 if sweep(settings) is None else 1
    for number in (signal.SIGTERM, signal.SIGINT):
        # Safe at any point: a relay that is killed loses nothing either.
        signal.signal(number, lambda *_: sys.exit(0))
    wait = _INTERVAL
    while True:
        time.sleep(wait)
        wait = _INTERVAL if sweep(settings) is None else min(wait * 2, _LONGEST)


def sweep(settings: HookSettings) -> str | None:
    """Publish all calls that no hook is publishing; returns the first problem, also logged."""
    return _Sweep(settings).run()


@dataclass(slots=True)
class _Sweep:
    settings: HookSettings
    sent: int = 0
    problems: list[str] = field(default_factory=list)

    def run(self) -> str | None:
        started = time.monotonic()
        torn: list[str] = []
        try:
            if paths := spool.waiting(self.settings.own_spool):
                self._send(paths)
            torn = spool.remove_torn(self.settings.own_spool)
        except spool.SpoolError as error:
            self.problems.append(str(error))
        seconds = time.monotonic() - started
        log = partial(report, self.settings, 0)
        if torn:
            log(f"relay: removed unfinished files of killed hooks: {', '.join(torn)}")
        if self.sent:
            log(f"relay: sent {self.sent} calls in {seconds:.1f} s")
        for problem in dict.fromkeys(self.problems):
            log(f"relay: calls are still spooled in {self.settings.own_spool}: {problem}")
        return self.problems[0] if self.problems else None

    def _send(self, paths: list[Path]) -> None:
        batches = self._batches(paths)
        lost = 0
        while lost < _MOST_LOST:
            before = self.sent
            outcome = deliver(self.settings, "lamplighter relay", batches, _CONNECT_SECONDS)
            if outcome.problem is not None:
                self.problems.append(outcome.problem)
            if not outcome.lost:
                return
            lost = 1 if self.sent > before else lost + 1

    def _batches(self, paths: list[Path]) -> Iterator[Batch]:
        cluster, note = self.settings.cluster, self.problems.append
        for spooled in spool.claim(paths, cluster, note, of_hooks=self.settings.shares_spool):
            sending = Sending(spooled.call, spooled, note)
            yield sending.batch(_BATCH_SECONDS)
            # The publisher asks for the next batch when this one is settled.
            self.sent += sending.confirmed
