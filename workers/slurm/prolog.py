"""Lets jobs that wait in lamplighter-prolog go on as soon as their nodes are ready.

A thread of the slurm worker. It queries slurmctld only while a job waits, through one scontrol that
keeps running meanwhile. Its failure costs no job more than Slurm's own 30 s timer.
"""

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from math import inf

import structlog

from producers.hosts import expand
from producers.settings import ConfigError
from schemas.errors import MalformedMessageError
from schemas.fields import is_node_name
from workers.config.settings import Settings
from workers.process.runtime import Runtime
from workers.slurm.commands import SlurmAwayError
from workers.slurm.metrics import PrologMetrics
from workers.slurm.nodes import nodes_from
from workers.slurm.prolog_fifos import Arrival, PrologFifos
from workers.slurm.prolog_release import GRACE, PrologJob, Release, has_left, release
from workers.slurm.prolog_slots import default_slots, is_tuned
from workers.slurm.scontrol import Slurm

# Seconds between two readings of the nodes: at least, in relation to a reading's time, at most; for new scripts
# less, but also in relation to it: their jobs' nodes may be up. Without readings, scontrol ends.
_LEAST, _SHARE, _MOST, _SHARE_NEW, _IDLE = 0.3, 10, 1.0, 3, 60.0
# A job is looked at when one of its nodes has changed, since it may have left it to another job: a requeued
# job does not start again while its script waits. Otherwise after so many seconds; so many jobs a second, at once.
_JOB_PACE, _JOBS_A_SECOND, _JOBS_AT_ONCE = 30.0, 2, 20
# Seconds after which the number of slots is found out again, if nobody waits.
_SLOTS_PACE = 60.0
# Seconds for the rest of an answer, of which scontrol prints 4 kB at a time: fewer turns.
_REST = 0.001
# Seconds within which a reading must succeed: otherwise no job waits longer.
_AWAY = 5.0
# Bytes of a list of nodes; a longer one is not sent, and all nodes are read.
_LONGEST = 3000
# Each script is an open file: the part of all that this process may have.
_FILES_SHARE = 2
# A script waits so many seconds for the next line; with many scripts, lines come less often.
_LIMIT, _LINES_A_SECOND = 2, 60
# Seconds for which nobody waits after --release; seconds to the next try after a failure; seconds of a
# turn in which nothing happens.
_CLOSED, _PAUSE, _TURN = 10.0, 5.0, 1.0


class PrologWatcher:
    """Decides for each waiting script when it goes on."""

    def __init__(
        self, settings: Settings, slurm: Slurm, fifos: PrologFifos, metrics: PrologMetrics
    ) -> None:
        self._slurm = slurm
        self._fifos = fifos
        self._metrics = metrics
        self._set_slots = settings.slurm.prolog_slots
        self._slots, self._slots_at = 0, -inf
        self._ceiling = settings.slurm.resume_timeout + GRACE
        self._waiting: dict[int, PrologJob] = {}
        self._since: dict[int, float] = {}
        self._session = slurm.session()
        self._text, self._nodes = "", nodes_from("")
        # the scripts that the last query about nodes, and the query under way, are about; when it was sent
        self._asked: set[int] = set()
        self._looked: set[int] | None = None  # None: it is about nodes
        self._asked_at: float | None = None
        # when each script's job is looked at again
        self._look_at: dict[int, float] = {}
        self._read_at = self._known_at = self._took = 0.0
        self._kept_at = self._closed_until = 0.0
        self._said = 0  # the limit in the last line to all
        self._log = structlog.get_logger()

    def close(self) -> None:
        """End what runs for it; nobody waits then."""
        self._session.close()
        self._metrics.waiting.set(0)

    def turn(self, timeout: float) -> None:
        """Wait for a script, an answer or the next reading, at most `timeout` seconds, and handle it.

        Raises:
            SlurmAwayError: scontrol cannot be run.
        """
        if self._waiting:
            at = self._kept_at + self._limit() / 3
            at = at if self._asked_at is not None else min(at, self._due_at())
            timeout = max(0.0, min(timeout, at - time.monotonic()))
        self._fifos.wait(timeout, self._session.fds)
        # first those that have ended: when slurmctld starts again, they come again
        for fd in self._fifos.ended(self._waiting):
            self._end(fd, Release.LEFT)
            self._slots_at = -inf  # with slurmctld, perhaps
        for arrival in self._fifos.arrivals():
            self._admit(arrival)
        if self._asked_at is not None:
            self._listen(self._asked_at)
        if self._asked_at is None and self._waiting:
            if time.monotonic() >= self._due_at():
                self._ask_for_nodes()
            else:
                self._ask_for_jobs()
        elif not self._waiting and time.monotonic() >= self._read_at + _IDLE:
            self._session.close()
        self._let_go_without_slurm()
        self._keep()
        self._metrics.waiting.set(len(self._waiting))

    def _admit(self, arrival: Arrival) -> None:
        """Let a script wait from now on, or go on at once."""
        now = time.monotonic()
        try:
            nodes = tuple(expand(arrival.hostlist)) if arrival.job_id else ()
            nodes = nodes if all(map(is_node_name, nodes)) else ()
        except MalformedMessageError:
            nodes = ()
        if not arrival.job_id:
            self._closed_until, self._slots_at = now + _CLOSED, -inf
            self._log.info("prolog_released", jobs=len(self._waiting))
            for fd in list(self._waiting):
                self._end(fd, Release.LEFT)
        if nodes and not self._waiting and now >= self._slots_at + _SLOTS_PACE:
            # slurmctld may be another one, or have another environment
            self._slots_at = now
            slots = self._set_slots or default_slots(self._slurm.version(), tuned=is_tuned())
            self._slots = min(slots, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _FILES_SHARE)
            self._metrics.slots.set(self._slots)
        if nodes and now >= self._closed_until and len(self._waiting) < self._slots:
            self._waiting[arrival.fd] = PrologJob(arrival.job_id, nodes, now + self._ceiling)
            self._since[arrival.fd] = now
            self._look_at[arrival.fd] = now + _JOB_PACE
            if self._limit() > self._said:
                self._kept_at = 0.0
            else:
                self._fifos.keep(arrival.fd, self._said)
            return
        if nodes:
            closed = now < self._closed_until
            self._metrics.released(Release.LEFT if closed else Release.FULL)
        self._fifos.let_go(arrival.fd)

    def _due_at(self) -> float:
        """When the nodes are to be read again; earlier if there are scripts that no query was about."""
        if self._waiting.keys() <= self._asked:
            return self._read_at + min(max(_LEAST, _SHARE * self._took), _MOST)
        return self._read_at + min(_SHARE_NEW * self._took, _LEAST)

    def _ask_for_nodes(self) -> None:
        names = sorted({name for job in self._waiting.values() for name in job.nodes})
        wanted = ",".join(names)
        self._asked, self._looked = set(self._waiting), None
        self._ask(f"show node {wanted if len(wanted) < _LONGEST else ''}")

    def _ask_for_jobs(self) -> None:
        """Ask for the jobs that are to be looked at, if there are any."""
        now = time.monotonic()
        due = [fd for fd, at in self._look_at.items() if at <= now][:_JOBS_AT_ONCE]
        if due:
            later = now + max(_JOB_PACE, len(self._waiting) / _JOBS_A_SECOND)
            self._look_at |= dict.fromkeys(due, later)
            self._looked = set(due)
            self._ask("\n".join(f"show job {self._waiting[fd].job_id}" for fd in due))

    def _ask(self, query: str) -> None:
        self._asked_at = time.monotonic()
        self._session.ask(query)

    def _listen(self, asked_at: float) -> None:
        """Take the answer in, if it is there."""
        text, now = self._session.answer(), time.monotonic()
        if text is None and self._session.fds and now - asked_at < _AWAY:
            time.sleep(_REST)
            return
        self._asked_at = None
        if text is None:
            self._read_at = now
            self._session.close()
        elif self._looked is None:
            self._read_at = now
            self._take_nodes(text, asked_at)
        else:
            for fd in self._looked & self._waiting.keys():
                if has_left(self._waiting[fd].job_id, text):
                    self._end(fd, Release.LEFT)

    def _take_nodes(self, text: str, asked_at: float) -> None:
        now = time.monotonic()
        nodes = self._nodes if text == self._text else nodes_from(text)
        if not nodes and "not found" not in text:
            return  # slurmctld is not there
        if text != self._text:
            known, lines = self._nodes, set(self._text.split("\n"))
            self._text, self._nodes = text, nodes
            others = (line for line in text.split("\n") if line not in lines)
            changed = nodes_from("\n".join(others)).keys() & known.keys()
            for fd, job in self._waiting.items():
                if not changed.isdisjoint(job.nodes):
                    self._look_at[fd] = now
        self._known_at, self._took = now, now - asked_at
        for fd in self._asked & self._waiting.keys():
            if why := release(self._waiting[fd], self._nodes, now):
                self._end(fd, why)

    def _let_go_without_slurm(self) -> None:
        """Let those go for whom no reading has succeeded for some time."""
        since = time.monotonic() - _AWAY
        if self._known_at < since:
            for fd in [fd for fd, came in self._since.items() if came < since]:
                self._end(fd, Release.AWAY)

    def _end(self, fd: int, why: Release) -> None:
        job, waited = self._waiting.pop(fd), time.monotonic() - self._since.pop(fd)
        self._fifos.let_go(fd)
        # the next script may have its number
        self._asked.discard(fd)
        self._look_at.pop(fd)
        if self._looked is not None:
            self._looked.discard(fd)
        self._metrics.released(why)
        self._log.info("prolog_job_released", job=job.job_id, why=str(why), waited=round(waited, 3))

    def _keep(self) -> None:
        """Write the next line into each script's FIFO, in time before its limit."""
        now, limit = time.monotonic(), self._limit()
        if now - self._kept_at >= limit / 3:
            self._kept_at, self._said = now, limit
            for fd in self._waiting:
                self._fifos.keep(fd, limit)

    def _limit(self) -> int:
        """Seconds within which a script gets its next line."""
        return min(max(_LIMIT, 3 * len(self._waiting) // _LINES_A_SECOND), 99)


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

    def tell(problem: str | None) -> None:
        run.trouble = lambda: problem

    while folder is not None and not run.stop.is_set():
        try:
            with PrologFifos(folder) as fifos:
                watcher = PrologWatcher(run.settings, slurm, fifos, metrics)
                with closing(watcher):
                    log.info("prolog_watched", folder=str(folder))
                    tell(None)
                    while not run.stop.is_set():
                        watcher.turn(_TURN)
                        fifos.require_place()
        except (ConfigError, SlurmAwayError, OSError) as error:
            log.warning("prolog_not_watched", error=str(error))
            tell(f"jobs wait for Slurm's timer: {error}")
        except Exception:  # the thread must not end while the worker lives
            log.exception("prolog_not_watched")
        run.stop.wait(_PAUSE)
