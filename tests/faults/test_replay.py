"""An operator is killed (-9) at every step of a replay or discard; repeating it completes it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from schemas import headers
from schemas.commands import parse_command
from schemas.envelope import parse
from schemas.events import Transition, event_from
from tests.testbed.installation import Installation
from tests.testbed.messages import command, dead_letter
from tests.testbed.processes import MINIMAL_ENVIRONMENT
from tests.testbed.waiting import until
from workers.broker import topology
from workers.store.database import connect
from workers.store.requests import outcomes

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.events import RequestEvent

REQUESTS = [command(f"node{i}") for i in range(2)]
# one commit, an event and a command for each letter, one acknowledgement for all
REPLAY_STEPS = 1 + 2 * len(REQUESTS) + 1
DISCARD_STEPS = 1 + len(REQUESTS) + 1


@pytest.fixture
def site(run_dir: Path, broker_url: str) -> Installation:
    made = Installation(run_dir / "site", broker_url)
    made.prepare()
    made.make_hook_folders()
    made.publish([dead_letter(request) for request in REQUESTS])
    return made


def interrupted(site: Installation, verb: str, step: int, when: str) -> int:
    """The exit status of an operator's process that is killed at that step."""
    argv = ["-m", "tests.faults.interrupted_operator", str(site.config), verb, str(step), when]
    done = subprocess.run(
        [sys.executable, *argv],
        check=False,
        capture_output=True,
        env=dict(MINIMAL_ENVIRONMENT),
        timeout=60,
    )
    return done.returncode


def steps(last: int) -> list[tuple[int, str]]:
    every = [(step, when) for step in range(1, last + 1) for when in ("before", "after")]
    every.remove((1, "after"))  # the same as before the first publish
    return every


def folded(site: Installation) -> list[RequestEvent]:
    """The events, each once, as the audit stores them."""
    events = [event_from(parse(body)) for _, body in site.drain(topology.AUDIT_QUEUE)]
    return list({event.id: event for event in events}.values())


def outcome_of(site: Installation, request_id: str, round_: int) -> Transition | None:
    store = connect(site.settings.store.url)
    with store.begin() as connection:
        found = outcomes(connection, "test", [(request_id, round_)])
    store.dispose()
    return found[request_id, round_].transition if found else None


@pytest.mark.parametrize(("step", "when"), steps(REPLAY_STEPS))
def test_a_replay_killed_at_any_step_loses_nothing_and_can_be_repeated(
    site: Installation, step: int, when: str
) -> None:
    assert interrupted(site, "replay", step, when) == -signal.SIGKILL
    again = site.lamplighter("dead-letters", "replay", "--all", "--yes")
    assert again.code == 0, again.err
    assert site.depth(topology.DEAD_LETTER_QUEUE) == 0
    delivered = site.drain(topology.RESUME_QUEUE)
    assert {parse_command(body).id for _, body in delivered} == {request.id for request in REQUESTS}
    assert {header[headers.ROUND] for header, _ in delivered} == {2}
    assert Counter((event.transition, event.request_id, event.round) for event in folded(site)) == {
        (Transition.REPLAYED, request.id, 2): 1 for request in REQUESTS
    }


@pytest.mark.parametrize(("step", "when"), steps(DISCARD_STEPS))
def test_a_discard_killed_at_any_step_ends_each_request_exactly_once(
    site: Installation, step: int, when: str
) -> None:
    assert interrupted(site, "discard", step, when) == -signal.SIGKILL
    again = site.lamplighter(
        "dead-letters", "discard", "--all", "--yes", "--reason", "no longer needed"
    )
    assert again.code == 0, again.err
    assert site.depth(topology.DEAD_LETTER_QUEUE) == 0
    assert site.depth(topology.RESUME_QUEUE) == 0
    events = folded(site)
    assert Counter((event.transition, event.request_id, event.round) for event in events) == {
        (Transition.DISCARDED, request.id, 2): 1 for request in REQUESTS
    }
    assert {outcome_of(site, request.id, 2) for request in REQUESTS} == {Transition.DISCARDED}


def test_a_stored_discard_is_final_even_if_a_replay_follows(site: Installation) -> None:
    # after the decision is in the store, before any message is published
    assert interrupted(site, "discard", 2, "before") == -signal.SIGKILL
    done = site.lamplighter("dead-letters", "replay", "--all", "--yes")
    assert done.code == 0, done.err
    assert "the request is discarded already" in done.out
    assert site.depth(topology.RESUME_QUEUE) == 0
    assert {event.transition for event in folded(site)} == {Transition.DISCARDED}


@pytest.mark.parametrize(
    ("step", "again"), [*((s, "restamp") for s in range(2, REPLAY_STEPS + 1)), (2, "replay")]
)
def test_a_restamp_killed_at_any_step_sends_each_new_request_exactly_once(
    site: Installation, step: int, again: str
) -> None:
    """After the commit the restamp is final, also if the next decision differs."""
    assert interrupted(site, "restamp", step, "before") == -signal.SIGKILL
    options = ("--restamp",) if again == "restamp" else ()
    done = site.lamplighter("dead-letters", "replay", "--all", "--yes", *options)
    assert done.code == 0, done.err
    assert site.depth(topology.DEAD_LETTER_QUEUE) == 0
    delivered = {body for _, body in site.drain(topology.RESUME_QUEUE)}
    new = [parse_command(body) for body in delivered]
    assert sorted(request.node for request in new) == [request.node for request in REQUESTS]
    assert all(request.generation > max(old.generation for old in REQUESTS) for request in new)
    events = folded(site)
    assert Counter((event.transition, event.request_id, event.round) for event in events) == {
        (Transition.DISCARDED, request.id, 2): 1 for request in REQUESTS
    }
    assert {event.restamped for event in events} == {request.generation for request in new}


def test_a_long_replay_killed_half_way_loses_nothing(run_dir: Path, broker_url: str) -> None:
    """Sent and remaining letters add up; after a repetition each was replayed and recorded once."""
    site = Installation(run_dir / "site", broker_url)
    site.prepare()
    letters = [command(f"node{i}") for i in range(600)]
    site.publish([dead_letter(request) for request in letters])
    argv = ("dead-letters", "replay", "--all", "--yes", "--rate", "150")
    with site.start(*argv) as operator:
        until(lambda: site.depth(topology.RESUME_QUEUE) >= 100, 60.0, "some")
        operator.send(signal.SIGKILL)
        operator.wait(10.0)
    # the broker requeues the letters that the killed process held
    sent = site.depth(topology.RESUME_QUEUE)
    until(lambda: site.depth(topology.DEAD_LETTER_QUEUE) >= 600 - sent, 30.0, "the rest")
    assert 0 < site.depth(topology.DEAD_LETTER_QUEUE) < 600
    again = site.lamplighter("dead-letters", "replay", "--all", "--yes")
    assert again.code == 0, again.err
    assert site.depth(topology.DEAD_LETTER_QUEUE) == 0
    delivered = {parse_command(body).id for _, body in site.drain(topology.RESUME_QUEUE)}
    assert delivered == {request.id for request in letters}
    assert Counter((event.transition, event.request_id, event.round) for event in folded(site)) == {
        (Transition.REPLAYED, request.id, 2): 1 for request in letters
    }
