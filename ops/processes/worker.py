"""`lamplighter worker NAME` and `lamplighter relay`: one worker, in the foreground."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import TypeAlias

import click

from ops.cli.session import Session, pass_session
from producers.settings import ConfigError, hook_settings
from workers.config.settings import Settings
from workers.process.logs import configure_logs

WORKERS = ("tokens", "power", "audit", "relay", "slurm", "snapshot", "resync", "notify")
# Those of slurmctld's host.
BESIDE_SLURM = ("slurm", "snapshot")
# Set by `lamplighter up`: its process id.
SUPERVISOR = "LAMPLIGHTER_SUPERVISOR"

_MAINS = {
    "power": "workers.power.main",
    "tokens": "workers.tokens.service",
    "audit": "workers.audit.consumer",
    "slurm": "workers.slurm.main",
    "snapshot": "workers.slurm.snapshot_worker",
    "resync": "workers.resync.main",
    "notify": "workers.notify.main",
}
_PR_SET_PDEATHSIG = 1  # prctl(2)

_Main: TypeAlias = Callable[[Settings], int]


@click.command
@click.argument("name", type=click.Choice(WORKERS))
@pass_session
def worker(session: Session, name: str) -> None:
    """Run one worker until SIGTERM."""
    follow_supervisor()
    if name == "relay":
        sys.exit(_relay(session, once=False))
    main: _Main = import_module(_MAINS[name]).main
    sys.exit(main(session.settings))


@click.command
@click.option("--once", is_flag=True, help="Sweep the spool once; exit 1 if something is left.")
@pass_session
def relay(session: Session, *, once: bool) -> None:
    """Send what hooks left in the spool, oldest first, until SIGTERM."""
    sys.exit(_relay(session, once=once))


def _relay(session: Session, *, once: bool) -> int:
    from producers.relay import main  # noqa: PLC0415 - no other command needs it

    if once:
        return main(session.config, once=True)
    with _spool_figures(session):
        return main(session.config, once=False)


def _spool_figures(session: Session) -> AbstractContextManager[None]:
    """The relay's figures: it has none of its own, for what hooks import knows no metrics."""
    try:
        settings = session.settings
    except ConfigError as error:
        hook_settings(session.config)  # of the file the relay needs no more than the hooks do
        click.echo(f"lamplighter: relay: no metrics: {error}", err=True)
        return nullcontext()
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - no other command needs it

    from ops.processes.relay_metrics import SpoolMetrics  # noqa: PLC0415
    from workers.process.metrics_endpoint import serving  # noqa: PLC0415

    configure_logs(settings.log, role="relay", cluster=settings.cluster)
    registry = CollectorRegistry()
    registry.register(SpoolMetrics(settings.hook.spool))
    return serving(settings.metrics, "relay", registry)


def follow_supervisor() -> None:
    """End when the supervisor does, however it ends: two generations of workers help nobody."""
    supervisor = os.environ.pop(SUPERVISOR, None)
    if supervisor is None:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(supervisor):  # it ended before we asked
        sys.exit(0)
