"""`lamplighter worker notify` with a real broker and store, and HTTP servers as webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from producers.amqp import connection_parameters
from producers.message import Message
from schemas import headers
from schemas.events import Cause, Transition
from schemas.jobs import JobEvent, JobTransition
from tests.testbed.installation import CLUSTER, Installation
from tests.testbed.messages import MOMENT, command, event, published
from tests.testbed.opus import PATH, Opus
from tests.testbed.receiver import Receiver, Reply
from tests.testbed.waiting import until
from workers.broker import topology
from workers.broker.blocking import blocking_channel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = base64.b64encode(b"k" * 32).decode()
NODES = [f"node{i}" for i in range(1, 6)]


@pytest.fixture
def make_site(run_dir: Path, broker_url: str) -> Callable[[str], Installation]:
    """A function that makes an installation with these webhooks, its topology and stores created."""

    def make(more: str) -> Installation:
        made = Installation(run_dir / "site", broker_url, more=more)
        secret = made.folder / "hook.secret"
        secret.touch(mode=0o600)
        secret.write_text(f"whsec_{SECRET}\n")
        made.prepare()
        return made

    return make


def hook(name: str, url: str, events: str = '["failed"]', more: str = "") -> str:
    return f'[[notify.webhook]]\nname = "{name}"\nurl = "{url}"\nevents = {events}\n{more}\n'


def opus_hook(url: str, more: str = "") -> str:
    return f'[[notify.webhook]]\nname = "opus"\nurl = "{url}"\nformat = "opus"\n{more}\n'


def failures(*nodes: str) -> list[Message]:
    cause = Cause("quota", "no room")
    return [published(event(Transition.FAILED, command(node), cause=cause)) for node in nodes]


def job_failed(job_id: int, uws_id: str | None) -> Message:
    failed = JobEvent(
        JobTransition.FAILED,
        CLUSTER,
        job_id,
        MOMENT // 10**9 * 10**9,
        MOMENT,
        uws_id=uws_id,
        state="NODE_FAIL",
        nodes=("node1",),
        cause=Cause("quota", "used 10 of 10"),
    )
    return Message(topology.EVENTS, "job.failed", failed.to_envelope().to_json(), failed.id)


def subjects(receiver: Receiver) -> list[str]:
    return [json.loads(got.body)["subject"] for got in receiver.got]


def test_events_are_sent_signed_and_repeats_are_ignored(
    make_site: Callable[[str], Installation],
) -> None:
    """Events that no webhook wants, and malformed ones, are dropped; the queue ends empty."""
    with Receiver() as receiver:
        site = make_site(hook("one", receiver.url + "/hook", more='secret_file = "hook.secret"'))
        events = failures(*NODES)
        parked = [published(event(Transition.PARKED, command("node9")))]
        unreadable = Message(topology.EVENTS, "node.request.failed", b"no JSON", "x")
        with site.start("worker", "notify"):
            site.publish([*events, *parked, unreadable])
            site.publish(events)
            until(lambda: len(receiver.got) >= len(NODES), 20, "all events to arrive")
            site.wait_depth(topology.NOTIFY_QUEUE, 0)
            site.publish(failures("last"))
            until(lambda: "last" in subjects(receiver), 20, "the last one")
        assert sorted(subjects(receiver)) == sorted([*NODES, "last"])
        got = receiver.got[0]
        assert got.path == "/hook"
        assert got.headers["content-type"].startswith("application/cloudevents+json")
        assert got.headers["webhook-id"] == json.loads(got.body)["id"]
        signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode()
        mac = hmac.new(b"k" * 32, signed + got.body, hashlib.sha256).digest()
        assert got.headers["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"
        assert SECRET not in site.logs()


def test_a_slow_receiver_delays_no_other_and_a_failing_one_is_not_flooded(
    make_site: Callable[[str], Installation],
) -> None:
    """Retry-After is honoured; redirects are not followed but lead to a dead letter."""
    with (
        Receiver() as well,
        Receiver(lambda _: Reply(after=60.0)) as slow,
        Receiver(lambda _: Reply(503, "resting", {"retry-after": "3"})) as failing,
        Receiver(lambda _: Reply(302, "", {"location": well.url + "/stolen"})) as moved,
    ):
        site = make_site(
            hook("slow", slow.url, more="timeout = 1.0")
            + hook("failing", failing.url)
            + hook("moved", moved.url + "/token-in-the-path")
            + hook("well", well.url)
        )
        with site.start("worker", "notify"):
            site.publish(failures("node1", "node2"))
            until(lambda: len(well.got) == 2, 10, "the healthy receiver to get all")
            site.wait_depth(topology.DEAD_LETTER_QUEUE, 2)
            until(lambda: len(failing.got) == 3, 30, "another attempt")
            times = [got.at for got in failing.got]
            assert all(later - earlier >= 3 for earlier, later in pairwise(times))
        assert all(got.path != "/stolen" for got in well.got)
        logs = site.logs()
        assert "token-in-the-path" not in logs
        assert '"cause": "redirect"' in logs


def test_opus_sets_its_job_to_error_with_a_readable_message(
    make_site: Callable[[str], Installation],
) -> None:
    """Even if OPUS first answers 500. Jobs that it does not own, or that have ended, do not change."""
    with Opus() as opus:
        waits, ended = opus.add("f755f0", 11), opus.add("0a1b2c", 12, "COMPLETED")
        lost, others = opus.add("c0ffee", 13), opus.add("abcdef", 14)
        lost.jobdata = False
        site = make_site(opus_hook(opus.url))
        with site.start("worker", "notify"):
            jobs = [(11, "f755f0"), (12, "0a1b2c"), (13, "c0ffee"), (14, None)]
            site.publish([job_failed(*job) for job in jobs])
            until(lambda: "node1 could not be" in lost.error, 20, "the second attempt")
            until(lambda: waits.phase == "ERROR", 20, "the job's error")
            until(lambda: "while in terminal phase" in site.logs(), 20, "the job that ended")
        assert waits.error == (
            "NODE_FAIL: node1 could not be started for this job (quota: used 10 of 10)"
        )
        assert (ended.phase, others.phase, lost.phase) == ("COMPLETED", "QUEUED", "ERROR")
        assert {got.path for got in opus.got} == {PATH}
        assert site.depth(topology.DEAD_LETTER_QUEUE) == 0


def test_an_undelivered_notification_can_be_shown_replayed_and_discarded(
    make_site: Callable[[str], Installation],
) -> None:
    """OPUS rejects the sender's address; the operator fixes that, and replays."""
    with Opus(job_servers={"10.0.0.1": "elsewhere"}) as opus:
        one, two = opus.add("f755f0", 11), opus.add("0a1b2c", 12)
        site = make_site(opus_hook(opus.url))
        with site.start("worker", "audit"), site.start("worker", "notify"):
            site.publish([job_failed(11, "f755f0"), job_failed(12, "0a1b2c")])
            site.wait_depth(topology.DEAD_LETTER_QUEUE, 2)
            listed = {
                line["subject"]: line
                for line in site.lamplighter("dead-letters", "list", "--json").lines
            }
            assert {line["webhook"] for line in listed.values()} == {"opus"}
            assert listed["11"]["cause"] == "http_403"
            assert "127.0.0.1 is not a job server" in str(listed["11"]["message"])
            shown = site.lamplighter("dead-letters", "show", str(listed["11"]["id"]))
            assert "webhook    opus did not accept the event" in shown.out
            refused = site.lamplighter("dead-letters", "replay", "--all", "--yes")
            assert refused.out.splitlines()[-1] == "2 replayed", refused
            site.wait_depth(topology.DEAD_LETTER_QUEUE, 2)
            opus.job_servers = {"127.0.0.1": "localhost"}
            replayed = site.lamplighter("dead-letters", "replay", "--job", "11", "--yes")
            assert replayed.out.splitlines()[-1] == "1 replayed", replayed
            until(lambda: one.phase == "ERROR", 20, "the replayed notification")
            discarded = site.lamplighter(
                "dead-letters", "discard", str(listed["12"]["id"]), "--reason", "reported by hand"
            )
            assert discarded.out.splitlines()[-1] == "1 discarded", discarded
            assert site.depth(topology.DEAD_LETTER_QUEUE) == 0
            until(lambda: len(about_opus(site)) == 8, 20, "the audit")
            (line,) = site.lamplighter("audit", "list", "--uws", "f755f0", "--json").lines
            assert (line["type"], line["subject"]) == ("lamplighter.job.failed.v1", "11")
            printed = site.lamplighter("audit", "list", "--uws", "f755f0").out
            assert "job.failed" in printed
            assert "quota: used 10 of 10" in printed
        assert two.phase == "QUEUED"
        types = about_opus(site)
        assert types.count("lamplighter.message.undelivered.v1") == 4
        assert types.count("lamplighter.message.replayed.v1") == 3
        assert types.count("lamplighter.message.discarded.v1") == 1


def about_opus(site: Installation) -> list[str]:
    """The types of the audit records about the webhook."""
    lines = site.lamplighter("audit", "list", "--json").lines
    return [str(line["type"]) for line in lines if line["subject"] == "opus"]


def test_status_shows_how_many_notifications_wait_and_which_webhook_is_away(
    make_site: Callable[[str], Installation],
) -> None:
    site = make_site(hook("gone", "http://127.0.0.1:9"))
    with site.start("worker", "notify"):
        site.publish(failures(*NODES))
        until(
            lambda: "5 notifications wait; away: gone" in site.lamplighter("status").out,
            30,
            "the status",
        )
        shown = site.lamplighter("status", "--json")
        (found,) = [
            one
            for line in shown.lines
            for one in line.get("findings", ())
            if one["finding"] == "worker_problem"
        ]
        assert "away: gone" in found["words"]
        assert shown.code == 1


@pytest.mark.parametrize("setting", ["secret_file", "url_file", "ca_file"])
def test_status_names_the_file_of_a_webhook_that_cannot_be_used_and_the_others_get_theirs(
    make_site: Callable[[str], Installation], setting: str
) -> None:
    with Receiver() as receiver:
        url = "" if setting == "url_file" else 'url = "https://127.0.0.1:9"\n'
        bad = f'[[notify.webhook]]\nname = "bad"\n{url}{setting} = "gone"\nevents = ["failed"]\n'
        site = make_site(bad + hook("good", receiver.url))
        with site.start("worker", "notify"):
            site.publish(failures("node1"))
            named = f"away: bad: {setting}: "
            until(lambda: named in site.lamplighter("status").out, 30, "the status")
            assert len(receiver.got) == 1
            told = site.lamplighter("status").out
            assert str(site.folder / "gone") in " ".join(told.split())


def test_a_notification_for_a_removed_webhook_becomes_a_dead_letter_again(
    make_site: Callable[[str], Installation],
) -> None:
    """It was replayed after the webhook was removed from the configuration: it must not be lost."""
    with Receiver() as receiver:
        site = make_site(hook("one", receiver.url))
        (failure,) = failures("node1")
        again = Message(
            topology.REQUEUE,
            topology.NOTIFY_AGAIN,
            failure.body,
            failure.id,
            headers={headers.WEBHOOK: "gone", headers.ROUND: 2},
        )
        with site.start("worker", "notify"):
            site.publish([again])
            site.wait_depth(topology.DEAD_LETTER_QUEUE, 1)
        ((raw, body),) = site.drain(topology.DEAD_LETTER_QUEUE)
        assert body == failure.body
        assert (raw[headers.WEBHOOK], raw[headers.CAUSE], raw[headers.ROUND]) == (
            "gone",
            "no_webhook",
            2,
        )
        assert receiver.got == []


def test_a_replay_says_nothing_that_its_webhook_does_not_subscribe_to(
    make_site: Callable[[str], Installation],
) -> None:
    """Who may replay notifications cannot tell a webhook of failures that a job has finished."""
    with Receiver() as receiver:
        site = make_site(hook("one", receiver.url))
        (failure,), other = failures("node1"), job_failed(5, None)
        replays = [
            Message(
                topology.REQUEUE,
                topology.NOTIFY_AGAIN,
                sent.body,
                sent.id,
                headers={headers.WEBHOOK: "one", headers.ROUND: 2},
            )
            for sent in (other, failure)
        ]
        with site.start("worker", "notify"):
            site.publish(replays)
            site.wait_depth(topology.DEAD_LETTER_QUEUE, 1)
            until(lambda: len(receiver.got) == 1, 20, "the event that it subscribes to")
        ((raw, body),) = site.drain(topology.DEAD_LETTER_QUEUE)
        assert (body, raw[headers.CAUSE]) == (other.body, "not_subscribed")
        assert json.loads(receiver.got[0].body)["id"] == failure.id


def test_without_webhooks_the_worker_names_the_missing_setting(site: Installation) -> None:
    result = site.lamplighter("worker", "notify")
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "notify.webhook" in result.err


def test_events_for_a_former_webhook_are_said_and_the_remedy_ends_them(site: Installation) -> None:
    with blocking_channel(connection_parameters(site.settings.broker, "test")) as channel:
        channel.queue_bind(topology.NOTIFY_QUEUE, topology.EVENTS, "job.failed")
        site.publish([job_failed(5, None)])
        site.wait_depth(topology.NOTIFY_QUEUE, 1)
        said = site.lamplighter("status")
        assert (said.code, "1 event for webhooks that nobody reads" in said.out) == (1, True)
        channel.queue_delete(topology.NOTIFY_QUEUE)
    assert site.lamplighter("topology", "apply").code == 0
    site.publish([job_failed(6, None)])
    site.wait_depth(topology.AUDIT_QUEUE, 2)
    assert "that nobody reads" not in site.lamplighter("status").out


def test_subscribed_events_reach_the_queue(make_site: Callable[[str], Installation]) -> None:
    """Including events that are not bound to the queue by default: the worker adds bindings."""
    with Receiver() as receiver:
        site = make_site(hook("one", receiver.url, '["completed", "job.*"]'))
        with site.start("worker", "notify"):
            until(lambda: site.consumers(topology.NOTIFY_QUEUE) == 1, 20, "the worker")
            site.publish([published(event(Transition.COMPLETED)), job_failed(5, None)])
            until(lambda: len(receiver.got) == 2, 20, "both events")
