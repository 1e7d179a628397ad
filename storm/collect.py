"""Collects the evidence: logs and files, Slurm's commands, the cloud's control API, our commands."""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import requests

from producers.call import expand
from storm.evidence import (
    Beats,
    DeadLetter,
    Evidence,
    HookCall,
    Injected,
    PoweredOn,
    QueueSeen,
    ServerSeen,
    Step,
)
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


def hook_calls(lines: Iterable[str]) -> Iterator[HookCall]:
    """The calls in the caller's record; see storm/site.py."""
    begun: dict[str, tuple[float, str, str]] = {}
    for line in lines:
        pid, what, at, *words = line.split()
        if what == "begin":
            if pid in begun:
                yield _call(*begun[pid], None)
            begun[pid] = float(at), words[0], words[1]
        elif pid in begun:
            yield _call(*begun.pop(pid), int(words[0]))
    for call in begun.values():
        yield _call(*call, None)


def _call(began: float, kind: str, hostlist: str, status: int | None) -> HookCall:
    return HookCall(kind, tuple(expand(hostlist)), began, status)


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
        )


def _origin(data: dict[str, str | None]) -> str | None:
    sender = data.get("sender")
    if sender is None:
        return None
    return "hook" if sender.endswith(("hook", "relay")) else "other"


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


def tracebacks(files: Iterable[Path]) -> Iterator[str]:
    """The places of tracebacks in logs."""
    for path in files:
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if "Traceback (most recent call last)" in line:
                yield f"{path}:{number}"


def collect(
    site: Site,
    *,
    injected: Iterable[Injected],
    outside: Iterable[tuple[str, float]],
    memory: dict[str, tuple[float, ...]],
    unsettled: Iterable[str],
) -> Evidence:
    """Everything, once all is at rest."""
    cloud = site.simulated
    ledger = cloud.ledger()
    names = {entry.server_id: entry.name for entry in ledger}
    exported = site.operator("audit", "export", "-")
    (site.folder / "audit.jsonl").write_text(exported.stdout)
    verified = site.operator("audit", "verify")
    drift = json.loads(site.operator("drift", "--json").stdout or "{}")
    letters = site.operator("dead-letters", "list", "--json").stdout.splitlines()
    logs = [*site.folder.glob("*.log"), site.slurm.conf_dir / "hooks.log"]
    return Evidence(
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
        letters=tuple(map(_letter, map(json.loads, letters))),
        injected=tuple(injected),
        outside=tuple(outside),
        set_down=tuple(set_down(site.slurm.log.read_text(errors="replace"))),
        reboots=tuple(
            (names.get(call.server_id, call.server), call.at)
            for call in cloud.call_counts().action_calls
            if call.kind == "reboot" and call.status < 300  # noqa: PLR2004 - accepted
        ),
        states=site.slurm.node_states(),
        named=frozenset(one["subject"] for one in drift.get("drifts", ())),
        verify=(verified.returncode, verified.stdout + verified.stderr),
        tracebacks=tuple(tracebacks(path for path in logs if path.exists())),
        memory=memory,
        unsettled=tuple(unsettled),
    )


def _letter(letter: dict[str, str]) -> DeadLetter:
    died_at = letter.get("died_at")
    return DeadLetter(
        letter.get("node") or "",
        letter.get("cause") or "",
        letter.get("message") or "",
        datetime.fromisoformat(died_at).timestamp() if died_at else None,
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
