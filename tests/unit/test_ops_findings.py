"""The findings of `lamplighter status`: each has words and a remedy, and one line sums them up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ops.site import findings
from ops.site.findings import DRIFT_LASTS, Finding, Severity
from ops.site.kinds import Kind
from ops.site.spooled import SpoolStatus
from producers.broker_settings import BrokerSettings, BrokerUsers
from schemas.roles import Role
from tests.testbed.messages import MOMENT
from workers.broker.depths import QueueDepth
from workers.store.heartbeats import Heartbeat, problem
from workers.tokens.rpc import TokenReport
from workers.tokens.service import trouble_of

NOTE = Finding(Severity.NOTE, Kind.DRY_RUN, "DRY RUN of all groups", None)
WRONG = Finding(Severity.WRONG, Kind.DEAD_LETTERS, "2 dead letters to resolve", "see the list")
AWAY = Finding(Severity.AWAY, Kind.UNAVAILABLE, "the broker does not answer", "start it")


@pytest.mark.parametrize(
    ("found", "line", "code"),
    [
        ([], "all is well", 0),
        ([NOTE], "all is well", 0),
        ([NOTE, WRONG], "WRONG: 2 dead letters to resolve; see the list", 1),
        (
            [NOTE, WRONG, AWAY],
            "WRONG: the broker does not answer; start it (and 1 more, above)",
            3,
        ),
    ],
)
def test_the_summary_says_what_is_wrong_first(found: list[Finding], line: str, code: int) -> None:
    assert findings.summary(found) == line
    assert findings.exit_code(found) == code


def test_every_finding_that_is_wrong_has_a_remedy() -> None:
    beat = Heartbeat("power", "p", "h", 1, MOMENT, MOMENT, "")
    found = [
        *findings.of_queues(
            (
                QueueDepth("audit", None, None),
                QueueDepth("power.resume", 1, 0),
                QueueDepth("power.dlq", 1, 0),
                QueueDepth("notify", 1, 0),
            )
        ),
        *findings.of_workers([beat], MOMENT + 3600 * 10**9),
        *findings.of_spools([SpoolStatus("/spool", 2, 61.0, 1)]),
        *findings.of_snapshot(stale=True),
        *findings.of_logins({"sbg": MOMENT}, MOMENT),
        *findings.of_drifts({"orphan": 1}, DRIFT_LASTS),
        *findings.of_failed_nodes(["n1", "n2"]),
    ]
    assert {one.kind for one in found} == {
        *("queues_missing", "workers_missing", "dead_letters", "worker_silent"),
        *("snapshot_stale", "login_ends", "drift", "nodes_failed", "notify_unread"),
        *("spool", "spool_unreadable"),
    }
    assert all(one.severity is Severity.WRONG and one.remedy for one in found)


@pytest.mark.parametrize(
    ("spool", "severity", "words"),
    [
        (SpoolStatus("/s", 1, 4.0), Severity.NOTE, "1 call waits in /s for the broker"),
        (
            SpoolStatus("/s", 9, 60.5),
            Severity.WRONG,
            "9 calls wait in /s for the broker, the oldest",
        ),
        (
            SpoolStatus("/s", 0, 0.0, 2),
            Severity.WRONG,
            "2 files that no hook wrote: /s/*.unreadable",
        ),
        (SpoolStatus("/s", problem="closed"), Severity.NOTE, "are not known: closed"),
        (SpoolStatus("/s"), None, ""),
    ],
)
def test_calls_that_wait_for_the_broker_are_counted_and_wrong_once_they_are_old(
    spool: SpoolStatus, severity: Severity | None, words: str
) -> None:
    found = list(findings.of_spools([spool]))
    assert [one.severity for one in found] == ([] if severity is None else [severity])
    assert all(words in one.text for one in found)


@pytest.mark.parametrize(("ready", "consumers"), [(0, 0), (5, 1), (None, None)])
def test_a_queue_of_events_that_is_empty_or_read_is_not_wrong(
    ready: int | None, consumers: int | None
) -> None:
    found = findings.of_queues([QueueDepth("notify", ready, consumers)])
    assert "notify_unread" not in {one.kind for one in found}


def test_what_the_broker_users_do_not_protect_or_prove_is_noted() -> None:
    one, roles = BrokerSettings(("amqp://all@localhost/v",)), BrokerUsers(Path("users"))
    (found,) = findings.of_roles(one)
    assert (found.severity, found.kind) == (Severity.NOTE, "one_broker_user")
    of_role = {
        role: [note.kind for note in findings.of_roles(replace(one, users=roles, role=role))]
        for role in (Role.OPERATOR, Role.READER)
    }
    assert of_role == {Role.OPERATOR: [], Role.READER: ["quorum_unknown"]}


def test_a_drift_that_may_be_under_repair_is_not_wrong_yet() -> None:
    (fresh,) = findings.of_drifts({"orphan": 1}, DRIFT_LASTS - 1)
    (lasting,) = findings.of_drifts({"orphan": 1}, DRIFT_LASTS)
    assert (fresh.severity, lasting.severity) == (Severity.NOTE, Severity.WRONG)


@pytest.mark.parametrize(
    "role", ["power", "slurm", "snapshot", "notify", "resync", "tokens", "audit"]
)
def test_a_worker_that_lacks_something_is_wrong_with_its_cause_and_a_remedy(role: str) -> None:
    beat = Heartbeat(role, f"{role}@h:1", "h", 1, MOMENT, MOMENT, problem("away: sbg: no answer"))
    (found,) = findings.of_workers([beat], MOMENT)
    assert (found.severity, found.kind) == (Severity.WRONG, "worker_problem")
    assert f"{role}@h:1" in found.words
    assert "sbg: no answer" in found.words
    assert found.remedy
    assert findings.exit_code([found]) == 1
    assert not list(findings.of_workers([replace(beat, state="0 nodes pending")], MOMENT))


def test_a_failed_login_is_a_trouble_of_the_worker_tokens() -> None:
    failed = TokenReport(None, "the login is refused", "run lamplighter tokens login sbg")
    words = "logins fail: sbg: the login is refused; run lamplighter tokens login sbg"
    assert trouble_of({"sbg": failed, "cnaf": TokenReport(60.0)}) == words
    assert trouble_of({"cnaf": TokenReport(60.0)}) is None
