"""What calls have done is stored some moments later, but before it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.testbed.deliveries import delivery
from tests.testbed.instant import InstantCloud, InstantLink, engine_on
from tests.testbed.requests import resume
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from workers.broker.delivery import Delivery


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
