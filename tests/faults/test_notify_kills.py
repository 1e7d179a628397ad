"""No notification is lost when receivers fail and the notify worker is killed."""

from __future__ import annotations

import json
from collections import Counter
from itertools import cycle
from typing import TYPE_CHECKING

from schemas.events import Cause, Transition
from tests.testbed.installation import Installation
from tests.testbed.messages import command, event, published
from tests.testbed.receiver import Receiver, Reply
from tests.testbed.waiting import until
from workers.broker import topology

if TYPE_CHECKING:
    from pathlib import Path

    from producers.message import Message

COUNT = 40


def failures(first: int, count: int) -> list[Message]:
    nodes = (f"node{i}" for i in range(first, first + count))
    return [
        published(event(Transition.FAILED, command(node), cause=Cause("quota", "no")))
        for node in nodes
    ]


def site_of(
    folder: Path, broker_url: str, receiver: Receiver, more: str = "timeout = 0.5"
) -> Installation:
    site = Installation(
        folder / "site",
        broker_url,
        more=f'[[notify.webhook]]\nname = "one"\nurl = "{receiver.url}"\nevents = ["failed"]\n{more}\n',
    )
    site.prepare()
    return site


def ids(receiver: Receiver) -> Counter[str]:
    return Counter(got.headers["webhook-id"] for got in receiver.got)


def test_a_worker_killed_before_recording_a_post_repeats_it_with_the_same_id(
    run_dir: Path, broker_url: str
) -> None:
    with Receiver(lambda _: Reply(after=60.0)) as receiver:
        site = site_of(run_dir, broker_url, receiver, "timeout = 0.3")
        with site.start("worker", "notify") as worker:
            site.publish(failures(1, 1))
            until(lambda: receiver.got, 20, "the first post")
            worker.kill()
        site.wait_depth(topology.NOTIFY_QUEUE, 0)
        receiver.answer = lambda _: Reply()
        with site.start("worker", "notify"):
            until(lambda: len(receiver.got) == 2, 40, "the second post")
            until(lambda: "notification_delivered" in site.logs(), 20, "the delivery in the log")
        assert len(ids(receiver)) == 1
        assert receiver.got[0].body == receiver.got[1].body


def test_killed_workers_and_a_failing_receiver_lose_no_notification(
    run_dir: Path, broker_url: str
) -> None:
    """The receiver is slow or fails, in any order; the worker is killed repeatedly."""
    replies = cycle(
        [Reply(), Reply(), Reply(500, "no"), Reply(), Reply(), Reply(after=1.0), Reply()]
    )
    with Receiver(lambda _: next(replies)) as receiver:
        site = site_of(run_dir, broker_url, receiver)
        site.publish(failures(1, COUNT))
        for round_ in range(1, 4):
            with site.start("worker", "notify") as worker:
                site.publish(failures(1 + round_ * COUNT, COUNT // 3))
                before = len(receiver.got)
                until(lambda b=before: len(receiver.got) > b + 3, 30, "some posts")  # type: ignore[misc]
                worker.kill()
        receiver.answer = lambda _: Reply()
        with site.start("worker", "notify"):
            until(lambda: len(ids(receiver)) == COUNT + COUNT // 3 * 3, 60, "all notifications")
            until(
                lambda: "0 notifications wait" in site.lamplighter("status").out,
                60,
                "no more waiting",
            )
        assert {json.loads(got.body)["id"] for got in receiver.got} == set(ids(receiver))
        assert site.depth(topology.DEAD_LETTER_QUEUE) == 0
        assert site.depth(topology.NOTIFY_QUEUE) == 0


def test_a_receiver_that_was_down_gets_everything_when_it_is_back(
    run_dir: Path, broker_url: str
) -> None:
    with Receiver() as gone:
        port = gone.port
        site = site_of(run_dir, broker_url, gone)
    with site.start("worker", "notify"):
        site.publish(failures(1, 3))
        until(lambda: "notification_retried" in site.logs(), 20, "a failed attempt")
        with Receiver(port=port) as back:
            until(lambda: len(ids(back)) == 3, 30, "all notifications")
