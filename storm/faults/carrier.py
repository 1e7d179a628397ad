"""Carries out the faults of a plan on a site, each in a thread of its own, and undoes them."""

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from storm.evidence import Injected
from storm.faults import cloud, host, network, people, processes
from storm.faults.hit import DoesNotEndError, Fault, Hit, NothingHitError
from storm.plan import PlannedFault
from storm.site import Site

FAULTS: dict[str, Fault] = {
    name: getattr(module, name)
    for module, names in (
        (processes, ("kill", "terminate", "freeze", "upgrade", "kill_hook")),
        (network, ("broker", "partition", "cut_broker", "cut_one_broker", "cut_cloud")),
        (host, ("disk", "clock", "database")),
        (cloud, ("answers", "login_answers", "work", "outage", "blind", "server", "tokens")),
        (people, ("slurmctld", "operator")),
    )
    for name in names
}
# Faults of one part of the installation: one of them at a time.
_PARTS = {"partition": "broker", "cut_one_broker": "cut_broker", "upgrade": "workers"}
_OF_WORKERS = frozenset({"kill", "terminate", "freeze"})


@dataclass
class Faults:
    """The faults under way and done.

    Attributes:
        site: what they hit.
        log: one JSON object a line for each beginning and end.
        chance: each fault gets a source of its own from it.
        injected: what was carried out or tried, with its times.
        cut_power: nodes and times at which the storm itself cut a node's power.
        failed: faults that hit nothing, or could not be carried out or undone, with the reason.
        hung: processes that did not end when they were told to.
    """

    site: Site
    log: Path
    chance: random.Random
    injected: list[Injected] = field(default_factory=list)
    cut_power: list[tuple[str, float]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    _busy: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self, fault: PlannedFault) -> None:
        """Carry out a fault in a thread of its own, unless another one hits the same part now."""
        part = part_of(fault)
        hit = Hit(self.site, fault.target, random.Random(self.chance.random()), self.cut_power)  # noqa: S311 - no secret
        with self._lock:
            if part in self._busy:
                return
            self._busy.add(part)
        thread = threading.Thread(target=self._carry_out, args=(fault, hit, part), daemon=True)
        self._threads.append(thread)
        thread.start()

    def is_under_way(self, part: str) -> bool:
        """Whether a fault hits this part now."""
        with self._lock:
            return part in self._busy

    def note(self, kind: str, target: str, began: float) -> None:
        """Note what happened by itself, as a fault that is over; `began` in seconds since the epoch."""
        self.injected.append(Injected(kind, target, began, time.time()))
        self._note(f"{kind} {target}", "ended")

    def end(self, timeout: float) -> None:
        """Wait until all faults are undone.

        Raises:
            TimeoutError: a fault is not undone in time.
        """
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise TimeoutError(f"faults that do not end: {sorted(self._busy)}")
        self.site.mend()

    def _carry_out(self, fault: PlannedFault, hit: Hit, part: str) -> None:
        name, began, made = f"{fault.kind} {fault.target}", time.time(), False
        self._note(name, "begins", fault.lasts)
        try:
            with FAULTS[fault.kind](hit):
                time.sleep(fault.lasts)
        except DoesNotEndError as error:
            made = True
            self.hung.append(f"a process does not end: {error}")
            self._note(name, f"hangs: {error}")
        except NothingHitError as error:
            self.failed.append(f"{name}: {error}")
            self._note(name, f"hits nothing: {error}")
        except Exception as error:  # noqa: BLE001 - the storm goes on; the report shows it
            self.failed.append(f"{name}: {type(error).__name__}: {error}")
            self._note(name, f"failed: {error}")
        else:
            made = True
            self._note(name, "ended")
        finally:
            # also one that failed: it may have been in force
            self.injected.append(Injected(fault.kind, fault.target, began, time.time(), made))
            with self._lock:
                self._busy.discard(part)

    def _note(self, fault: str, what: str, lasts: float | None = None) -> None:
        line = json.dumps({"time": time.time(), "fault": fault, "what": what, "lasts": lasts})
        with self._lock, self.log.open("a") as file:
            file.write(f"{line}\n")


def part_of(fault: PlannedFault) -> str:
    """What a fault hits; two faults with the same part never overlap."""
    if fault.kind in _OF_WORKERS:
        return "workers" if fault.target == "up" else f"worker {fault.target}"
    if fault.kind == "clock":
        return f"clock {fault.target.split()[0]}"
    return _PARTS.get(fault.kind, fault.kind)


def carry_out(
    faults: Faults, plan: tuple[PlannedFault, ...], began: float, tick: Callable[[], None]
) -> None:
    """Begin each fault at its time; `tick` is called several times a second, and before each of them."""
    for fault in plan:
        tick()
        while time.monotonic() < began + fault.at:
            time.sleep(0.1)
            tick()
        faults.begin(fault)
