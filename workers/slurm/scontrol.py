"""Queries and updates slurmctld."""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence

import hostlist
import structlog

from workers.config.settings import Settings
from workers.slurm.commands import SlurmCommands, SlurmRefusedError
from workers.slurm.job_origins import Origin, origin_format, origins_from
from workers.slurm.nodes import (
    HAVE_NODES,
    JOB_FORMAT,
    LEFT_BY_NODE,
    JobState,
    NodeState,
    jobs_from,
    nodes_from,
)
from workers.slurm.runs import ENDED_STATES, RUN_FORMAT, Run, runs_from
from workers.store.chunks import chunks

# For one command; 500 of the longest node names still fit into one argument (128 KiB, execve(2)).
_NODES_PER_COMMAND = 500
_JOBS_PER_COMMAND = 200


class Slurm:
    """The slurmctld of one cluster, queried and updated as the current user.

    Every method raises SlurmAwayError if slurmctld does not answer; an update may have been applied
    in part then.

    Args:
        settings: [slurm] names the folders of the commands and of slurm.conf.

    Raises:
        ConfigError: the commands are not installed here.
    """

    def __init__(self, settings: Settings) -> None:
        self._commands = SlurmCommands(settings)
        self._log = structlog.get_logger()

    def version(self) -> str:
        """The version, as `slurm-wlm 22.05.8` or `slurm 24.11.5`; it needs a slurm.conf."""
        return self._commands.query("scontrol", "--version").strip()

    def nodes(self) -> Mapping[str, NodeState]:
        """All nodes, by name."""
        # --all: 22.05 hides powered-down nodes without PrivateData=cloud
        return nodes_from(self._commands.query("scontrol", "--all", "--oneliner", "show", "node"))

    def jobs(self, job_ids: Iterable[int]) -> Mapping[int, JobState]:
        """The states of these jobs; jobs that Slurm no longer knows are omitted."""
        found: dict[int, JobState] = {}
        for output in self._describe_jobs(job_ids, JOB_FORMAT):
            found |= jobs_from(output)
        return found

    def running(self) -> Mapping[int, JobState]:
        """The jobs that have nodes."""
        return jobs_from(self._list_jobs(HAVE_NODES, JOB_FORMAT))

    def runs(self) -> list[Run]:
        """The runs of jobs that have nodes, and of jobs that ended recently (MinJobAge)."""
        return runs_from(self._list_jobs((*HAVE_NODES, *ENDED_STATES), RUN_FORMAT))

    def jobs_left_by(self, names: Iterable[str]) -> Mapping[int, JobState]:
        """The jobs that have ended, or are ending, because one of their nodes has failed.

        Args:
            names: of nodes that Slurm knows; each job had at least one of them.
        """
        found: dict[int, JobState] = {}
        states = f"--states={','.join(sorted(LEFT_BY_NODE))}"
        for chunk in chunks(sorted(names), _NODES_PER_COMMAND):
            nodes = f"--nodelist={hostlist.collect_hostlist(chunk)}"
            arguments = ("--noheader", states, nodes, f"--format={JOB_FORMAT}")
            try:
                found |= jobs_from(self._commands.run("squeue", *arguments))
            except SlurmRefusedError as error:
                self._log.warning("slurm_refused", what="squeue", error=str(error), remedy=None)
        return found

    def origins(self, job_ids: Iterable[int]) -> Mapping[int, Origin]:
        """The origins of these jobs; jobs that Slurm no longer knows are omitted."""
        mark = f"|{secrets.token_hex(16)}|"
        found: dict[int, Origin] = {}
        for output in self._describe_jobs(job_ids, origin_format(mark)):
            found |= origins_from(output, mark)
        return found

    def update_nodes(self, names: Iterable[str], *arguments: str) -> frozenset[str]:
        """Apply the same update to many nodes; returns the nodes that Slurm refused."""
        refused: set[str] = set()
        for chunk in chunks(sorted(names), _NODES_PER_COMMAND):
            nodes = hostlist.collect_hostlist(chunk)
            refused |= self._update("NodeName", chunk, nodes, arguments)
        return frozenset(refused)

    def set_addresses(self, addresses: Mapping[str, tuple[str, str]]) -> frozenset[str]:
        """Set each node's address and, unless empty, host name; returns the nodes that Slurm refused."""
        for named in (False, True):
            names = sorted(node for node, place in addresses.items() if bool(place[1]) is named)
            for chunk in chunks(names, _NODES_PER_COMMAND):
                arguments = _addresses(*zip(*(addresses[node] for node in chunk), strict=True))
                self._try_update("NodeName", ",".join(chunk), arguments)
        # Slurm matches the lists by position; if it sorts nodes differently, they would be mixed up
        refused: set[str] = set()
        states = self.nodes()
        for node, (address, hostname) in addresses.items():
            now = states.get(node)
            if now and (now.address, now.hostname) != (address, hostname or now.hostname):
                refused |= self._update("NodeName", [node], node, _addresses([address], [hostname]))
        return frozenset(refused)

    def start_now(self, job_ids: Iterable[int]) -> None:
        """Let requeued jobs start at once; jobs that have started or ended stay as they are."""
        for chunk in chunks([str(int(job_id)) for job_id in sorted(job_ids)], _JOBS_PER_COMMAND):
            self._update("JobId", chunk, ",".join(chunk), ("StartTime=now",))

    def _list_jobs(self, states: Sequence[str], shape: str) -> str:
        arguments = ("--noheader", "--all", f"--states={','.join(states)}", f"--format={shape}")
        return self._commands.query("squeue", *arguments)

    def _describe_jobs(self, job_ids: Iterable[int], shape: str) -> Iterator[str]:
        for chunk in chunks(sorted(job_ids), _JOBS_PER_COMMAND):
            jobs = ",".join(str(int(job_id)) for job_id in chunk)
            arguments = ("--noheader", "--states=all", f"--jobs={jobs}", f"--format={shape}")
            try:
                yield self._commands.run("squeue", *arguments)
            except SlurmRefusedError:
                continue  # Slurm knows none of them

    def _update(
        self, entity: str, names: Sequence[str], combined: str, arguments: Sequence[str]
    ) -> set[str]:
        """Update all at once; if Slurm refuses, update each alone. Returns the refused ones."""
        problem = self._try_update(entity, combined, arguments)
        if problem is None:
            return set()
        if len(names) > 1:
            return set().union(*(self._update(entity, [name], name, arguments) for name in names))
        remedy = "run this worker as SlurmUser" if "denied" in problem.lower() else None
        what = f"{entity}={names[0]}"
        self._log.warning("slurm_refused", what=what, error=problem, remedy=remedy)
        return set(names)

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
