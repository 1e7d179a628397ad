"""What is kept about a node's round serves that round alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.testbed.deliveries import delivery
from tests.testbed.instant import InstantCloud, InstantLink, engine_on
from tests.testbed.requests import resume, suspend
from tests.testbed.waiting import until
from workers.clouds.errors import CloudError

if TYPE_CHECKING:
    from pathlib import Path

    from workers.broker.delivery import Delivery
    from workers.clouds.nova_requests import Call


def test_a_second_resume_that_comes_with_the_answer_to_the_boot_needs_no_other(
    run_dir: Path,
) -> None:
    acked: list[Delivery] = []
    link, cloud = InstantLink(on_ack=acked.append), InstantCloud(["main1"])
    with engine_on(run_dir, link, cloud) as engine:
        first, second = delivery(resume("main1")), delivery(resume("main1"))
        engine.deliver(first)

        def booted() -> bool:
            engine.turn()
            return cloud.calls["os-start"] == 1

        until(booted, 10, "the call", interval=0)
        engine.deliver(second)

        def ended() -> bool:
            engine.turn()
            return len(acked) == 2

        until(ended, 10, "both resumes to end", interval=0)
    assert cloud.calls == {"os-start": 1}


def test_a_failed_call_is_forgotten_once_the_nodes_round_has_ended(run_dir: Path) -> None:
    acked: list[Delivery] = []

    def fails(call: Call | None) -> None:
        if call is not None:
            raise CloudError(500, "boom")

    link, cloud = InstantLink(on_ack=acked.append), InstantCloud(["main1"], fails)
    with engine_on(run_dir, link, cloud) as engine:
        health = engine._clouds["main"]

        def acknowledged(asked: Delivery) -> bool:
            engine.turn()
            return asked in acked

        failed, ends = delivery(resume("main1")), delivery(suspend("main1", after=1.0))
        engine.deliver(failed)
        until(lambda: acknowledged(failed), 10, "the resume to be parked", interval=0)
        assert set(health.health.failing) == {"main1"}
        engine.deliver(ends)
        until(lambda: acknowledged(ends), 10, "the suspend to end", interval=0)
        assert health.health.failing == {}
