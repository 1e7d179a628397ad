"""Collects the evidence: logs and files, Slurm's commands, the cloud's control API, our commands."""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import hostlist
import msgspec
import requests

from storm.evidence import (
    Beats,
    Command,
    DeadLetter,
    Evidence,
    HookCall,
    PoweredOn,
    QueueSeen,
    ServerSeen,
    Step,
)
from storm.faults.carrier import Faults
from storm.jobs import Jobs
from storm.site import Site
from tests.testbed.cluster import VHOST

# slurmctld's words for an update of a node: first the reason, then the state.
_REASON = re.compile(
    r"^\[(?P<at>[^\]]+)\] update_node: node (?P<node>\S+) reason set to: lamplighter"
)
_DOWN = re.compile(
    r"^\[(?P<at>[^\]]+)\] (?:update_node: node (?P<one>\S+) state set to DOWN"
    r"|powering down node (?P<other>\S+))"
)
_AT_ONCE = 0.5
_SUSPENDING = re.compile(
    r"^\[(?P<at>[^\]]+)\] POWER: power_save: (?:pid \d+ )?suspending nodes (?P<nodes>\S+)"
)
_STARTED = re.compile(r"^\[(?P<at>[^\]]+)\] slurmctld version \S+ started on cluster")
# A job can be 7, an array's task 7_1(9), a part of a heterogeneous one 7+1(8).
_GAVE_UP = re.compile(
    r"(?P<cancelled>REQUEST_KILL_JOB) JobId=(?P<one>[\d_]+)"
    r"|_job_complete: JobId=(?P<other>[\d_]+)\S* (?P<status>W(?:EXITSTATUS [1-9]|TERMSIG )\d*)"
    r"|(?P<limit>Time limit exhausted) for JobId=(?P<third>[\d_]+)"
)
_REQUEUED = re.compile(r"^\[(?P<at>[^\]]+)\] \S+\s+_job_requeue_op: JobId=(?P<job>[\d_]+)")
# As Python writes it; as our logs do, in JSON; as Python ends when it cannot go on; what it cannot raise;
# and a worker that a signal has ended which says that it was wrong (SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV).
_TRACEBACK = re.compile(
    r'Traceback \(most recent call last\)|"exception": ?(?:\[\{|")|Fatal Python error'
    r"|^Exception ignored |^Exception in thread |was never (?:retrieved|awaited)"
    r'|"code": -(?:4|6|7|8|11)\b'
)
_COMMAND = re.compile(r"^(\d+\.\d{3}) (\d+\.\d{3}) (.+): -?\d+$")


def hook_calls(lines: Iterable[str]) -> Iterator[HookCall]:
    """The calls in the caller's record; see storm/site.py."""
    begun: dict[str, tuple[float, str, str]] = {}
    for line in lines:
        pid, what, at, *words = line.split()
        if what == "begin":
            if pid in begun:
                yield _call(*begun[pid])
            begun[pid] = float(at), words[0], words[1]
        elif pid in begun:
            yield _call(*begun.pop(pid), int(words[0]), float(at))
    for call in begun.values():
        yield _call(*call)


def _call(
    began: float, kind: str, nodes: str, status: int | None = None, ended: float | None = None
) -> HookCall:
    return HookCall(kind, tuple(hostlist.expand_hostlist(nodes)), began, status, ended)


def steps(lines: Iterable[str]) -> Iterator[Step]:
    """The steps of requests in the JSON lines of `lamplighter audit export`.

    The sender that the broker vouches for tells a hook's requests from others.
    """
    for line in lines:
        event = json.loads(line)
        prefix, _, transition = event["type"].removesuffix(".v1").rpartition(".")
        if prefix != "lamplighter.node.request":
            continue
        data = event["data"]
        yield Step(
            request_id=data["request_id"],
            round=data["round"],
            transition=transition,
            kind=data["kind"],
            node=event["subject"],
            time=datetime.fromisoformat(event["time"]).timestamp(),
            origin=_origin(data),
            error=(data.get("cause") or {}).get("error"),
            asked=int(event.get("generation", 0)) / 1e9,
            server=data.get("server_id"),
        )


def _origin(data: dict[str, str | None]) -> str | None:
    sender = data.get("sender")
    if sender is None:
        return None
    role = sender.rpartition("-")[2]
    return "hook" if role == "relay" else role


def beats(folder: Path) -> Iterator[Beats]:
    """The runs of tasks; see storm/jobs.py."""
    for path in sorted(folder.iterdir()):
        lines = [line.split() for line in path.read_text().splitlines()]
        if not lines:
            continue
        job, node, *_ = path.name.split(".")
        ends = [word for word, _ in lines if word in {"end", "term"}]
        times = [float(at) for _, at in lines]
        yield Beats(job, node, times[0], times[-1], ends[0] if ends else None)


def set_down(log: str) -> Iterator[tuple[str, float]]:
    """The nodes that were set or powered down for a reason of Lamplighter's, in slurmctld's log."""
    reasons: dict[str, float] = {}
    for line in log.splitlines():
        if reason := _REASON.match(line):
            reasons[reason["node"]] = datetime.fromisoformat(reason["at"]).timestamp()
        elif down := _DOWN.match(line):
            node = down["one"] or down["other"]
            at = datetime.fromisoformat(down["at"]).timestamp()
            if at - reasons.get(node, 0.0) < _AT_ONCE:
                yield node, at


def suspending(log: str) -> Iterator[tuple[str, float]]:
    """The nodes for which slurmctld has called SuspendProgram, by its log."""
    for found, at in _said(_SUSPENDING, log):
        yield from ((node, at) for node in hostlist.expand_hostlist(found["nodes"]))


def ctld_starts(log: str) -> Iterator[float]:
    """When slurmctld has started, by its log."""
    yield from (at for _, at in _said(_STARTED, log))


def gave_up(log: str) -> dict[str, str]:
    """The jobs that were cancelled, ended with an error or at their limit; with slurmctld's words."""
    return {
        found["one"] or found["other"] or found["third"]: (
            found["cancelled"] or found["status"] or found["limit"]
        )
        for found in _GAVE_UP.finditer(log)
    }


def gave_up_at(log: str) -> dict[str, float]:
    """When slurmctld's log last says so of each of these jobs."""
    return {
        job: datetime.fromisoformat(line[1 : line.index("]")]).timestamp()
        for line in log.splitlines()
        for job in gave_up(line)
    }


def requeued(log: str) -> Iterator[tuple[str, float]]:
    """The jobs that somebody has asked slurmctld to requeue, by its log."""
    yield from ((found["job"], at) for found, at in _said(_REQUEUED, log))


def _said(what: re.Pattern[str], log: str) -> Iterator[tuple[re.Match[str], float]]:
    """The lines of slurmctld's log that say this, and when."""
    for line in log.splitlines():
        if found := what.match(line):
            yield found, datetime.fromisoformat(found["at"]).timestamp()


def commands(log: str) -> Iterator[Command]:
    """The operator's commands; see storm/site.py."""
    for line in log.splitlines():
        if found := _COMMAND.match(line):
            yield Command(tuple(found[3].split()), float(found[1]), float(found[2]))


def tracebacks(files: Iterable[Path]) -> Iterator[str]:
    """The places of tracebacks in logs."""
    for path in files:
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if _TRACEBACK.search(line):
                yield f"{path}:{number}"


def collect(
    site: Site,
    faults: Faults,
    jobs: Jobs,
    memory: dict[str, tuple[float, ...]],
    unsettled: Iterable[str],
) -> Evidence:
    """Everything, once all is at rest; also kept as `evidence.json`, to be checked again."""
    cloud = site.simulated
    ledger = cloud.ledger()
    names = {entry.server_id: entry.name for entry in ledger}
    exported = site.operator("audit", "export", "-")
    (site.folder / "audit.jsonl").write_text(exported.stdout)
    verified = site.operator("audit", "verify")
    drifts = site.operator("drift", "--json")
    drift = json.loads(drifts.stdout or "{}")
    listed = site.operator("dead-letters", "list", "--json")
    logs = [*site.folder.glob("*.log"), site.slurm.conf_dir / "hooks.log"]
    ctld_log = site.slurm.log.read_text(errors="replace")
    seen = Evidence(
        calls=tuple(hook_calls(site.hook_calls.read_text().splitlines())),
        steps=tuple(steps(exported.stdout.splitlines())),
        ledger=tuple(
            PoweredOn(entry.name, entry.server_id, period.on, period.off)
            for entry in ledger
            for period in entry.intervals
        ),
        beats=tuple(beats(site.beats)),
        servers=tuple(
            ServerSeen(server.name, server.id, server.status, server.powered)
            for server in cloud.all_servers()
        ),
        queues=tuple(queues(site)),
        letters=tuple(dead_letters(listed.stdout.splitlines())),
        injected=tuple(faults.injected),
        outside=tuple(faults.cut_power),
        set_down=tuple(set_down(ctld_log)),
        reboots=tuple(
            (names.get(call.server_id, call.server), call.at)
            for call in cloud.call_counts().action_calls
            if call.kind == "reboot" and call.status < 300  # noqa: PLR2004 - accepted
        ),
        stuck=tuple((entry.server_id, at) for entry in ledger for at in entry.endless),
        states=site.slurm.node_states(),
        named=frozenset(one["subject"] for one in drift.get("drifts", ())),
        verify=(verified.returncode, verified.stdout + verified.stderr),
        tracebacks=tuple(tracebacks(path for path in logs if path.exists())),
        memory=memory,
        unsettled=(*unsettled, *faults.hung),
        batch=tuple(jobs.batch),
        suspending=tuple(suspending(ctld_log)),
        ctld_starts=tuple(ctld_starts(ctld_log)),
        gave_up=gave_up(ctld_log),
        gave_up_at=gave_up_at(ctld_log),
        requeued=tuple(requeued(ctld_log)),
        commands=tuple(commands((site.folder / "operator.log").read_text())),
        strategies=dict(site.plan.strategies),
        refused=tuple(
            f"{what}: exit status {done.returncode}"
            for what, done, shown in (
                ("audit export", exported, exported.returncode == 0),
                ("dead-letters list", listed, listed.returncode == 0),
                ("drift", drifts, "drifts" in drift),
            )
            if not shown
        ),
    )
    (site.folder / "evidence.json").write_bytes(msgspec.json.encode(seen))
    return seen


def dead_letters(lines: Iterable[str]) -> Iterator[DeadLetter]:
    """The dead letters in the JSON lines of `lamplighter dead-letters list`."""
    for line in lines:
        letter = json.loads(line)
        died_at = letter["died_at"]
        yield DeadLetter(
            letter.get("node", ""),  # one that cannot be read names none
            letter["cause"],
            letter["message"],
            datetime.fromisoformat(died_at).timestamp() if died_at else None,
            letter["id"],
        )


def queues(site: Site) -> Iterator[QueueSeen]:
    """The queues, by RabbitMQ's management API; its numbers are up to five seconds old."""
    broker = site.broker
    answer = requests.get(
        f"{broker.management_url}/api/queues/{VHOST}",
        auth=(broker.admin.name, broker.admin.password),
        timeout=10,
    )
    answer.raise_for_status()
    for queue in answer.json():
        yield QueueSeen(queue["name"], queue.get("messages", 0), queue.get("consumers", 0))
