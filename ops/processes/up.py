"""`lamplighter up`: all workers of a small site, each in a process of its own."""

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from importlib.util import find_spec

import click
import structlog
from prometheus_client import CollectorRegistry

from ops.cli.session import Session, pass_session
from ops.processes.metrics import SupervisorMetrics
from ops.processes.supervisor import Program, Supervisor
from ops.processes.worker import BESIDE_SLURM, SUPERVISOR, WORKERS
from producers.settings import ConfigError
from workers.config.settings import Settings
from workers.config.slurm_location import is_installed
from workers.process.logs import configure_logs
from workers.process.metrics_endpoint import serving


@click.command
@click.option(
    "--only",
    "names",
    multiple=True,
    type=click.Choice(WORKERS),
    help="Only this worker; may be repeated.",
)
@click.option("--console", "with_console", is_flag=True, help="The console too, as [console] says.")
@pass_session
def up(session: Session, *, names: tuple[str, ...], with_console: bool) -> None:
    """Run all workers until SIGTERM; those that end are started again."""
    settings = session.settings
    if with_console and find_spec("starlette") is None:
        raise ConfigError("--console: starlette is missing: install lamplighter[console]")
    configure_logs(settings.log, role="up", cluster=settings.cluster)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    environment = {
        **os.environ,
        "LAMPLIGHTER_CONFIG": str(settings.path.absolute()),
        SUPERVISOR: str(os.getpid()),
    }
    programs = [
        Program(name, (sys.executable, "-m", "ops.cli.main", *command), environment)
        for name, command in _commands(names or _all_here(settings), with_console=with_console)
    ]
    registry = CollectorRegistry()
    figures = SupervisorMetrics(registry)
    with serving(settings.metrics, "up", registry):
        Supervisor(programs, structlog.get_logger(), figures.started).run(stop)


def _commands(names: Iterable[str], *, with_console: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in names:
        yield name, ("worker", name)
    if with_console:
        yield "console", ("console",)


def _all_here(settings: Settings) -> list[str]:
    """All workers but those that have nothing to do here.

    Those that ask or tell Slurm run where they can or must: on slurmctld's host.
    """
    here = is_installed(settings)
    wanted = {
        "slurm": _or_if(settings.slurm.feedback, here),
        "snapshot": here and settings.resync.enabled is not False,
        "resync": _or_if(settings.resync.enabled, here),
        "notify": bool(settings.webhooks),
    }
    if not here:
        remedy = f"there, run `lamplighter worker` with {' and '.join(BESIDE_SLURM)}"
        structlog.get_logger().info("no_slurm_here", remedy=remedy)
    return [name for name in WORKERS if wanted.get(name, True)]


def _or_if(chosen: bool | None, here: bool) -> bool:  # noqa: FBT001 - a setting and its default
    return here if chosen is None else chosen
