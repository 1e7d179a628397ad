"""Takes the nodes' next steps: queues and makes calls, finishes, retries and parks; and lists clouds."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf

from schemas.commands import Desired
from schemas.events import Cause, CloudAction, Transition
from workers.broker.topology import RETRY_TIERS
from workers.clouds.actions import CREATE, REBOOT, SHELVE, STOP
from workers.clouds.decide import Act
from workers.clouds.driver import CloudDriver
from workers.clouds.health import GroupRest
from workers.config.tables import PowerSettings
from workers.power.calls import Guard
from workers.power.next_step import BOOTS_STUCK, CloudSituation, next_step
from workers.power.node import LOOKING, QUEUED, Calling, Judging, PendingNode, Queued, recorded
from workers.power.publisher import Publisher
from workers.power.state import EngineState
from workers.power.steps import Finish, MakeCall, ParkNode, Retry, Step, WaitFor
from workers.store.power_store import OtherBoot, PowerStore
from workers.store.slurm_view import SnapshotReader


@dataclass(slots=True)
class StepTaker:
    """Decides and carries out, for the nodes that something has happened to."""

    settings: PowerSettings
    state: EngineState
    clouds: Mapping[str, CloudDriver]
    store: PowerStore
    snapshots: SnapshotReader
    publisher: Publisher
    registers_within: float
    cloud_of: Mapping[str, str]
    _rest: GroupRest = field(default_factory=GroupRest)
    # calls that were decided in this turn
    _decided: dict[str, Act] = field(default_factory=dict)

    def turn(self) -> None:
        """Take the next step of each node that is due."""
        now = time.monotonic()
        for name in self.state.agenda.take(now, self.state.is_wanted_up):
            node = self.state.nodes.get(name)
            if node is not None and name not in self.state.finished:
                self.take(node, self.step(node, now))

    def step(self, node: PendingNode, now: float) -> Step:
        """The node's next step; `now` in monotonic seconds."""
        cloud = self.clouds[node.group.cloud]
        view = CloudSituation(
            cloud.view,
            cloud.health,
            cloud.tokens_away,
            oldest=now - cloud.listing_lasts,
            peers=partial(self.state.on_cloud, cloud.name),
            elsewhere=partial(self._elsewhere, cloud.name),
        )
        refusal = self._rest.refusal(node.group_name, now)
        step = next_step(node, view, refusal, registered=False, now=now)
        if node.row.boot_due and _depends_on_slurm(step):
            registered = self.snapshots.has_registered(node.name, node.row.generation)
            step = next_step(node, view, refusal, registered=registered, now=now)
        return step

    def _elsewhere(self, cloud: str) -> list[OtherBoot]:
        boots = self.store.boots_elsewhere()
        return [boot for boot in boots if self.cloud_of.get(boot.node) == cloud]

    def take(self, node: PendingNode, step: Step) -> None:
        """Carry a step out."""
        cloud = self.clouds[node.group.cloud]
        match step:
            case WaitFor():
                self._note_room(node)
                self.state.agenda.wait(node.name, cloud.name, step)
                if step.whole:
                    cloud.list_whole_next()
                age = node.boot_age(time.monotonic())
                if step.listing and cloud.pace.left(node.group_name, age) is None:
                    cloud.list_as_usual()
            case MakeCall(act) if node.group.dry_run:
                self._rehearse(node, cloud, act)
            case MakeCall(act):
                self._decided[node.name] = act
                self.state.nodes[node.name] = replace(node, phase=QUEUED)
                cloud.queue(node.name, first=node.row.desired is Desired.UP)
            case Finish():
                self._finish(node, cloud, step)
            case Retry(cause):
                self._retry(node, cloud, cause)
            case ParkNode(cause, tier, afresh):
                now = time.monotonic()
                stuck_for = now - cloud.health.stuck_at
                if cause.error == BOOTS_STUCK and stuck_for >= node.group.boot_timeout:
                    cloud.health = cloud.health.boots_stuck(now)
                self.park(node, cause, tier, afresh=afresh)

    def park(self, node: PendingNode, cause: Cause, tier: str, *, afresh: bool = False) -> None:
        """Let the node's requests rest in a retry tier, their attempts unchanged."""
        if node.is_calling:
            return  # its answer comes first, and leads here again
        for request in node.requests:
            self.publisher.parked(request, cause, tier)
        self._leave(node, RETRY_TIERS[tier] if node.requests else 0.0, afresh=afresh)

    def _finish(self, node: PendingNode, cloud: CloudDriver, finish: Finish) -> None:
        now = time.monotonic()
        if finish.cause is not None:
            cause = self._rest.note(node.group_name, finish.cause, node.group.cool_down, now)
            finish = replace(finish, cause=cause)
            self._decided.clear()  # the group may rest from now on
        if finish.transition is Transition.COMPLETED and node.is_booting:
            cloud.health = cloud.health.boot_completed(now)
            cloud.pace.booted(node.group_name, now - node.patient_since)
        self.state.finished[node.name] = node, finish

    def _note_room(self, node: PendingNode) -> None:
        """Let the group rest at once if the cloud had no room, not only when the node has failed."""
        failed = node.phase
        if isinstance(failed, Judging):
            cause = self._rest.note(
                node.group_name, failed.fault, node.group.cool_down, time.monotonic()
            )
            if cause != failed.fault:
                self.state.nodes[node.name] = replace(node, phase=replace(failed, fault=cause))
                self._decided.clear()

    def _rehearse(self, node: PendingNode, cloud: CloudDriver, act: Act) -> None:
        """End a dry run: note what would be called first, and call nothing."""
        if cloud.view.as_of <= node.fresh_after:
            self.state.agenda.wait(node.name, cloud.name, WaitFor(listing=True))
            return
        now = time.monotonic()
        call = Calling(act, node.row, node.key, now)
        action = CloudAction(act.action, act.server_id or "none", time.time_ns(), "dry_run")
        servers = cloud.view.find(node.name, node.row.server_id)
        server = servers[0] if len(servers) == 1 else None
        node = recorded(node, call, action, now)
        self._finish(node, cloud, Finish(Transition.COMPLETED, None, server))

    def _retry(self, node: PendingNode, cloud: CloudDriver, cause: Cause) -> None:
        """Send the requests to their next tier, or end them.

        They end when all that ask for what was tried have had their attempts: an old request must
        not take a new one with it.
        """
        tried = [r for r in node.requests if r.command.desired is node.row.desired] or node.requests
        if all(r.history.attempt + 1 >= self.settings.attempts for r in tried):
            self._finish(node, cloud, Finish(Transition.FAILED, cause, None))
            return
        tiers = [self.publisher.retried(request, cause) for request in node.requests]
        self._leave(node, max(RETRY_TIERS[tier] for tier in tiers))

    def _leave(self, node: PendingNode, rest: float, *, afresh: bool = False) -> None:
        """Release a node whose requests rest for some seconds; their patience goes on meanwhile."""
        waited = time.monotonic() - node.patient_since + rest
        self.state.batch.waited[node.key] = 0.0 if afresh else waited
        self.state.release(node.name)

    def act(self) -> float:
        """Make the calls whose turn it is, and list, once an interval, the clouds that are waited for.

        Returns:
            Monotonic seconds when the next call or listing is due; infinity if none is.

        Raises:
            What `STORE_ERRORS` names: the store is away.
        """
        now, due = time.monotonic(), inf
        for cloud in self.clouds.values():
            while cloud.waiting and (name := cloud.next_turn(now)) is not None:
                node = self.state.nodes.get(name)
                queued = node is not None and isinstance(node.phase, Queued)
                if node is not None and queued and name not in self.state.finished:
                    self._call(cloud, node, now)
            if cloud.waiting:
                due = min(due, cloud.turn_at())
            wanted = self.state.by_cloud[cloud.name] or cloud.ordered is not None or cloud.away
            if wanted and not cloud.listing_now:
                due = min(due, self._list_if_due(cloud, now))
        self._decided.clear()
        return due

    def _list_if_due(self, cloud: CloudDriver, now: float) -> float:
        """List if that is due; when the next listing is (monotonic seconds), infinity during one."""
        if cloud.ordered is not None:
            cloud.list_as_usual()
        due = cloud.listing_at()
        if now < due:
            return due
        nodes, interval = self.state.on_cloud(cloud.name), self.settings.poll_interval
        pending = [(n.group_name, n.boot_age(now)) for n in nodes]
        cloud.list(interval, cloud.pace.next_in(pending, interval), nodes)
        return inf

    def _call(self, cloud: CloudDriver, node: PendingNode, now: float) -> None:
        """Make a call; what was decided in an earlier turn may no longer be so, and is decided again."""
        act = self._decided.get(node.name)
        if act is None:
            node = self.state.nodes[node.name] = replace(node, phase=LOOKING)
            step = self.step(node, now)
            if not isinstance(step, MakeCall):
                self.take(node, step)
                return
            act = step.act
        image_id = self.store.image_of(node.group_name) if act.action == CREATE else None
        call, calling = node.call_for(act, image_id), Calling(act, node.row, node.key, now)
        guard = Guard(
            self.store,
            self.snapshots,
            self.settings.api_timeout,
            node.row,
            node.request,
            self.registers_within,
            is_reboot=act.for_slurm,
            ends_deploy=act.action in {STOP, SHELVE} and node.is_deployed,
            replaces=act.action in {CREATE, REBOOT} or act.because is not None,
            seen_on=cloud.view.on_since(act.server_id),
        )
        self.state.nodes[node.name] = replace(node, phase=calling)
        cloud.call(call, guard)


def _depends_on_slurm(step: Step) -> bool:
    """Whether the step of a node whose boot is due would be another one if Slurm counted it as running."""
    if isinstance(step, MakeCall):
        return step.act.for_slurm
    return not isinstance(step, WaitFor) or step.whole
