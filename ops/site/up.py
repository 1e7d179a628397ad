"""`lamplighter up`: all workers of a small installation, each in a process of its own."""

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path

import click
import structlog
from prometheus_client import CollectorRegistry

from ops.cli.main import end
from ops.cli.session import Session, pass_session
from ops.site.worker import BESIDE_SLURM, KINDS, WORKERS, run_worker
from producers.settings import ConfigError
from schemas.roles import Role
from workers.config.settings import Settings
from workers.config.slurm_location import is_installed
from workers.process.logs import configure_logs
from workers.process.metrics_endpoint import endpoint_address, serve_metrics
from workers.process.stop import Stop
from workers.process.supervisor import Program, Supervisor, Tell
from workers.process.supervisor_metrics import SupervisorMetrics


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
    stop = Stop()
    stop.set_at_signals()
    os.environ["LAMPLIGHTER_CONFIG"] = str(settings.path.absolute())
    workers = names or _workers_here(settings)
    modules = {name: KINDS[name].module for name in workers}
    if with_console:
        modules["console"] = "ops.console.command"
    for module in modules.values():
        import_module(module)
    sessions = _Sessions(settings.path.absolute(), tuple(modules))
    metrics = SupervisorMetrics(tuple(modules))
    programs = [_program(name, sessions) for name in modules]
    if endpoint_address(settings.metrics, "up", os.environ) is not None:
        serve = partial(_serve_metrics, settings, metrics)
        programs.append(Program("metrics", "lamplighter up: metrics", serve))

    def on_start(name: str) -> None:
        metrics.started(name)
        sessions.started(name)

    Supervisor(programs, structlog.get_logger(), on_start).run(stop)


class _Sessions:
    """The session of each program. At first its settings have been read: all processes share them.

    For a restart they are read again, because the operator may have changed them.
    """

    def __init__(self, config: Path, names: Sequence[str]) -> None:
        self.config = config
        self._read = {name: Session(config, Role(name)) for name in names}
        self._started: set[str] = set()
        for session in self._read.values():
            with suppress(ConfigError):  # the program reports it
                _ = session.settings

    def of(self, name: str) -> Session:
        """The session for a program that starts."""
        return self._read.get(name) or Session(self.config, Role(name))

    def started(self, name: str) -> None:
        """Note that a program starts."""
        if name in self._started:
            self._read.pop(name, None)
        self._started.add(name)


def _program(name: str, sessions: _Sessions) -> Program:
    def call() -> int:
        session = sessions.of(name)
        if name == "console":
            code: int = import_module("ops.console.command").serve(session)
            return code
        return run_worker(name, session)

    words = name if name == "console" else f"worker {name}"
    title = f"lamplighter --config {sessions.config} {words}"
    return Program(name, title, partial(end, call))


def _serve_metrics(settings: Settings, metrics: SupervisorMetrics, _tell: Tell) -> None:
    """Serve the metrics of `up` until SIGTERM; in a process of its own, because it has threads."""
    registry = CollectorRegistry()
    registry.register(metrics)
    with serve_metrics(settings.metrics, "up", registry, os.getppid):
        signal.pause()


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
