"""P4: an outage costs time, never a request, and by itself never a dead letter or an attempt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.testbed.postgresql import PostgreSQL
from tests.testbed.simcloud.effects import Answer
from tests.testbed.simcloud.faults import Fault
from tests.testbed.waiting import until
from tests.testbed.whole_system import SystemPlan, WholeSystem

if TYPE_CHECKING:
    from pathlib import Path

    from tests.testbed.broker import PrivateBroker


def no_attempt_was_burned(system: WholeSystem) -> bool:
    """Whether no request had to be retried."""
    return not system.records(transitions=("retried",))


@pytest.mark.parametrize("reset", [False, True], ids=["503", "reset"])
def test_a_cloud_away_with_200_requests_pending(
    run_dir: Path, broker_url: str, *, reset: bool
) -> None:
    with WholeSystem(run_dir / "fleet", broker_url, SystemPlan(nodes=200)) as system:
        system.cloud.outage(on=True, looks_like_reset=reset, services=("compute",))
        system.request("resume")
        until(lambda: len(system.records(transitions=("parked",))) == 200, 60, "all to be parked")
        system.cloud.outage(on=False)
        system.settle(120)
        system.check()
        assert system.outcomes() == {"completed": 200}
        assert no_attempt_was_burned(system)
        assert system.cloud.counts()["start"] <= 204


def test_a_cloud_that_goes_in_the_middle_of_its_calls(run_dir: Path, broker_url: str) -> None:
    plan = SystemPlan(nodes=60, latency=0.1)
    with WholeSystem(run_dir / "fleet", broker_url, plan) as system:
        system.request("resume")
        until(lambda: system.cloud.counts().get("start", 0) >= 10, 30, "some start calls")
        system.cloud.outage(on=True, services=("compute",))
        until(lambda: system.records(transitions=("parked",)), 60, "requests to be parked")
        system.cloud.outage(on=False)
        system.settle(120)
        system.check()


def test_a_brown_out_in_which_it_lists_but_does_not_act(run_dir: Path, broker_url: str) -> None:
    with WholeSystem(run_dir / "fleet", broker_url, SystemPlan(nodes=50)) as system:
        number = system.cloud.inject(Fault(effect=Answer(status=500), kind="start"))
        system.request("resume")
        until(lambda: len(system.records(transitions=("parked",))) >= 40, 60, "most to be parked")
        system.cloud.remove_fault(number)
        system.settle(120)
        system.check()
        assert system.outcomes() == {"completed": 50}


def test_a_token_revoked_in_mid_batch(run_dir: Path, broker_url: str) -> None:
    """One more login, and nobody notices."""
    plan = SystemPlan(nodes=60, latency=0.1, source="oidc_refresh_token")
    with WholeSystem(run_dir / "fleet", broker_url, plan) as system:
        system.request("resume")
        until(lambda: system.cloud.counts().get("start", 0) >= 10, 30, "some start calls")
        system.cloud.revoke_tokens()
        system.settle(90)
        system.check()
        assert system.outcomes() == {"completed": 60}
        assert no_attempt_was_burned(system)
        assert system.cloud.counts()["rescope"] == 2


def test_the_token_service_killed_and_away(run_dir: Path, broker_url: str) -> None:
    """Nothing is consumed meanwhile, nothing is parked, and it goes on by itself."""
    with WholeSystem(
        run_dir / "fleet", broker_url, SystemPlan(nodes=20), start=("audit", "power")
    ) as system:
        system.request("resume")
        until(lambda: "token_service_away" in system.log("power"), 60, "the worker to notice")
        system.request("suspend", "node1")
        system.worker("tokens")
        system.settle(90)
        system.check()
        assert no_attempt_was_burned(system)


def test_boots_that_went_well_while_the_token_service_was_away_complete(
    run_dir: Path, broker_url: str
) -> None:
    """Their boot_timeout ran out while nobody could look; other boots wait for their first call."""
    plan = SystemPlan(nodes=6, boot=2.0, group="boot_timeout = 4.0")
    with WholeSystem(run_dir / "fleet", broker_url, plan) as system:
        system.request("resume", "node[1-3]")
        until(lambda: system.cloud.counts().get("start", 0) == 3, 20, "three start calls")
        called = time.monotonic()
        assert system.workers["tokens"].stop() == 0
        system.cloud.revoke_tokens()
        until(lambda: "token_service_away" in system.log("power"), 60, "the worker to notice")
        system.request("resume", "node[4-6]")
        until(lambda: time.monotonic() > called + 5.0, 20, "the end of boot_timeout")
        system.worker("tokens")
        system.settle(90)
        system.check()
        assert system.outcomes() == {"completed": 6}
        assert no_attempt_was_burned(system)


def test_a_login_provider_away(run_dir: Path, broker_url: str) -> None:
    plan = SystemPlan(nodes=10, source="oidc_refresh_token")
    with WholeSystem(run_dir / "fleet", broker_url, plan, start=("audit", "power")) as system:
        system.cloud.outage(on=True, services=("oidc", "identity"))
        system.worker("tokens")  # only now: it logs in as soon as it runs
        system.request("resume")
        until(lambda: len(system.records(transitions=("parked",))) == 10, 60, "all to be parked")
        system.cloud.outage(on=False)
        system.settle(120)
        system.check()
        assert no_attempt_was_burned(system)


@pytest.mark.parametrize("hard", [False, True], ids=["restarted", "killed"])
def test_the_broker_gone_with_requests_in_flight(
    run_dir: Path, private_broker: PrivateBroker, *, hard: bool
) -> None:
    url = private_broker.amqp_url(private_broker.create_vhost("fleet"))
    with WholeSystem(run_dir / "fleet", url, SystemPlan(nodes=20, boot=2.0)) as system:
        system.request("resume")
        until(lambda: system.cloud.counts().get("start", 0) >= 5, 30, "some start calls")
        if hard:
            private_broker.settle()
            private_broker.kill()
            private_broker.start()
        else:
            private_broker.restart()
        system.settle(120)
        system.check()
        assert system.outcomes() == {"completed": 20}
        assert system.cloud.counts()["start"] == 20


def test_a_broker_absent_for_a_hook(run_dir: Path, private_broker: PrivateBroker) -> None:
    """The hook spools and exits 0; the next one sends its own request first, then that."""
    url = private_broker.amqp_url(private_broker.create_vhost("fleet"))
    with WholeSystem(run_dir / "fleet", url, SystemPlan(nodes=4)) as system:
        private_broker.settle()
        private_broker.stop()
        assert system.request("resume", "node[1-2]").returncode == 0
        private_broker.start()
        system.ready()
        assert system.request("resume", "node[3-4]").returncode == 0
        system.settle(90)
        system.check()


def test_the_store_away_with_requests_in_flight(run_dir: Path, broker_url: str) -> None:
    with PostgreSQL(run_dir / "postgresql") as server:
        store = (server.create_database(), server.create_database())
        with WholeSystem(
            run_dir / "fleet", broker_url, SystemPlan(nodes=20, boot=2.0, store=store)
        ) as system:
            system.request("resume")
            until(lambda: system.cloud.counts().get("start", 0) >= 5, 30, "some start calls")
            server.stop()
            until(lambda: "store_away" in system.log("power"), 60, "the worker to notice")
            server.start()
            system.settle(120)
            system.check()
            assert system.outcomes() == {"completed": 20}
            assert system.cloud.counts()["start"] == 20
