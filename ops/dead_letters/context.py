"""Asks, read-only, what is known around a dead letter: store, audit, Slurm, cloud.

Whoever does not answer is only named: a letter must be explainable while things are broken.
"""

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from ops.cli.errors import StoreMissingError
from ops.cli.session import Session
from ops.dead_letters.describe import LetterContext, StoredNode
from ops.history.request import request_history
from ops.history.timeline import TimelineStep
from producers.settings import ConfigError
from schemas.commands import PowerCommand
from schemas.errors import MalformedMessageError
from workers.audit.queries import story
from workers.broker import topology
from workers.config.slurm_location import is_installed
from workers.errors import LamplighterError
from workers.slurm.nodes import JobState, NodeState
from workers.slurm.scontrol import Slurm
from workers.store.tables import nodes

_CLOUD_SECONDS = 10.0
_PER_QUERY = 500
_STORE_TROUBLES = (sa.exc.SQLAlchemyError, StoreMissingError)


def around(session: Session, command: PowerCommand | None, *, whole: bool = True) -> LetterContext:
    """All that answers; unless `whole`, the state store alone is asked."""
    if command is None:
        return LetterContext()
    silent: list[str] = []
    store = stored_nodes(session, [command.node], silent).get(command.node)
    if not whole:
        return LetterContext(store=store, silent=tuple(silent))
    slurm, jobs = _slurm(session, command, silent)
    return LetterContext(
        store=store,
        story=_story(session, command, silent),
        slurm=slurm,
        jobs=jobs,
        cloud=_cloud(session, command, store, silent),
        silent=tuple(silent),
    )


def stored_nodes(
    session: Session, names: Iterable[str], silent: list[str]
) -> Mapping[str, StoredNode]:
    """How these nodes stand in the store; none where it cannot be asked."""
    found: dict[str, StoredNode] = {}
    wanted = sorted(set(names))
    columns = (
        nodes.c.node,
        *(nodes.c[name] for name in StoredNode.__dataclass_fields__),
    )
    try:
        with session.reading("state") as connection:
            for start in range(0, len(wanted), _PER_QUERY):
                query = sa.select(*columns).where(
                    nodes.c.cluster == session.settings.cluster,
                    nodes.c.node.in_(wanted[start : start + _PER_QUERY]),
                )
                found |= {row[0]: StoredNode(*row[1:]) for row in connection.execute(query)}
    except _STORE_TROUBLES as error:
        silent.append(f"by the state store: {type(error).__name__}")
    return found


def _story(session: Session, command: PowerCommand, silent: list[str]) -> tuple[TimelineStep, ...]:
    try:
        with session.reading("audit") as connection:
            entries = story(connection, command.id)
            return tuple(request_history(entries).timeline) if entries else ()
    except (*_STORE_TROUBLES, MalformedMessageError) as error:
        silent.append(f"by the audit: {type(error).__name__}")
        return ()


def _slurm(
    session: Session, command: PowerCommand, silent: list[str]
) -> tuple[NodeState | None, Mapping[int, JobState] | None]:
    """The node and the waiting jobs, where Slurm's commands are at hand."""
    if not is_installed(session.settings):
        silent.append("by Slurm: its commands and slurm.conf are not on this host")
        return None, None
    try:
        slurm = Slurm(session.settings)
        jobs = slurm.jobs([job.job_id for job in command.jobs]) if command.jobs else {}
        return slurm.nodes().get(command.node), jobs
    except (LamplighterError, ConfigError) as error:
        silent.append(f"by Slurm: {error}")
        return None, None


def _cloud(
    session: Session, command: PowerCommand, store: StoredNode | None, silent: list[str]
) -> str | None:
    """The server, by one small call; a token comes from the token service, as for the workers."""
    settings = session.settings
    name = settings.nodes.get(command.node)
    if name is None:
        silent.append(f"by a cloud: no group of the configuration has {command.node}")
        return None
    cloud = settings.groups[name].cloud
    if store is None or store.server_id is None:
        silent.append(f"by {cloud}: the store knows no server of {command.node}")
        return None
    with session.channel() as channel:
        answer = channel.queue_declare(queue=topology.TOKEN_QUEUE, passive=True)
    if not answer.method.consumer_count:
        silent.append(f"by {cloud}: no token service is there")
        return None
    # openstacksdk takes a while to load, and no other command of this group needs it
    from workers.clouds.client import Cloud  # noqa: PLC0415
    from workers.tokens.plugin import TokenServicePlugin  # noqa: PLC0415

    try:
        with session.token_client() as client:
            plugin = TokenServicePlugin(client, cloud, settings.clouds[cloud].auth_url)
            api = Cloud(settings.clouds[cloud], plugin, _CLOUD_SECONDS)
            try:
                server = api.show_server(store.server_id)
            finally:
                api.close()
    except LamplighterError as error:
        silent.append(f"by {cloud}: {error}")
        return None
    if server is None:
        return f"{cloud} has no server {store.server_id}"
    words = [server.status, *([server.task] if server.task else [])]
    return f"{cloud}: {', '.join(words)}{f' ({server.fault})' if server.fault else ''}"
