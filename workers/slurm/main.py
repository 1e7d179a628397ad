"""`lamplighter worker slurm`: on slurmctld's host, as SlurmUser, without any cloud's credential."""

import re

import structlog

from producers.amqp import connection_parameters
from workers.broker import topology
from workers.broker.link import Link
from workers.config.settings import Settings
from workers.process.runtime import Runtime, declare_topology, runtime
from workers.slurm.feedback import Feedback
from workers.slurm.job_events import JobEvents
from workers.slurm.scontrol import Slurm, SlurmAwayError

PREFETCH = 1000
# POWER_DOWN_FORCE and the names of the power states came with 21.08; tested from here to there.
_OLDEST, _TESTED = (21, 8), ((22, 5), (24, 11))


def main(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code.

    Raises:
        ConfigError: Slurm's commands are not here.
        sqlalchemy.exc.OperationalError: the store cannot be reached at the start.
    """
    slurm = Slurm(settings)
    with runtime("slurm", settings) as run:
        declare_topology(run)
        _say_version(slurm)
        _serve(run, slurm)
    return 0


def _serve(run: Runtime, slurm: Slurm) -> None:
    link = Link(
        connection_parameters(run.settings.broker, run.name),
        {topology.FEEDBACK_QUEUE: PREFETCH},
        on_delivery=lambda delivery: feedback.deliver(delivery),  # noqa: PLW0108 - made below
        on_up=lambda connection: feedback.connected(connection),  # noqa: PLW0108 - made below
    )
    jobdata = run.settings.slurm.uws_jobdata
    herald = JobEvents(link, slurm, run.settings.cluster, jobdata)
    feedback = Feedback(run, slurm, link, herald)
    link.start()
    try:
        while not run.stop.is_set():
            feedback.turn()
    finally:
        link.stop()


def _say_version(slurm: Slurm) -> None:
    log = structlog.get_logger()
    try:
        said = slurm.version()
    except SlurmAwayError as error:
        log.warning("slurm_version_unknown", error=str(error))
        return
    found = re.search(r"(\d+)\.(\d+)", said)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    if version < _OLDEST:
        remedy = "it knows no POWER_DOWN_FORCE (21.08): failed boots are left to ResumeTimeout"
        log.error("slurm_too_old", version=said, remedy=remedy)
    elif not _TESTED[0] <= version <= _TESTED[1]:
        log.warning("slurm_untested", version=said, tested="22.05 to 24.11: states may differ")
    else:
        log.info("slurm_version", version=said)
