"""Takes the nodes' next steps: queues calls, finishes, retries and parks."""

import time
from collections.abc import Mapping
from dataclasses import replace

from schemas.commands import Desired
from schemas.events import Cause, CloudAction, Transition
from workers.broker.topology import RETRY_TIERS
from workers.clouds.driver import CloudDriver
from workers.config.tables import PowerSettings
from workers.power.decide import Act
from workers.power.group_rest import GroupRest
from workers.power.next_step import BOOTS_STUCK, CloudView, next_step
from workers.power.node import QUEUED, Calling, PendingNode, recorded
from workers.power.publisher import Publisher
from workers.power.slurm_view import SnapshotReader
from workers.power.state import EngineState
from workers.power.steps import Finish, MakeCall, ParkNode, Retry, Step, WaitFor

_DRY_RUN = "dry_run"


class StepTaker:
    """Decides and carries out, for the nodes that something has happened to.

    Args:
        settings: of the power worker.
        state: of the engine.
        clouds: by name.
        snapshots: what Slurm's snapshots say.
        publisher: answers requests.
    """

    def __init__(
        self,
        settings: PowerSettings,
        state: EngineState,
        clouds: Mapping[str, CloudDriver],
        snapshots: SnapshotReader,
        publisher: Publisher,
    ) -> None:
        self._settings = settings
        self._state = state
        self._clouds = clouds
        self._snapshots = snapshots
        self._publisher = publisher
        self._rest = GroupRest()

    def turn(self) -> None:
        """Take the next step of each node that is due."""
        now = time.monotonic()
        for name in self._state.agenda.take(now):
            node = self._state.nodes.get(name)
            if node is not None and name not in self._state.batch.finished:
                self.take(node, self.step(node, now))

    def step(self, node: PendingNode, now: float) -> Step:
        """The node's next step; `now` in monotonic seconds."""
        cloud = self._clouds[node.group.cloud]
        interval = cloud.limiter.interval(self._settings.poll_interval)
        view = CloudView(
            cloud.view,
            cloud.health,
            cloud.tokens_away,
            oldest=now - 2 * interval,
            peers=lambda: self._state.on_cloud(cloud.name),
        )
        refusal = self._rest.refusal(node.group_name, now)
        registered = node.row.boot_due and self._snapshots.has_registered(
            node.name, node.row.generation
        )
        return next_step(node, view, refusal, registered=registered, now=now)

    def take(self, node: PendingNode, step: Step) -> None:
        """Carry a step out."""
        cloud = self._clouds[node.group.cloud]
        match step:
            case WaitFor():
                self._state.agenda.wait(node.name, cloud.name, step)
                if step.whole:
                    cloud.list_whole_next()
            case MakeCall(act) if node.group.dry_run:
                self._rehearse(node, cloud, act)
            case MakeCall():
                self._state.put(replace(node, phase=QUEUED))
                cloud.queue(node.name, first=node.row.desired is Desired.UP)
            case Finish():
                self._finish(node, cloud, step)
            case Retry(cause):
                self._retry(node, cloud, cause)
            case ParkNode(cause, tier, afresh):
                now = time.monotonic()
                if (
                    cause.error == BOOTS_STUCK
                    and now - cloud.health.stuck_at >= node.group.boot_timeout
                ):
                    cloud.health = cloud.health.boots_stuck(now)
                self.park(node, cause, tier, afresh=afresh)

    def park(self, node: PendingNode, cause: Cause, tier: str, *, afresh: bool = False) -> None:
        """Let the node's requests rest in a retry tier, their attempts unchanged."""
        if node.is_calling:
            return  # its answer comes first, and leads here again
        for request in node.requests:
            self._publisher.parked(request, cause, tier)
        self._leave(node, RETRY_TIERS[tier], afresh=afresh)

    def _finish(self, node: PendingNode, cloud: CloudDriver, finish: Finish) -> None:
        now = time.monotonic()
        cause = finish.cause
        if cause is not None:
            cause = self._rest.note(node.group_name, cause, node.group.cool_down, now)
        if finish.transition is Transition.COMPLETED and node.is_booting:
            cloud.health = cloud.health.boot_completed(now)
        self._state.batch.finished[node.name] = node, replace(finish, cause=cause)

    def _rehearse(self, node: PendingNode, cloud: CloudDriver, act: Act) -> None:
        """End a dry run: note what would be called first, and call nothing."""
        if cloud.view.as_of <= node.fresh_after:
            self._state.agenda.wait(node.name, cloud.name, WaitFor(listing=True))
            return
        now = time.monotonic()
        call = Calling(act, node.row, node.key, now)
        action = CloudAction(act.action, act.server_id or "none", time.time_ns(), _DRY_RUN)
        servers = cloud.view.find(node.name, node.row.server_id)
        server = servers[0] if len(servers) == 1 else None
        node = recorded(node, call, action, now)
        self._finish(node, cloud, Finish(Transition.COMPLETED, None, server))

    def _retry(self, node: PendingNode, cloud: CloudDriver, cause: Cause) -> None:
        """Send the requests to their next tier, or end them.

        They end when all that ask for what was tried have had their attempts: an old request must
        not take a new one with it.
        """
        tried = [r for r in node.requests if r.command.desired is node.row.desired]
        tried = tried or list(node.requests)
        if tried and all(r.history.attempt + 1 >= self._settings.attempts for r in tried):
            self._finish(node, cloud, Finish(Transition.FAILED, cause, None))
            return
        tiers = [self._publisher.retried(request, cause) for request in node.requests]
        self._leave(node, max((RETRY_TIERS[tier] for tier in tiers), default=0))

    def _leave(self, node: PendingNode, rest: float, *, afresh: bool = False) -> None:
        """Release a node whose requests rest for some seconds; their patience goes on meanwhile."""
        waited = time.monotonic() - node.patient_since + rest
        self._state.batch.waited[node.key] = 0.0 if afresh else waited
        self._state.release(node.name)
