"""`lamplighter worker slurm`: on slurmctld's host, as SlurmUser, without credentials of any cloud."""

import structlog

from workers.broker import topology
from workers.broker.batches import Batches
from workers.config.settings import Settings
from workers.process.runtime import Runtime, declare_topology, runtime
from workers.slurm.commands import SlurmAwayError
from workers.slurm.feedback import Feedback
from workers.slurm.prolog import prolog_watcher
from workers.slurm.prolog_slots import version_in
from workers.slurm.scontrol import Slurm

PREFETCH = 1000
BATCH = 500
BATCH_SECONDS = 0.05
# POWER_DOWN_FORCE and the names of the power states exist since 21.08; tested versions: first, last.
_OLDEST, _TESTED = (21, 8), ((22, 5), (24, 11))


def main(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code.

    Raises:
        ConfigError: Slurm's commands are not installed here.
        sqlalchemy.exc.OperationalError: the store cannot be reached at the start.
    """
    slurm = Slurm(settings)
    with runtime("slurm", settings) as run:
        declare_topology(run)
        _log_version(slurm)
        _serve(run, slurm)
    return 0


def _serve(run: Runtime, slurm: Slurm) -> None:
    batches = Batches(BATCH, BATCH_SECONDS)
    link = run.open_link({topology.FEEDBACK_QUEUE: PREFETCH}, batches.add, batches.reset)
    feedback = Feedback(run, slurm, link, batches)
    link.start()
    try:
        with prolog_watcher(run, slurm):
            while run.stop.next_turn():
                feedback.turn()
    finally:
        link.stop()


def _log_version(slurm: Slurm) -> None:
    log = structlog.get_logger()
    try:
        text = slurm.version()
    except SlurmAwayError as error:
        log.warning("slurm_version_unknown", error=str(error))
        return
    version = version_in(text)
    if version < _OLDEST:
        remedy = "it lacks POWER_DOWN_FORCE (21.08): failed boots are left to ResumeTimeout"
        log.error("slurm_too_old", version=text, remedy=remedy)
    elif not _TESTED[0] <= version <= _TESTED[1]:
        log.warning("slurm_untested", version=text, tested="22.05 to 24.11: states may differ")
    else:
        log.info("slurm_version", version=text)
