"""Publishes registrations, job runs, and how UWS jobs wait and end; files remember what was reported."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import sqlalchemy as sa
import structlog

from producers.disk import UnusualFileError, read_file
from producers.message import Batch, Message
from producers.outbox import deliver
from schemas.jobs import JobEvent
from schemas.registrations import Registration
from workers.broker import outgoing
from workers.config.settings import Settings
from workers.errors import BrokerError
from workers.process.files import replace_file
from workers.slurm import node_memory
from workers.slurm.node_memory import NodeMemory
from workers.slurm.runs import NOTHING, Reported, SlurmObservation, changes
from workers.slurm.scontrol import Slurm
from workers.slurm.uws_jobs import ReportedUwsJobs, UwsObservation, shown_jobs, uws_changes
from workers.store.database import STORE_ERRORS, reading, store_problem

_PUBLISH_SECONDS = 20.0
_FILE = "reported_runs.json"
_UWS_FILE = "reported_uws_jobs.json"
T = TypeVar("T", Reported, ReportedUwsJobs)


def report_changes(settings: Settings, slurm: Slurm) -> None:
    """Query Slurm, publish what is new, and remember it.

    After a kill in between, the events are published again; the audit records each one once.

    Raises:
        SlurmAwayError: slurmctld does not answer.
        BrokerError: the broker did not accept the events; nothing is remembered.
        OSError: the file cannot be written.
    """
    path = settings.hook.state / _FILE
    before = recall(path, NOTHING)
    at = time.time_ns()
    seen = SlurmObservation(slurm.nodes(), slurm.runs(), at)
    jobdata = settings.slurm.uws_jobdata
    events, after = changes(settings.cluster, seen, settings.nodes.keys(), before, jobdata)
    _report(settings, path, events, before, after)


def report_uws_jobs(settings: Settings, slurm: Slurm, store: sa.Engine) -> None:
    """As `report_changes`, for the jobs of the UWS service, if one is configured."""
    if (jobdata := settings.slurm.uws_jobdata) is None:
        return
    path = settings.hook.state / _UWS_FILE
    before = recall(path, ReportedUwsJobs())
    returning = {memory.node: memory for memory in _returning(store, settings.cluster)}
    nodes = slurm.nodes() if returning else {}
    shown = shown_jobs(slurm.all_jobs().values(), jobdata)
    seen = UwsObservation(shown, nodes, returning, time.time_ns())
    events, after = uws_changes(settings.cluster, seen, before)
    _report(settings, path, events, before, after)


def _report(
    settings: Settings, path: Path, events: Sequence[Registration | JobEvent], before: T, after: T
) -> None:
    if events:
        publish(settings, map(outgoing.event, events))
    if after != before:
        remember(path, after)


def _returning(store: sa.Engine, cluster: str) -> list[NodeMemory]:
    """The nodes in cool-down; none while the store is away: the ends of jobs do not wait for it."""
    try:
        with reading(store) as connection:
            return node_memory.returning(connection, cluster)
    except STORE_ERRORS as error:
        structlog.get_logger().warning("store_away", error=store_problem(error))
        return []


def publish(settings: Settings, messages: Iterable[Message]) -> None:
    """Publish all messages, and wait for their confirms; BrokerError if they were not accepted."""
    batch = Batch(messages, lambda: None)
    problem = deliver(settings.hook, "lamplighter snapshot", [batch], _PUBLISH_SECONDS).problem
    if problem is not None:
        raise BrokerError(problem)


def recall(path: Path, nothing: T) -> T:
    """The content of the file; if it is missing or damaged, `nothing`: then all is reported again."""
    try:
        return msgspec.json.decode(read_file(path), type=type(nothing))
    except FileNotFoundError:
        return nothing
    except (msgspec.MsgspecError, ValueError, RecursionError, UnusualFileError) as error:
        structlog.get_logger().warning(
            "reported_runs_damaged", path=str(path), error=str(error), remedy="none: written again"
        )
        return nothing


def remember(path: Path, reported: Reported | ReportedUwsJobs) -> None:
    """Replace the content of the file; OSError if it cannot be written."""
    replace_file(path, msgspec.json.encode(reported, order="deterministic"))
