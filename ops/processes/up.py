"""`lamplighter up`: all workers of a small installation, each in a process of its own."""

import os
import signal
import sys
import threading

import click
import structlog
from prometheus_client import CollectorRegistry

from ops.cli.session import Session, pass_session
from ops.processes.metrics import SupervisorMetrics
from ops.processes.supervisor import Program, Supervisor
from ops.processes.worker import BESIDE_SLURM, SUPERVISOR, WORKERS
from workers.config.settings import Settings
from workers.config.slurm_location import is_installed
from workers.process.logs import configure_logs
from workers.process.metrics_endpoint import serve_metrics


@click.command
@click.option(
    "--only",
    "names",
    multiple=True,
    metavar="WORKER",
    type=click.Choice(WORKERS),
    help=f"Run only this worker; may be repeated: {', '.join(WORKERS)}.",
)
@click.option("--console", "with_console", is_flag=True, help="Also run the web console.")
@pass_session
def up(session: Session, *, names: tuple[str, ...], with_console: bool) -> None:
    """Run all workers until SIGTERM, and restart those that end.

    Without --only, workers that have nothing to do on this host do not run.
    """
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
    commands = {name: ["worker", name] for name in names or _workers_here(settings)}
    if with_console:
        commands["console"] = ["console"]
    programs = [
        Program(name, (sys.executable, "-m", "ops.cli", *command), environment)
        for name, command in commands.items()
    ]
    registry = CollectorRegistry()
    metrics = SupervisorMetrics(registry)
    with serve_metrics(settings.metrics, "up", registry):
        Supervisor(programs, structlog.get_logger(), metrics.started).run(stop)


def _workers_here(settings: Settings) -> list[str]:
    """All workers, without those that have nothing to do on this host.

    Workers that run Slurm's commands run only where Slurm is installed, on the host of slurmctld.
    """
    here = is_installed(settings)
    wanted = {
        "slurm": here if settings.slurm.feedback is None else settings.slurm.feedback,
        "snapshot": here and settings.resync.enabled is not False,
        "resync": here if settings.resync.enabled is None else settings.resync.enabled,
        "notify": bool(settings.webhooks),
    }
    if not here:
        remedy = f"on its host, run `lamplighter worker` with {' and '.join(BESIDE_SLURM)}"
        structlog.get_logger().info("slurm_not_installed", remedy=remedy)
    return [name for name in WORKERS if wanted.get(name, True)]
