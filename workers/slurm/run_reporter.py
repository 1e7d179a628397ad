"""Publishes registrations and job runs that started or ended; a file remembers what was reported."""

import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from producers.message import Batch, Message
from producers.outbox import deliver
from workers.broker import outgoing
from workers.config.settings import Settings
from workers.errors import BrokerError
from workers.process.files import replace_file
from workers.slurm.runs import NOTHING, Reported, SlurmObservation, changes
from workers.slurm.scontrol import Slurm

_PUBLISH_SECONDS = 20.0
_FILE = "reported_runs.json"


def report_changes(settings: Settings, slurm: Slurm) -> int:
    """Query Slurm, publish what is new, and remember it; returns the number of events.

    After a kill in between, the events are published again; the audit records each one once.

    Raises:
        SlurmAwayError: slurmctld does not answer.
        BrokerError: the broker did not accept the events; nothing is remembered.
        OSError: the file cannot be written.
    """
    path = settings.hook.state / _FILE
    before = recall(path)
    at = time.time_ns()
    seen = SlurmObservation(slurm.nodes(), slurm.runs(), at)
    jobdata = settings.slurm.uws_jobdata
    events, after = changes(settings.cluster, seen, settings.nodes.keys(), before, jobdata)
    if events:
        publish(settings, map(outgoing.event, events))
    if after != before:
        remember(path, after)
    return len(events)


def publish(settings: Settings, messages: Iterable[Message]) -> None:
    """Publish all messages, and wait for their confirms.

    Raises:
        BrokerError: the broker did not accept them.
    """
    batch = Batch(messages, lambda: None)
    problem = deliver(settings.hook, "lamplighter snapshot", [batch], _PUBLISH_SECONDS).problem
    if problem is not None:
        raise BrokerError(problem)


def recall(path: Path) -> Reported:
    """The content of the file; if it is missing or damaged, nothing: then all is reported again."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Reported)
    except FileNotFoundError:
        return NOTHING
    except (msgspec.MsgspecError, ValueError) as error:
        remedy = "none: it is written again"
        structlog.get_logger().warning(
            "reported_runs_damaged", path=str(path), error=str(error), remedy=remedy
        )
        return NOTHING


def remember(path: Path, reported: Reported) -> None:
    """Replace the content of the file.

    Raises:
        OSError: it cannot be written.
    """
    replace_file(path, msgspec.json.encode(reported, order="deterministic"))
