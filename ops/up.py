"""`lamplighter up`: all workers of a small site, each in a process of its own."""

import os
import signal
import sys
import threading

import click
import structlog
from prometheus_client import CollectorRegistry

from ops.session import Session, pass_session
from ops.supervisor import Program, Supervisor
from ops.worker import SUPERVISOR, WORKERS
from workers.logs import configure_logs
from workers.metrics.endpoint import serving
from workers.metrics.up import UpFigures
from workers.settings import Settings
from workers.slurm.scontrol import is_installed


@click.command
@click.option(
    "--only",
    "names",
    multiple=True,
    type=click.Choice(WORKERS),
    help="Only this worker; may be repeated.",
)
@pass_session
def up(session: Session, *, names: tuple[str, ...]) -> None:
    """Run all workers until SIGTERM; those that end are started again."""
    settings = session.settings
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
        Program(name, (sys.executable, "-m", "ops.cli", "worker", name), environment)
        for name in names or _all_here(settings)
    ]
    registry = CollectorRegistry()
    figures = UpFigures(registry)
    with serving(settings.metrics, "up", registry):
        Supervisor(programs, structlog.get_logger(), figures.started).run(stop)


def _all_here(settings: Settings) -> list[str]:
    """All workers, the one that tells Slurm only where it can or must: on slurmctld's host."""
    feedback = settings.slurm.feedback
    if feedback is None:
        feedback = is_installed(settings)
        if not feedback:
            structlog.get_logger().info("no_slurm_here", remedy="run `lamplighter worker slurm`")
    return [name for name in WORKERS if name != "slurm" or feedback]
