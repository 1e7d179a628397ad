"""What an operator asks of nodes travels as what a hook asks: stamped, spooled, published."""

import os
import pwd
import socket
from collections.abc import Sequence

import click
import hostlist

from ops.cli.session import Session, operator
from producers import clock, hook
from producers.call import HookCall, commands, expand
from producers.settings import ConfigError, HookSettings
from schemas import ids
from schemas.commands import Kind, PowerCommand
from schemas.errors import MalformedMessageError
from workers.errors import BrokerError

# People wait longer than slurmctld does.
_PUBLISH_SECONDS = 60.0


def ask(
    session: Session,
    kind: Kind,
    nodes: Sequence[str],
    reason: str | None,
    *,
    image: str | None = None,
) -> list[PowerCommand]:
    """Ask this of nodes, with one generation for all; `image` is what a bake names the image.

    Returns:
        The commands, which the broker has confirmed.

    Raises:
        ConfigError: the clock or the spool cannot be used, or would be shut to the hooks.
        BrokerError: the request is in the spool; the relay sends it once the broker is back.
    """
    settings = session.settings.hook
    refuse_to_shut_the_hooks_out(settings)
    try:
        generation = clock.stamp(settings.state)
    except clock.ClockError as error:
        raise ConfigError(str(error)) from None
    who = f"by {operator()}"
    call = HookCall(
        kind=kind,
        cluster=settings.cluster,
        nodes=hostlist.collect_hostlist(nodes),
        generation=generation,
        correlation_id=ids.correlation_id(),
        expiry=None,  # no Slurm waits for it
        resume_file=None,
        origin=socket.gethostname() or "unknown",
        note=f"{who}: {reason}" if reason else who,
        image=image,
    )
    sent = hook.submit(settings, call, _PUBLISH_SECONDS)
    if sent.open is not None and sent.unsafe is not None:
        raise ConfigError(f"nothing was asked: {sent.unsafe}; and {sent.open}")
    if sent.open is not None:
        raise BrokerError(f"{sent.open}; the request is in {settings.spool}: the relay sends it")
    if sent.unsafe is not None:
        click.echo(f"lamplighter: published, but {sent.unsafe}", err=True)
    return commands(call)


def refuse_to_shut_the_hooks_out(settings: HookSettings) -> None:
    """What root writes into the hooks' folders, SlurmUser could neither read nor change.

    Raises:
        ConfigError: we are root, and a folder is missing or another user's.
    """
    if os.geteuid() != 0:
        return
    for field, folder in (("hooks.state", settings.state), ("hooks.spool", settings.spool)):
        try:
            owner = folder.stat().st_uid
        except FileNotFoundError:
            raise ConfigError(
                f"{field}: {folder} does not exist; make it, owned by SlurmUser"
            ) from None
        if owner != 0:
            raise ConfigError(
                f"{field}: {folder} belongs to {_name(owner)}; run this as that user, for the hooks' sake"
            )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def members(session: Session, text: str) -> list[str]:
    """The nodes that a group's name or a hostlist expression means; a group comes first.

    Raises:
        click.BadParameter: it is neither, or names nodes of no group.
    """
    settings = session.settings
    if text in settings.groups:
        return [node for node, group in settings.nodes.items() if group == text]
    try:
        named = expand(text)
    except MalformedMessageError as error:
        raise click.BadParameter(f"no group, and {error}") from None
    unknown = [node for node in named if node not in settings.nodes]
    if unknown:
        raise click.BadParameter(
            f"{hostlist.collect_hostlist(unknown)}: neither a group nor nodes of one in {settings.path}"
        )
    return named
