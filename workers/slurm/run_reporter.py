"""Tells, on the events' exchange, what has begun and ended in Slurm; a file remembers what was told."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import structlog

from producers.message import Batch
from producers.outbox import deliver
from schemas.jobs import JobEvent
from schemas.registrations import Registration
from workers.broker import outgoing
from workers.config.settings import Settings
from workers.errors import BrokerError
from workers.process.files import put
from workers.slurm.runs import NOTHING, Run, SlurmObservation, Told, news
from workers.slurm.scontrol import Slurm

_PUBLISH_SECONDS = 20.0
_FILE = "chronicle.json"


def tell(settings: Settings, slurm: Slurm) -> int:
    """Look, tell what is new, and remember it; how much it was.

    Whoever is killed in between tells it again: the audit takes it once.

    Raises:
        SlurmAwayError: slurmctld does not answer.
        BrokerError: the broker did not take it; nothing is remembered.
        OSError: it cannot be remembered.
    """
    path = settings.hook.state / _FILE
    before = recall(path)
    at = time.time_ns()
    seen = SlurmObservation(slurm.nodes(), slurm.runs(), at)
    told, after = news(settings.cluster, seen, settings.nodes.keys(), before)
    if told:
        _publish(settings, told)
    if after != before:
        remember(path, after)
    return len(told)


def _publish(settings: Settings, told: Sequence[Registration | JobEvent]) -> None:
    batch = Batch(map(outgoing.event, told), lambda: None)
    problem = deliver(settings.hook, "lamplighter snapshot", [batch], _PUBLISH_SECONDS).problem
    if problem is not None:
        raise BrokerError(problem)


def recall(path: Path) -> Told:
    """What the file holds; of one that is missing or damaged, nothing: then all is told again."""
    try:
        raw = json.loads(path.read_bytes())
        return Told(
            registered={str(node): int(since) for node, since in raw["registered"].items()},
            running=tuple(Run(**run) for run in raw["running"]),
            booting=frozenset((int(job), int(at)) for job, at in raw["booting"]),
            over=frozenset((int(job), int(at)) for job, at in raw["over"]),
        )
    except FileNotFoundError:
        return NOTHING
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        structlog.get_logger().warning(
            "chronicle_damaged", path=str(path), error=str(error), remedy="none: it is written anew"
        )
        return NOTHING


def remember(path: Path, told: Told) -> None:
    """Put it in the place of what the file held, whole.

    Raises:
        OSError: it cannot be written.
    """
    content = {
        "registered": dict(told.registered),
        "running": [asdict(run) for run in told.running],
        "booting": sorted(told.booting),
        "over": sorted(told.over),
    }
    put(path, json.dumps(content, separators=(",", ":")).encode())
