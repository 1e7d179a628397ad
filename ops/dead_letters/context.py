"""Reads, without changing anything, what the stores, Slurm and the cloud know about a dead letter.

A source that gives no answer is only named: an operator must be able to read a dead letter while
other parts of the installation do not work.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from ops.audit.request_history import request_history
from ops.audit.timeline import TimelineStep
from ops.cli.errors import STORE_ERRORS
from ops.cli.session import Session
from ops.dead_letters.describe import LetterContext, is_stale
from ops.dead_letters.letter import Letter
from ops.nodes.node_state import NodeStatus, node_statuses
from producers.settings import ConfigError
from schemas.commands import PowerCommand
from schemas.errors import MalformedMessageError
from workers.audit.queries import request_records
from workers.broker import topology
from workers.broker.blocking import broker_errors
from workers.config.slurm_location import is_installed
from workers.errors import LamplighterError, NotDeclaredError
from workers.slurm.nodes import JobState, NodeState
from workers.slurm.scontrol import Slurm

_CLOUD_SECONDS = 10.0


def look_up_context(
    session: Session, command: PowerCommand | None, *, whole: bool = True
) -> LetterContext:
    """The context of a request; unless `whole`, from the state store only."""
    if command is None:
        return LetterContext()
    unavailable: list[str] = []
    settings = session.settings
    known = LetterContext(
        configured=command.node in settings.nodes,
        dry_run=settings.is_dry(command.node),
        ahead=command.generation - time.time_ns() - int(settings.power.clock_ahead * 1e9),
        store=_stored_nodes(session, unavailable).get(command.node),
    )
    if not whole:
        return replace(known, unavailable=tuple(unavailable))
    slurm, jobs = _slurm(session, command, unavailable)
    return replace(
        known,
        timeline=_timeline(session, command, unavailable),
        slurm=slurm,
        jobs=jobs,
        cloud=_cloud(session, command, known.store, unavailable),
        unavailable=tuple(unavailable),
    )


def stale_letters(
    session: Session, letters: Iterable[Letter], *, required: bool = False
) -> list[Letter]:
    """The stale ones of these letters; none if the state store is unavailable, unless `required`.

    Raises:
        StoreMissingError, sqlalchemy.exc.SQLAlchemyError: the store is unavailable, and `required`.
    """
    if required:
        with session.reading("state"):
            pass
    known = _stored_nodes(session, [])
    return [x for x in letters if x.command and is_stale(x.command, known.get(x.command.node))]


def _stored_nodes(session: Session, unavailable: list[str]) -> Mapping[str, NodeStatus]:
    """The nodes that had a request; none if the state store is unavailable."""
    found: list[NodeStatus] = []
    with _noting("the state store", unavailable), session.reading("state") as connection:
        found = node_statuses(connection, session.settings)
    return {status.node: status for status in found if status.generation is not None}


@contextmanager
def _noting(source: str, unavailable: list[str]) -> Iterator[None]:
    """Note a store that is unavailable, by the type of its error."""
    try:
        yield
    except (*STORE_ERRORS, MalformedMessageError) as error:
        unavailable.append(f"from {source}: {type(error).__name__}")


def _timeline(
    session: Session, command: PowerCommand, unavailable: list[str]
) -> tuple[TimelineStep, ...]:
    steps: list[TimelineStep] = []
    with _noting("the audit log", unavailable), session.reading("audit") as connection:
        if entries := request_records(connection, command.id):
            steps = request_history(entries).timeline
    return tuple(steps)


def _slurm(
    session: Session, command: PowerCommand, unavailable: list[str]
) -> tuple[NodeState | None, Mapping[int, JobState] | None]:
    """The node and the waiting jobs, if Slurm's commands are installed on this host."""
    if not is_installed(session.settings):
        unavailable.append("from Slurm: its commands and slurm.conf are not on this host")
        return None, None
    try:
        slurm = Slurm(session.settings)
        jobs = slurm.jobs([job.job_id for job in command.jobs]) if command.jobs else {}
        return slurm.nodes().get(command.node), jobs
    except (LamplighterError, ConfigError) as error:
        unavailable.append(f"from Slurm: {error}")
        return None, None


def _cloud(
    session: Session, command: PowerCommand, store: NodeStatus | None, unavailable: list[str]
) -> str | None:
    """The state of the server, from one small call with a token of the token service."""
    settings = session.settings
    name = settings.nodes.get(command.node)
    if name is None:
        unavailable.append(f"from a cloud: no group of the configuration has {command.node}")
        return None
    cloud = settings.groups[name].cloud
    if store is None or store.server_id is None:
        unavailable.append(f"from {cloud}: the store has no server of {command.node}")
        return None
    # openstacksdk loads slowly, and no other command of this group needs it
    from workers.clouds.client import Cloud  # noqa: PLC0415
    from workers.tokens.plugin import TokenServicePlugin  # noqa: PLC0415

    try:
        with session.channel() as channel, broker_errors():
            answer = channel.queue_declare(queue=topology.TOKEN_QUEUE, passive=True)
        if not answer.method.consumer_count:
            unavailable.append(f"from {cloud}: no token service is running")
            return None
        with session.token_client() as client:
            plugin = TokenServicePlugin(client, cloud, settings.clouds[cloud].auth_url)
            api = Cloud(settings.clouds[cloud], plugin, _CLOUD_SECONDS)
            try:
                server = api.show_server(store.server_id)
            finally:
                api.close()
    except NotDeclaredError as error:
        unavailable.append(f"from {cloud}: {error}: run lamplighter topology apply")
        return None
    except LamplighterError as error:
        unavailable.append(f"from {cloud}: {error}")
        return None
    if server is None:
        return f"{cloud} has no server {store.server_id}"
    states = [server.status, *([server.task] if server.task else [])]
    return f"{cloud}: {', '.join(states)}{f' ({server.fault})' if server.fault else ''}"
