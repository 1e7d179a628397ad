"""`lamplighter worker NAME` and `lamplighter relay`: one worker, in the foreground."""

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module

import click

from ops.cli.session import Session, pass_session
from ops.cli.terminal import warn
from producers.settings import ConfigError, hook_settings
from schemas.roles import Role
from workers.process.logs import configure_logs


@dataclass(frozen=True, slots=True)
class WorkerKind:
    """A worker: its line in the help, what it does and needs, and the module with its `main`."""

    summary: str
    details: str
    module: str


KINDS = {
    "tokens": WorkerKind(
        "Get Keystone tokens for the other workers.",
        "Logs in to the clouds and renews the tokens. Only this worker reads the clouds' credentials.",
        "workers.tokens.service",
    ),
    "power": WorkerKind(
        "Power nodes on and off, create and delete servers.",
        "Carries out the requests of hooks and operators in the clouds. Needs the tokens worker.",
        "workers.power.main",
    ),
    "audit": WorkerKind(
        "Write every event to the audit log.",
        "Also serves the metrics of the whole installation.",
        "workers.audit.consumer",
    ),
    "relay": WorkerKind(
        "Publish the requests in the hooks' spool.",
        "Hooks write to the spool while the broker is unavailable. Runs where the hooks run.",
        "producers.relay",
    ),
    "slurm": WorkerKind(
        "Report outcomes to Slurm.",
        "Takes failed nodes out of service for some time. Runs on the host of slurmctld, as SlurmUser.",
        "workers.slurm.main",
    ),
    "snapshot": WorkerKind(
        "Publish Slurm's node states at an interval.",
        "The resync worker needs these snapshots. Runs on the host of slurmctld, as SlurmUser.",
        "workers.slurm.snapshot_worker",
    ),
    "resync": WorkerKind(
        "Repair differences from what Slurm wants.",
        "Compares Slurm's snapshots with the servers in the clouds, and requests the repairs.",
        "workers.resync.main",
    ),
    "notify": WorkerKind(
        "Send events to webhooks.",
        "Sends the events that each [[notify.webhook]] selects until its receiver accepts them.",
        "workers.notify.main",
    ),
}
WORKERS = tuple(KINDS)
# These run on the host of slurmctld.
BESIDE_SLURM = ("slurm", "snapshot")


def _command(name: str, kind: WorkerKind) -> click.Command:
    @pass_session
    def run(session: Session) -> None:
        sys.exit(run_worker(name, session))

    text = f"{kind.summary}\n\n{kind.details}\n\nRuns until SIGTERM."
    return click.Command(name, callback=run, help=text, short_help=kind.summary)


def run_worker(name: str, session: Session) -> int:
    """Run a worker until SIGTERM; returns the exit code."""
    if name == "relay":
        return _relay(session, once=False)
    code: int = import_module(KINDS[name].module).main(session.of_role(Role(name)).settings)
    return code


worker = click.Group(
    "worker",
    commands=[_command(name, kind) for name, kind in KINDS.items()],
    help="Run one worker in the foreground until SIGTERM.",
)


@click.command
@click.option("--once", is_flag=True, help="Publish once; exit 1 if the spool is not empty then.")
@click.option(
    "--operators",
    is_flag=True,
    help="Publish what operators' commands left, with the operator's broker user.",
)
@pass_session
def relay(session: Session, *, once: bool, operators: bool) -> None:
    """Publish the requests in the hooks' spool, oldest first, until SIGTERM."""
    sys.exit(_relay(session, once=once, role=Role.OPERATOR if operators else Role.RELAY))


def _relay(session: Session, *, once: bool, role: Role = Role.RELAY) -> int:
    from producers.relay import main  # noqa: PLC0415 - no other command needs it

    if once or role is not Role.RELAY:
        return main(session.config, once=once, role=role)
    with _spool_metrics(session):
        return main(session.config, once=False)


def _spool_metrics(session: Session) -> AbstractContextManager[str | None]:
    """Serve the relay's metrics; producers.relay has none, because hooks must import few libraries."""
    try:
        settings = session.settings
    except ConfigError as error:
        hook_settings(session.config)  # the relay needs only what the hooks need of the file
        warn(f"relay: no metrics: {error}")
        return nullcontext()
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - no other command needs it

    from workers.process.metrics_endpoint import serve_metrics  # noqa: PLC0415
    from workers.process.supervisor_metrics import SpoolMetrics  # noqa: PLC0415

    configure_logs(settings.log, role="relay", cluster=settings.cluster)
    registry = CollectorRegistry()
    registry.register(SpoolMetrics(settings.hook.spool))
    return serve_metrics(settings.metrics, "relay", registry)
