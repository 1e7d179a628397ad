"""The audit worker during a broker restart: redelivered events are recorded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from schemas.events import Transition
from tests.testbed.installation import Installation
from tests.testbed.messages import command, event, published
from tests.testbed.waiting import until
from workers.broker import topology
from workers.store.database import connect
from workers.store.tables import audit

if TYPE_CHECKING:
    from pathlib import Path

    from producers.message import Message
    from tests.testbed.broker import PrivateBroker


def test_a_broker_restart_under_load_loses_no_event_and_records_none_twice(
    run_dir: Path, private_broker: PrivateBroker
) -> None:
    site = Installation(run_dir / "site", private_broker.amqp_url(private_broker.create_vhost()))
    site.prepare()
    engine = connect(site.settings.store.audit_url)

    def recorded() -> int:
        with engine.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(audit)).scalar_one()

    def some(first: int) -> list[Message]:
        return [
            published(event(Transition.ACCEPTED, command(f"node{i}")))
            for i in range(first, first + 2000)
        ]

    site.publish(some(0))
    with site.start("worker", "audit"):
        until(lambda: recorded() > 0, 30.0, "the first batch")
        private_broker.restart()
        site.publish(some(2000))
        until(lambda: recorded() == 4000, 60.0, "all records")
        site.wait_depth(topology.AUDIT_QUEUE, 0)
    engine.dispose()
