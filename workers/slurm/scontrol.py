"""Queries and updates slurmctld."""

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

import structlog

from producers.batched import batched
from schemas.addresses import node_addr
from schemas.fields import is_node_name, shown
from schemas.snapshot import PowerSaving
from workers.config.settings import Settings
from workers.slurm.commands import SlurmAwayError, SlurmCommands, SlurmRefusedError
from workers.slurm.nodes import (
    HAVE_NODES,
    LEFT_BY_NODE,
    JobState,
    NodeState,
    job_format,
    jobs_from,
    nodes_from,
)
from workers.slurm.power_saving import power_saving_from
from workers.slurm.runs import ENDED_STATES
from workers.slurm.scontrol_session import ScontrolSession

# For one command; 500 of the longest node names still fit into one argument (128 KiB, execve(2)). They
# are listed one by one: 22.05 reads brackets only at the end of a name, and refuses the whole list.
_NODES_PER_COMMAND = 500
_JOBS_PER_COMMAND = 200
# What was read longer ago, in seconds, is read again: the process or slurmctld was stopped meanwhile.
_FRESH = 5.0
_READINGS = 3

# Reads these nodes again, and returns those whose update is still right.
StillDue: TypeAlias = Callable[[Collection[str]], Collection[str]]


class Slurm:
    """The slurmctld of one cluster, queried and updated as the current user.

    Every method raises SlurmAwayError if slurmctld does not answer; an update may have been applied
    in part then.

    [slurm] names the folders of the commands and of slurm.conf.

    Raises:
        ConfigError: the commands are not installed here.
    """

    def __init__(self, settings: Settings) -> None:
        self._commands = SlurmCommands(settings)
        self._log = structlog.get_logger()

    def session(self) -> ScontrolSession:
        """One scontrol for many queries; to be closed."""
        return ScontrolSession(self._commands)

    def version(self) -> str:
        """The version, as `slurm-wlm 22.05.8` or `slurm 24.11.5`; it needs a slurm.conf."""
        return self._commands.query("scontrol", "--version").strip()

    def nodes(self, names: Collection[str] | None = None) -> Mapping[str, NodeState]:
        """All nodes, or these, by name; nodes that Slurm does not know are omitted."""
        # --all: 22.05 hides powered-down nodes without PrivateData=cloud
        command = ("scontrol", "--all", "--oneliner", "show", "node")
        if names is None or len(names) > _NODES_PER_COMMAND:
            return nodes_from(self._commands.query(*command))
        if not names:
            return {}
        try:
            return nodes_from(self._commands.run(*command, ",".join(sorted(names))))
        except SlurmRefusedError:  # it does not know one of them
            return self.nodes()

    def power_saving(self) -> PowerSaving | None:
        """Slurm's settings of power saving; None if they cannot be read."""
        config = self._commands.query("scontrol", "show", "config")
        partitions = ""
        with suppress(SlurmRefusedError):  # there is none
            partitions = self._commands.run("scontrol", "--all", "--oneliner", "show", "partition")
        return power_saving_from(config, partitions, self.nodes)

    def jobs(self, job_ids: Iterable[int]) -> Mapping[int, JobState]:
        """These jobs; jobs that Slurm no longer knows are omitted."""
        found: dict[int, JobState] = {}
        for chunk in batched(sorted(job_ids), _JOBS_PER_COMMAND):
            with suppress(SlurmRefusedError):  # Slurm knows none of them
                found |= self._squeue(
                    self._commands.run, "--states=all", f"--jobs={','.join(map(str, chunk))}"
                )
        return found

    def all_jobs(self) -> Mapping[int, JobState]:
        """All jobs that Slurm shows."""
        return self._squeue(self._commands.query, "--all", "--states=all")

    def running(self) -> Mapping[int, JobState]:
        """The jobs that have nodes."""
        return self._squeue(self._commands.query, "--all", f"--states={','.join(HAVE_NODES)}")

    def runs(self) -> Sequence[JobState]:
        """The jobs that have nodes, and those that ended recently (MinJobAge)."""
        states = f"--states={','.join((*HAVE_NODES, *ENDED_STATES))}"
        return list(self._squeue(self._commands.query, "--all", states).values())

    def jobs_left_by(self, names: Iterable[str]) -> Mapping[int, JobState]:
        """The jobs that have ended, or are ending, because one of their nodes has failed.

        `names` are of nodes that Slurm knows; each job had at least one of them.
        """
        found: dict[int, JobState] = {}
        states = f"--states={','.join(sorted(LEFT_BY_NODE))}"
        for chunk in batched(sorted(names), _NODES_PER_COMMAND):
            try:
                found |= self._squeue(
                    self._commands.run, "--all", states, f"--nodelist={','.join(chunk)}"
                )
            except SlurmRefusedError as error:
                self._log.warning("slurm_refused", what="squeue", error=str(error), remedy=None)
        return found

    def update_nodes(
        self, names: Iterable[str], *arguments: str, still_due: StillDue
    ) -> frozenset[str]:
        """Apply the same update to many nodes; returns the nodes that Slurm refused.

        `still_due` is called right before each command, and only the nodes that it returns are updated:
        an update that was right a moment ago could end a job now.
        """
        refused: set[str] = set()
        for chunk in batched(sorted(names), _NODES_PER_COMMAND):
            refused |= self._update_nodes(chunk, arguments, still_due)
        return frozenset(refused)

    def set_addresses(
        self, addresses: Mapping[str, tuple[str, str]], still_due: StillDue
    ) -> frozenset[str]:
        """Set each node's address and, unless empty, host name; returns the nodes that Slurm refused.

        What is not an IP address, or not a host name, never becomes an argument of scontrol: it is
        refused here. `still_due`: as in `update_nodes`; a wrong address costs the jobs of a running
        node.
        """
        refused = {
            node
            for node, (address, hostname) in addresses.items()
            if node_addr(address) != address or (hostname and not is_node_name(hostname))
        }
        for node in sorted(refused):
            self._log_refusal(f"NodeName={node}", f"not an address: {shown(addresses[node])}")
        addresses = {node: place for node, place in addresses.items() if node not in refused}
        for named in (False, True):
            names = sorted(node for node, place in addresses.items() if bool(place[1]) is named)
            for chunk in batched(names, _NODES_PER_COMMAND):
                if due := self._read_again(chunk, still_due):
                    arguments = _addresses(*zip(*(addresses[node] for node in due), strict=True))
                    self._try_update("NodeName", ",".join(due), arguments)
        # Slurm matches the lists by position; if it sorts nodes differently, they would be mixed up
        states = self.nodes(addresses.keys())
        for node, (address, hostname) in addresses.items():
            now = states.get(node)
            if now and (now.address, now.hostname) != (address, hostname or now.hostname):
                arguments = _addresses([address], [hostname])
                refused |= self._update_nodes([node], arguments, still_due)
        return frozenset(refused)

    def start_now(self, job_ids: Iterable[int]) -> None:
        """Let requeued jobs start at once; jobs that have started or ended stay as they are."""
        for chunk in batched([str(job_id) for job_id in sorted(job_ids)], _JOBS_PER_COMMAND):
            self._start(chunk)

    def _squeue(self, execute: Callable[..., str], *arguments: str) -> Mapping[int, JobState]:
        """The jobs that squeue shows; `execute` runs it."""
        mark = f"|{secrets.token_hex(16)}|"
        shape = f"--Format={job_format(mark)}"
        return jobs_from(execute("squeue", "--noheader", *arguments, shape), mark)

    def _start(self, jobs: Sequence[str]) -> None:
        """Start jobs at once; if Slurm refuses, each alone."""
        problem = self._try_update("JobId", ",".join(jobs), ("StartTime=now",))
        if problem is not None and len(jobs) > 1:
            for job in jobs:
                self._start([job])
        elif problem is not None:
            self._log_refusal(f"JobId={jobs[0]}", problem)

    def _update_nodes(
        self, names: Sequence[str], arguments: Sequence[str], still_due: StillDue
    ) -> set[str]:
        """Update all at once; if Slurm refuses, each alone. Returns the refused ones."""
        due = self._read_again(names, still_due)
        if not due:
            return set()
        problem = self._try_update("NodeName", ",".join(due), arguments)
        if problem is None:
            return set()
        if len(due) > 1:
            return set().union(*(self._update_nodes([n], arguments, still_due) for n in due))
        self._log_refusal(f"NodeName={due[0]}", problem)
        return set(due)

    def _read_again(self, names: Sequence[str], still_due: StillDue) -> list[str]:
        """The nodes whose update is still right, by a reading that has just begun.

        Raises:
            SlurmAwayError: each reading takes too long.
        """
        for _ in range(_READINGS):
            # this clock also runs while the machine is suspended
            began = time.clock_gettime(time.CLOCK_BOOTTIME)
            due = sorted(still_due(names))
            if time.clock_gettime(time.CLOCK_BOOTTIME) - began <= _FRESH:
                return due
        raise SlurmAwayError(f"reading the nodes takes more than {_FRESH:g} s")

    def _log_refusal(self, what: str, problem: str) -> None:
        remedy = "run this worker as SlurmUser" if "denied" in problem.lower() else None
        self._log.warning("slurm_refused", what=what, error=problem, remedy=remedy)

    def _try_update(self, entity: str, combined: str, arguments: Sequence[str]) -> str | None:
        """Update; returns why Slurm refused, or None."""
        try:
            self._commands.run("scontrol", "update", f"{entity}={combined}", *arguments)
        except SlurmRefusedError as error:
            return str(error)
        return None


def _addresses(addresses: Sequence[str], hostnames: Sequence[str]) -> list[str]:
    arguments = [f"NodeAddr={','.join(addresses)}"]
    return [*arguments, f"NodeHostName={','.join(hostnames)}"] if all(hostnames) else arguments
