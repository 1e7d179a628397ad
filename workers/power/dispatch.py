"""Sends what was decided to the clouds: calls in their turn, and listings when they are due."""

import time
from collections.abc import Mapping
from dataclasses import replace
from math import inf

from workers.clouds.actions import CREATE
from workers.clouds.driver import CloudDriver
from workers.config.tables import PowerSettings
from workers.power.calls import Guard, call_for, off_command
from workers.power.carry_out import StepTaker
from workers.power.decide import Act
from workers.power.node import LOOKING, Calling, PendingNode, Queued
from workers.power.power_store import PowerStore
from workers.power.slurm_view import SnapshotReader
from workers.power.state import EngineState
from workers.power.steps import MakeCall


class Dispatcher:
    """The engine's hand on the clouds. All on the engine's thread.

    Args:
        settings: of the power worker.
        state: of the engine.
        clouds: by name.
        store: the state store.
        snapshots: what Slurm's snapshots say.
        steps: decides, and takes steps.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a world of its own
        self,
        settings: PowerSettings,
        state: EngineState,
        clouds: Mapping[str, CloudDriver],
        store: PowerStore,
        snapshots: SnapshotReader,
        steps: StepTaker,
    ) -> None:
        self._settings = settings
        self._state = state
        self._clouds = clouds
        self._store = store
        self._snapshots = snapshots
        self._steps = steps

    def make_calls(self) -> None:
        """Make the calls whose turn it is.

        Raises:
            What `STORE_ERRORS` names: the store is away.
        """
        now = time.monotonic()
        for cloud in self._clouds.values():
            while cloud.waiting and (name := cloud.next_turn(now)) is not None:
                node = self._state.nodes.get(name)
                if node is None or not isinstance(node.phase, Queued):
                    continue
                if name not in self._state.batch.finished:
                    self._call(cloud, replace(node, phase=LOOKING), now)

    def _call(self, cloud: CloudDriver, node: PendingNode, now: float) -> None:
        """Decide again: what was decided when the node was queued may no longer be so."""
        self._state.put(node)
        step = self._steps.step(node, now)
        if isinstance(step, MakeCall):
            self._send(cloud, node, step.act, now)
        else:
            self._steps.take(node, step)

    def _send(self, cloud: CloudDriver, node: PendingNode, act: Act, now: float) -> None:
        image_id = self._store.image_of(node.group_name) if act.action == CREATE else None
        guard = Guard(
            self._store,
            self._snapshots,
            self._settings.api_timeout,
            node.row,
            off_command(node),
            is_reboot=act.for_slurm,
        )
        self._state.put(replace(node, phase=Calling(act, node.row, node.key, now)))
        cloud.call(call_for(node, act, image_id), guard)

    def list_due(self) -> float:
        """List, once an interval, the clouds that something waits for.

        Returns:
            Monotonic seconds when the next listing or call is due; infinity if none is.
        """
        now, due = time.monotonic(), inf
        for cloud in self._clouds.values():
            if cloud.waiting:
                due = min(due, cloud.turn_at())
            if not cloud.listing_now and (cloud.is_ordered or self._state.waits_for(cloud.name)):
                due = min(due, cloud.list_if_due(now, self._settings.poll_interval))
        return due
