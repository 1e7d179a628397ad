"""What goes wrong at one node's server or in one message ends that request alone, soon and clearly."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from producers.message import Message
from schemas import headers
from schemas.events import Transition
from tests.testbed.requests import resume, starts, stops, suspend
from tests.testbed.simcloud.effects import Answer, FallsBack, GoesToError, NeverCompletes, Reset
from tests.testbed.simcloud.faults import Fault
from tests.testbed.waiting import until
from workers.broker import topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.commands import PowerCommand
    from schemas.events import RequestEvent
    from tests.testbed.powerbench import Letter, PowerBench
    from tests.testbed.simcloud.handle import SimCloud

    Opens = Callable[..., PowerBench]

# The SDK warns of deprecated parts of itself that it still uses.
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
COMPLETED, FAILED = Transition.COMPLETED, Transition.FAILED


def dies(bench: PowerBench, asked: PowerCommand, error: str) -> tuple[RequestEvent, Letter]:
    """Wait for a request's death; its failure and its letter say why."""
    told = bench.ending(asked)
    assert told.transition is FAILED
    assert told.cause is not None
    assert told.cause.error == error
    [letter] = bench.letters(1)
    assert letter.body == asked.to_envelope().to_json()
    assert letter.headers[headers.CAUSE] == error
    assert letter.headers[headers.CAUSE_MESSAGE] == told.cause.message
    assert letter.headers[headers.ROUND] == 1
    bench.idle()
    return told, letter


# -- the server


def test_a_boot_that_ends_in_error_fails_within_a_poll_in_nova_s_own_words(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    """P5: Slurm hears of it within seconds of the cloud saying so."""
    fault = GoesToError(message="Build of instance aborted: no disk.", after_seconds=0.1)
    power_cloud.inject(Fault(effect=fault, kind="start"))
    up = resume()
    began = time.monotonic()
    power_bench.ask(up)
    told, _ = dies(power_bench, up, "server_error")
    assert told.cause is not None
    assert told.cause.message == "Build of instance aborted: no disk."
    assert [a.action for a in told.actions] == ["os-start"]
    assert time.monotonic() - began < 15.0


def test_a_server_in_error_can_be_put_out(power_bench: PowerBench, power_cloud: SimCloud) -> None:
    power_cloud.change_servers("main1", status="ERROR", fault="lost its disk")
    down = suspend()
    power_bench.ask(down)
    assert power_bench.ending(down).transition is COMPLETED
    assert stops(power_cloud) == 1


def test_a_power_on_that_falls_back_is_tried_as_often_as_the_group_says(
    open_power_bench: Opens, power_cloud: SimCloud
) -> None:
    """Nova shows no error of it: the old state without a task is the failure."""
    bench = open_power_bench(group="boots = 2")
    power_cloud.inject(Fault(effect=FallsBack(after_seconds=0.1), kind="start"))
    up = resume()
    bench.ask(up)
    told, _ = dies(bench, up, "power_on_failed")
    assert [a.action for a in told.actions] == ["os-start", "os-start"]
    assert starts(power_cloud) == 2


def test_a_power_on_that_falls_back_once_completes(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    power_cloud.inject(Fault(effect=FallsBack(after_seconds=0.1), kind="start", times=1))
    up = resume()
    power_bench.ask(up)
    assert power_bench.ending(up).transition is COMPLETED
    assert starts(power_cloud) == 2


def test_a_boot_that_never_ends_fails_when_patience_does(
    open_power_bench: Opens, power_cloud: SimCloud
) -> None:
    bench = open_power_bench(group="boot_timeout = 0.5")
    power_cloud.inject(Fault(effect=NeverCompletes(), kind="start"))
    up = resume()
    bench.ask(up)
    told, _ = dies(bench, up, "boot_timeout")
    assert told.cause is not None
    assert told.cause.message == "the server is SHUTOFF (powering-on) after 0.5 s"


def test_a_server_that_is_gone_is_found_out_by_a_whole_listing(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    """A listing of changes would not show it: 404 to the call makes the next one whole."""
    other = resume("main2")
    power_bench.ask(other)
    power_bench.ending(other)
    power_cloud.inject(Fault(effect=Answer(status=409), kind="start", server="main1"))
    up = resume()
    power_bench.ask(up)
    until(lambda: starts(power_cloud) >= 2, 20, "a call")
    power_cloud.remove_servers("main1")
    dies(power_bench, up, "server_missing")


def test_a_node_without_a_server_is_out_but_cannot_be_lit(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    power_cloud.remove_servers("main1")
    down, up = suspend(), resume(after=0.001)
    power_bench.ask(down)
    assert power_bench.ending(down).transition is COMPLETED
    power_bench.ask(up)
    dies(power_bench, up, "server_missing")


def test_two_servers_of_one_name_are_touched_by_nobody(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    power_cloud.add_servers(["main1"])
    up = resume()
    power_bench.ask(up)
    dies(power_bench, up, "ambiguous_server")
    assert starts(power_cloud) == 0


# -- the answer


def test_a_conflict_is_looked_into_and_costs_no_attempt(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    power_cloud.inject(Fault(effect=Answer(status=409), kind="start", times=4))
    up = resume()
    power_bench.ask(up)
    told = power_bench.ending(up)
    assert (told.transition, told.attempt) == (COMPLETED, 0)
    # of the same refusals in a row, the last is recorded
    assert [a.result for a in told.actions] == ["conflict", "done"]
    assert power_cloud.counts()["start"] == 4 + 1
    assert Transition.RETRIED not in power_bench.transitions(up)


def test_a_conflict_without_end_is_a_dead_letter_in_the_end(
    open_power_bench: Opens, power_cloud: SimCloud
) -> None:
    """As of a server that somebody has locked."""
    bench = open_power_bench(power={"attempts": 2})
    power_cloud.change_servers("main1", locked=True)
    up = resume()
    bench.ask(up)
    told, letter = dies(bench, up, "conflict")
    assert told.cause is not None
    assert "locked" in told.cause.message
    assert letter.headers[headers.ATTEMPT] == 2


def test_a_refusal_is_no_matter_of_time(power_bench: PowerBench, power_cloud: SimCloud) -> None:
    power_cloud.inject(Fault(effect=Answer(status=403), kind="start"))
    up = resume()
    power_bench.ask(up)
    dies(power_bench, up, "quota")
    assert starts(power_cloud) == 1


def test_each_failed_attempt_rests_longer_and_is_told_of(
    open_power_bench: Opens, power_cloud: SimCloud
) -> None:
    """One sick server: its neighbours come up meanwhile."""
    bench = open_power_bench(power={"attempts": 3})
    power_cloud.inject(Fault(effect=Answer(status=500), kind="start", server="main1"))
    up, *others = [resume(f"main{number}") for number in (1, 2, 3)]
    bench.ask(up)
    until(lambda: power_cloud.call_counts().answers.get("start"), 20, "the sick server's answer")
    bench.ask(*others)
    assert {told.transition for told in bench.endings(*others)} == {COMPLETED}
    _, letter = dies(bench, up, "server_side")
    retried = [event for event in bench.events(up) if event.transition is Transition.RETRIED]
    assert [(event.attempt, event.retry_in) for event in retried] == [(1, 5), (2, 30)]
    assert letter.headers[headers.ATTEMPT] == 3
    errors = json.loads(letter.headers[headers.ERRORS])
    assert [(e["attempt"], e["error"]) for e in errors] == [
        (number, "server_side") for number in (1, 2, 3)
    ]


def test_a_call_that_was_performed_though_its_answer_was_lost_is_not_made_twice(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    power_cloud.inject(Fault(effect=Reset(performed=True), kind="start", times=1))
    up = resume()
    power_bench.ask(up)
    told = power_bench.ending(up)
    assert (told.transition, told.attempt) == (COMPLETED, 0)
    answers = power_cloud.call_counts().answers["start"]
    assert answers.get(202, 0) == 0
    assert answers[0] == 1


def test_a_reboot_whose_answer_was_lost_is_not_sent_again(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    """The node may have booted by it, and run a job: only a later snapshot of Slurm can say so."""
    power_cloud.change_servers("main1", status="ERROR", fault="lost its disk")
    power_cloud.inject(Fault(effect=Reset(performed=True), kind="reboot", times=1))
    up = replace(resume(), expiry=None)
    power_bench.ask(up)
    told = power_bench.ending(up)
    assert told.transition is COMPLETED
    assert [(one.action, one.result) for one in told.actions] == [("reboot", "network")]
    assert power_cloud.counts()["reboot"] == 1


def test_a_cloud_that_asks_for_rest_gets_it(power_bench: PowerBench, power_cloud: SimCloud) -> None:
    """429 with Retry-After: neither called nor listed before, and no attempt burned."""
    power_cloud.inject(
        Fault(effect=Answer(status=429, retry_after_seconds=2), kind="start", times=1)
    )
    up = resume()
    power_bench.ask(up)
    until(lambda: starts(power_cloud) == 1, 20, "the first call")
    listed = power_cloud.counts()["list_detail"]
    until(lambda: starts(power_cloud) == 2, 20, "the second call")
    assert power_cloud.counts()["list_detail"] - listed <= 5
    first, second = power_cloud.call_counts().action_calls
    assert second.at - first.at >= 2.0
    told = power_bench.ending(up)
    assert (told.transition, told.attempt) == (COMPLETED, 0)


def test_a_token_that_was_revoked_is_replaced(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    first, second = resume("main1"), resume("main2")
    power_bench.ask(first)
    power_bench.ending(first)
    power_cloud.revoke_tokens()
    power_bench.ask(second)
    told = power_bench.ending(second)
    assert (told.transition, told.attempt) == (COMPLETED, 0)


# -- the message


@pytest.mark.parametrize("body", [b"{not json", b"[]", b'{"specversion":"1.0"}'])
def test_what_cannot_be_read_is_laid_aside_and_told_of(
    power_bench: PowerBench, body: bytes
) -> None:
    message = Message(topology.COMMANDS, "node.resume.requested", body, "odd")
    up = resume()
    power_bench.site.publish([message])
    power_bench.ask(up)
    assert power_bench.ending(up).transition is COMPLETED
    [letter] = power_bench.letters(1)
    assert letter.body == body
    assert letter.headers[headers.CAUSE] == "malformed"
    assert letter.headers[headers.DIED_IN] == topology.RESUME_QUEUE
    [notice] = power_bench.notices()
    assert (notice.name, notice.subject) == ("message.rejected", topology.RESUME_QUEUE)
    power_bench.idle()


def test_hostile_headers_stop_nothing(power_bench: PowerBench) -> None:
    odd: dict[str, str | int] = {
        headers.ROUND: True,
        headers.ATTEMPT: 2**40,
        headers.PARKED: "many",
        headers.ERRORS: "[" * 20_000,
    }
    up = resume()
    power_bench.ask(up, headers=odd)
    told = power_bench.ending(up)
    assert (told.transition, told.round, told.attempt) == (COMPLETED, 1, 0)


def test_a_node_of_no_group_fails_and_alarms(power_bench: PowerBench) -> None:
    up = resume("stranger")
    power_bench.ask(up)
    told, _ = dies(power_bench, up, "unknown_node")
    assert told.cause is not None
    assert told.cause.message.startswith("stranger is in no group")
    until(power_bench.notices, 20, "the alarm")
    [alarm] = power_bench.notices()
    assert (alarm.name, alarm.subject) == ("alarm.request_refused", "stranger")
    assert power_bench.transitions(up) == [Transition.ACCEPTED, FAILED]


def test_a_generation_from_the_future_does_not_fence_off_what_follows(
    power_bench: PowerBench, power_cloud: SimCloud
) -> None:
    ahead, up = suspend(after=2 * 3600), resume()
    power_bench.ask(ahead)
    dies(power_bench, ahead, "implausible_generation")
    power_bench.ask(up)
    assert power_bench.ending(up).transition is COMPLETED
    assert power_cloud.servers()["main1"].status == "ACTIVE"


def test_a_new_round_of_a_dead_request_is_tried_anew(
    open_power_bench: Opens, power_cloud: SimCloud
) -> None:
    """As an operator's replay sends it: same id and generation, the next round, no attempts."""
    bench = open_power_bench(group="boots = 1")
    power_cloud.inject(Fault(effect=FallsBack(after_seconds=0.1), kind="start", times=1))
    up = resume()
    bench.ask(up)
    dies(bench, up, "power_on_failed")
    bench.ask(up, headers={headers.ROUND: 2, headers.ATTEMPT: 0})
    until(lambda: COMPLETED in bench.transitions(up), 20, "the second round's end")
    *_, told = bench.events(up)
    assert (told.round, [a.action for a in told.actions]) == (2, ["os-start"])
