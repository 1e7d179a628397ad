"""`lamplighter console` serves the web console; `console operator` adds an operator."""

import errno
import ipaddress
import os
import signal
import socket
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import click
import structlog
import uvicorn
from prometheus_client import CollectorRegistry

from ops.cli.session import Session, pass_session
from ops.cli.terminal import print_line
from ops.console.app import Console
from ops.console.auth import Authenticator
from ops.console.connections import BoundedConnection
from ops.console.dead_letters import DeadLetterPages
from ops.console.hold_forms import act_on_holds
from ops.console.live import Live
from ops.console.operators import (
    digest,
    is_valid_name,
    logouts_file,
    new_token,
    read_logouts,
    read_operators,
    write_logout,
)
from ops.console.pages import Pages
from ops.console.reader import SiteReader
from ops.console.render import environment, parts
from ops.console.request_guard import host_names
from producers.disk import unusable
from producers.settings import ConfigError
from schemas.roles import Role
from workers.process.files import append_line
from workers.process.logs import configure_logs
from workers.process.metrics_endpoint import serve_metrics


@click.group(invoke_without_command=True)
@click.pass_context
def console(ctx: click.Context) -> None:
    """Serve the web console until SIGTERM.

    It listens on loopback and is read only, unless [console] configures otherwise.
    """
    if ctx.invoked_subcommand is None:
        serve((ctx.find_object(Session) or Session(None)).of_role(Role.CONSOLE))


@console.command
@click.argument("name")
@pass_session
def operator(session: Session, name: str) -> None:
    """Add operator NAME, and print the token to log in with.

    The token is printed once; console.operators_file holds its digest.
    """
    path = session.settings.console.operators_file
    if path is None:
        raise ConfigError('console.operators_file is not set: write operators_file = "operators"')
    if not is_valid_name(name):
        raise click.BadParameter("use only letters, digits and . _ @ -", param_hint="NAME")
    token = new_token()
    is_new = not path.exists()
    if not is_new:
        read_operators(path)  # raises if the console would not accept the file
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if is_new and os.geteuid() == 0:
                give_to_console(session, descriptor)
            append_line(path, descriptor, f"{name} sha256:{digest(token)}")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(unusable("console.operators_file", path, error)) from None
    print_line(f"{name} logs in with: {token}")
    print_line(f"the token is shown only once; to revoke it, delete its line from {path}")


def give_to_console(session: Session, descriptor: int) -> None:
    """Let the user that runs the console own a file: whose password at the broker is this user's."""
    _, password = session.of_role(Role.CONSOLE).settings.broker.password_source
    if password is not None:
        with suppress(OSError):  # there is none on this host
            owner = password.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


@console.command
@click.argument("name", required=False)
@click.option("--all", "everybody", is_flag=True, help="Log out everybody.")
@pass_session
def logout(session: Session, name: str | None, *, everybody: bool) -> None:
    """End the sessions of operator NAME in the console.

    With --all, those of everybody.
    """
    path = session.settings.console.operators_file
    if path is None:
        raise ConfigError("console.operators_file is not set: nobody can log in")
    if (name is None) != everybody:
        raise click.UsageError("give either NAME or --all")
    if name is not None and not is_valid_name(name):
        raise click.BadParameter("use only letters, digits and . _ @ -", param_hint="NAME")
    try:
        write_logout(path, name, time.time_ns())
    except OSError as error:
        raise ConfigError(unusable("console.operators_file", logouts_file(path), error)) from None
    print_line(f"logged out: {name or 'everybody'}")


class _Server(uvicorn.Server):
    """Ends the live streams first, then waits for the connections to close."""

    def __init__(self, config: uvicorn.Config, live: Live) -> None:
        super().__init__(config)
        self._live = live

    def handle_exit(self, sig: int, frame: object) -> None:
        self._live.stop()
        super().handle_exit(sig, frame)  # type: ignore[arg-type]


def serve(session: Session) -> int:
    """Serve the console until SIGTERM; returns the exit code."""
    settings = session.settings
    configure_logs(settings.log, role="console", cluster=settings.cluster)
    host, port = settings.console.address()
    local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    file = settings.console.operators_file
    auth = Authenticator(
        settings.console,
        _operators(file),
        local=local,
        logouts=partial(read_logouts, file) if file else dict,
    )
    if auth.login_to_read and not auth.can_login and settings.console.proxy is None:
        raise ConfigError(
            "console: reading needs a login, but no user can log in: set operators_file, or listen on "
            "127.0.0.1"
        )
    templates = environment()
    reader = SiteReader(session)
    live = Live(reader.read, parts(templates))
    letters, holds = DeadLetterPages(session), partial(act_on_holds, session)
    app = Console(templates, live, auth, Pages(session), letters, holds, settings.cluster)
    config = uvicorn.Config(
        app.asgi(host_names((host, port), settings.console.hosts)),
        http=BoundedConnection,
        log_config=None,
        access_log=False,
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the caught signal again after its shutdown: ignore it
        signal.signal(number, lambda *_: None)
    with (
        _bind(host, port) as bound,
        serve_metrics(settings.metrics, "console", CollectorRegistry()),
    ):
        live.start()
        structlog.get_logger().info("console_started", url=f"http://{settings.console.listen}/")
        try:
            _Server(config, live).run(sockets=[bound])
        finally:
            live.stop()
            reader.close()
    return 0


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        remedy = "name an address of this host, and a port above 1023"
        if error.errno == errno.EADDRINUSE:
            remedy = "stop the process that listens there, or choose another port"
        raise ConfigError(f"console.listen: {host}:{port}: {error.strerror}; {remedy}") from None


def _operators(path: Path | None) -> "partial[dict[str, str]] | None":
    if path is None:
        return None
    read_operators(path)
    return partial(read_operators, path)
