"""Sends an operator's request the way a hook sends it: with a generation, by the spool and the broker."""

import os
import socket
import time
from collections.abc import Collection, Sequence

import click
import hostlist

from ops.cli.session import Session, operator
from ops.cli.terminal import cut, warn
from producers import clock, hook
from producers.call import HookCall, commands, own_time
from producers.disk import user_name
from producers.hosts import expand
from producers.settings import ConfigError, HookSettings
from schemas import ids
from schemas.commands import Kind, PowerCommand
from schemas.errors import MalformedMessageError
from schemas.roles import Role
from workers.errors import BrokerError

# An operator can wait longer than slurmctld can.
_PUBLISH_SECONDS = 60.0


def submit(
    session: Session,
    kind: Kind,
    nodes: Sequence[str],
    reason: str | None,
    *,
    image: str | None = None,
) -> list[PowerCommand]:
    """Send one request per node, with one generation for all; `image` is the new image of a bake.

    Returns:
        The commands, which the broker has confirmed.

    Raises:
        ClockError: the clock is unusable.
        ConfigError: the spool is unusable, or root would make it unusable to the hooks.
        BrokerError: the request is in the spool; the relay sends it when the broker is available.
    """
    settings = session.settings.hook
    check_hook_directories(settings)
    called = time.time_ns()
    generation = clock.stamp(settings.state)
    who = f"by {operator()}"
    call = HookCall(
        kind=kind,
        cluster=settings.cluster,
        nodes=hostlist.collect_hostlist(nodes),
        generation=generation,
        correlation_id=ids.correlation_id(),
        expiry=None,  # no Slurm timeout applies
        resume_file=None,
        origin=socket.gethostname() or "unknown",
        note=f"{who}: {reason}" if reason else who,
        image=image,
        called=own_time(called, generation),
    )
    sent = hook.submit(settings, call, _PUBLISH_SECONDS)
    if sent.open is not None and sent.unsafe is not None:
        raise ConfigError(f"the request was not sent: {sent.unsafe}; and {sent.open}")
    if sent.open is not None:
        raise BrokerError(
            f"{sent.open}; the request is in {settings.own_spool}: {sent_by(settings)}"
        )
    if sent.unsafe is not None:
        warn(f"published, but {sent.unsafe}")
    return commands(call)


def sent_by(settings: HookSettings) -> str:
    """Who sends what an operator's command had to leave in the spool."""
    if settings.own_spool == settings.spool:
        return "the relay sends it"
    if settings.broker.role is Role.CONSOLE:
        return "the next such action on the console sends it"
    return "the next such command sends it, or lamplighter relay --operators"


def check_hook_directories(settings: HookSettings) -> None:
    """Refuse, with a ConfigError, to write files as root that SlurmUser could not read or change.

    SlurmUser runs the hooks: as root, a directory must exist and belong to root.
    """
    if os.geteuid() != 0:
        return
    for field, folder in (("hooks.state", settings.state), ("hooks.spool", settings.spool)):
        try:
            owner = folder.stat().st_uid
        except FileNotFoundError:
            raise ConfigError(
                f"{field}: {folder} does not exist; create it, owned by SlurmUser"
            ) from None
        # with a user for each role, operators have a spool of their own, and what root creates in
        # the clock's folder belongs to the folder's owner
        if owner != 0 and settings.broker.users is None:
            raise ConfigError(
                f"{field}: {folder} belongs to {user_name(owner)}; run this command as that user,"
                " so that the hooks can use the files"
            )


def resolve_nodes(session: Session, text: str, also: Collection[str] = ()) -> list[str]:
    """The nodes of a group name or of a hostlist expression.

    Raises:
        click.BadParameter: the text is neither, or both; or a node is neither in any group nor in `also`.
    """
    settings = session.settings
    if text in settings.groups:
        members = [node for node, group in settings.nodes.items() if group == text]
        if text in settings.nodes and members != [text]:
            raise click.BadParameter(
                f"{text} is a group and a node: rename the group in {settings.path}, or write its nodes: "
                f"{cut(hostlist.collect_hostlist(members))}"
            )
        return members
    try:
        named = expand(text)
    except MalformedMessageError as error:
        raise click.BadParameter(f"not a group, and {error}") from None
    unknown = [node for node in named if node not in settings.nodes and node not in also]
    if unknown:
        raise click.BadParameter(
            f"{hostlist.collect_hostlist(unknown)}: neither a group nor nodes of a group in {settings.path}"
        )
    return named
