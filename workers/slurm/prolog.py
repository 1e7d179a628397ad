"""Lets jobs that wait in lamplighter-prolog go on as soon as their nodes are ready.

A thread of the slurm worker. It queries slurmctld only while a job waits: once a second, and more
often when a boot may end soon. Its failure costs no job more than Slurm's own 30 s timer.
"""

import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from producers.hosts import expand
from producers.settings import ConfigError
from schemas.errors import MalformedMessageError
from workers.config.settings import Settings
from workers.process.runtime import Runtime
from workers.slurm.commands import SlurmAwayError
from workers.slurm.metrics import PrologMetrics
from workers.slurm.prolog_fifos import Arrival, PrologFifos
from workers.slurm.prolog_release import PrologJob, Release, release
from workers.slurm.scontrol import Slurm

# Seconds between two readings: usually, when a boot may end soon, and in relation to a reading's time.
_SLOW, _FAST, _SHARE = 1.0, 0.2, 4
# A script waits so many seconds for the next line; with many scripts, lines come less often.
_LIMIT, _LINES_A_SECOND = 3, 40
# Seconds that a job may wait longer than Slurm's ResumeTimeout; seconds for which nobody waits after
# --release; seconds to the next try after a failure.
_GRACE, _CLOSED, _PAUSE = 10, 10.0, 5.0
# A boot may end soon after this part of the fastest of the last boots, less some seconds.
_SOON, _MARGIN, _BOOTS = 0.8, 2.0, 50


class PrologWatcher:
    """Decides for each waiting script when it goes on.

    Args:
        settings: [slurm] prolog, prolog_slots and resume_timeout.
        slurm: slurmctld.
        fifos: the scripts' FIFOs.
        metrics: count what happens.
    """

    def __init__(
        self, settings: Settings, slurm: Slurm, fifos: PrologFifos, metrics: PrologMetrics
    ) -> None:
        self._slurm = slurm
        self._fifos = fifos
        self._metrics = metrics
        self._slots = settings.slurm.prolog_slots or default_slots(slurm)
        self._ceiling = settings.slurm.resume_timeout + _GRACE
        self._waiting: dict[int, PrologJob] = {}
        self._since: dict[int, float] = {}
        self._boots: deque[float] = deque(maxlen=_BOOTS)
        self._read_at = self._kept_at = self._closed_until = self._took = 0.0
        self._log = structlog.get_logger()

    def turn(self, timeout: float) -> None:
        """Wait for a script or the next reading, at most `timeout` seconds, and handle it.

        Raises:
            SlurmAwayError: slurmctld does not answer; the scripts wait no longer than their limit.
        """
        due = self._read_at + self._interval() - time.monotonic() if self._waiting else timeout
        self._fifos.wait(max(0.0, min(timeout, due)))
        new = [self._admit(arrival) for arrival in self._fifos.arrivals()]
        for fd in self._fifos.ended(self._waiting):
            self._end(fd, Release.LEFT)
        if any(new) or (self._waiting and time.monotonic() >= self._read_at + self._interval()):
            self._read()
        self._keep()
        self._metrics.waiting.set(len(self._waiting))

    def _admit(self, arrival: Arrival) -> bool:
        """Whether a script waits from now on."""
        now = time.monotonic()
        try:
            nodes = tuple(expand(arrival.hostlist)) if arrival.job_id else ()
        except MalformedMessageError:
            nodes = ()
        if not arrival.job_id:
            self._closed_until = now + _CLOSED
            self._log.info("prolog_released", jobs=len(self._waiting))
            for fd in list(self._waiting):
                self._end(fd, Release.LEFT)
        if nodes and now >= self._closed_until and len(self._waiting) < self._slots:
            self._waiting[arrival.fd] = PrologJob(arrival.job_id, nodes, now + self._ceiling)
            self._since[arrival.fd] = now
            self._kept_at = 0.0
            return True
        if nodes:
            self._metrics.released(Release.FULL)
        self._fifos.let_go(arrival.fd)
        return False

    def _read(self) -> None:
        began = time.monotonic()
        states = self._slurm.jobs(job.job_id for job in self._waiting.values())
        nodes = self._slurm.nodes({name for job in self._waiting.values() for name in job.nodes})
        self._read_at = time.monotonic()
        self._took = self._read_at - began
        for fd, job in list(self._waiting.items()):
            if why := release(job, states.get(job.job_id), nodes, self._read_at):
                self._end(fd, why)

    def _end(self, fd: int, why: Release) -> None:
        job, waited = self._waiting.pop(fd), time.monotonic() - self._since.pop(fd)
        self._fifos.let_go(fd)
        self._metrics.released(why)
        if why is Release.READY and waited > _SLOW:
            self._boots.append(waited)
        self._log.info("prolog_job_released", job=job.job_id, why=str(why), waited=round(waited, 3))

    def _keep(self) -> None:
        """Write the next line into each script's FIFO, in time before its limit."""
        now = time.monotonic()
        limit = max(_LIMIT, 3 * len(self._waiting) // _LINES_A_SECOND)
        if now - self._kept_at >= limit / 3:
            self._kept_at = now
            for fd in self._waiting:
                self._fifos.keep(fd, min(limit, 99))

    def _interval(self) -> float:
        """Seconds between two readings."""
        first = min(self._boots, default=0.0) * _SOON - _MARGIN
        soon = any(time.monotonic() - since >= first for since in self._since.values())
        return max(_FAST, _SHARE * self._took) if soon else _SLOW


def default_slots(slurm: Slurm) -> int:
    """The number of scripts that may wait without harm to slurmctld.

    Its shutdown with many waiting scripts can crash slurmscriptd, and then hangs (before 26.05,
    measured: from 20 scripts on with 22.05, from 60 on with 24.11). glibc's setting
    pthread.stack_cache_size in slurmctld's environment prevents it.

    Raises:
        SlurmAwayError: scontrol cannot be run.
    """
    found = re.search(r"(\d+)\.(\d+)", slurm.version())
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    if version >= (26, 5) or _is_tuned():
        return 1000
    return 40 if version >= (23, 11) else 10


def _is_tuned() -> bool:
    """Whether a slurmctld on this host has the setting; other users' processes are not readable."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text() == "slurmctld\n":
                return b"pthread.stack_cache_size=" in (process / "environ").read_bytes()
        except OSError:
            continue
    return False


@contextmanager
def prolog_watcher(run: Runtime, slurm: Slurm) -> Iterator[None]:
    """Watch in a thread while the block runs, if [slurm] prolog names a folder."""
    if run.settings.slurm.prolog is None:
        yield
        return
    metrics = PrologMetrics(run.registry)
    thread = threading.Thread(target=_watch, args=(run, slurm, metrics), name="prolog")
    thread.start()
    try:
        yield
    finally:
        run.stop.set()
        thread.join()


def _watch(run: Runtime, slurm: Slurm, metrics: PrologMetrics) -> None:
    """Watch until the process stops; after a failure, all scripts go on, and it starts again."""
    folder = run.settings.slurm.prolog
    log = structlog.get_logger()
    while folder is not None and not run.stop.is_set():
        try:
            with PrologFifos(folder) as fifos:
                watcher = PrologWatcher(run.settings, slurm, fifos, metrics)
                log.info("prolog_watched", folder=str(folder))
                while not run.stop.is_set():
                    watcher.turn(_SLOW)
        except (ConfigError, SlurmAwayError, OSError) as error:
            log.warning("prolog_not_watched", error=str(error))
        run.stop.wait(_PAUSE)
