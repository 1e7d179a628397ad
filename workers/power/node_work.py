"""A node that is being reconciled, and what becomes of the requests that wait for it."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from schemas.commands import Desired, PowerCommand
from schemas.events import Cause, CloudAction, RequestEvent, Transition, transition_event
from schemas.server import Server
from workers.clouds.actions import REBOOT, Strategy
from workers.clouds.servers import ServerView
from workers.config.groups import GroupSettings
from workers.power.decide import Limits, NodeView
from workers.power.desired_state import DesiredRow
from workers.power.intake import Pending

RoundKey: TypeAlias = tuple[str, int]
DONE = "done"
DRY_RUN = "dry_run"


@dataclass(slots=True)
class Work:
    """A node under reconciliation; lives as long as a request waits for it.

    Attributes:
        group_name, group: its group.
        row: its desired state, as last read.
        began: ns since the epoch.
        pending: who waits.
        actions: the cloud actions made, by request and round.
        look_after: monotonic seconds; only what was listed later can end the matter.
        called: whether a call was answered: from then on only what was listed later counts at all.
        calling: whether a call is under way.
        queued: whether it waits for its turn to call.
        fault: the error of a call that the next listing will judge.
        looks: how often in a row the cloud has said that the server is not as thought.
        trouble: what was wrong with a server that was deleted for it.
        image_id: the image that was made for this generation, once it is ready.
    """

    node: str
    group_name: str
    group: GroupSettings
    row: DesiredRow
    began: int
    look_after: float
    pending: list[Pending] = field(default_factory=list)
    actions: dict[RoundKey, list[CloudAction]] = field(default_factory=dict)
    called: bool = False
    calling: bool = False
    queued: bool = False
    fault: Cause | None = None
    looks: int = 0
    trouble: Cause | None = None
    image_id: str | None = None

    @property
    def key(self) -> RoundKey:
        """The request and round on whose behalf actions are made now."""
        rounds = [p.past.round for p in self.pending if p.command.id == self.row.request_id]
        return self.row.request_id, max(rounds, default=1)

    @property
    def baking(self) -> PowerCommand | None:
        """The bake that the row asks for; None where it asks for none, or it waits elsewhere."""
        asked = (p.command for p in self.pending if p.command.id == self.row.request_id)
        return next((c for c in asked if c.image is not None), None)

    @property
    def overtaken(self) -> bool:
        """Whether a later bake is wanted, which waits elsewhere: all that waits here is superseded."""
        return self.row.desired is Desired.BAKED and self.baking is None

    def correlation_id(self, key: RoundKey) -> str | None:
        """Of the hook call that this request came of, if it still waits."""
        return next((p.command.correlation_id for p in self.pending if p.key == key), None)

    @property
    def limits(self) -> Limits:
        """Its group's patience and means."""
        return Limits(
            self.group.boot_timeout,
            self.group.stop_timeout,
            self.group.boots,
            Strategy(self.group.strategy),
            creates=self.group.server is not None,
            deploy_wait=self.group.deploy_wait,
            bake_timeout=self.group.bake_timeout,
        )

    def sight(self, view: ServerView, now: int, oldest: float) -> NodeView | None:
        """What is known of the node, or None while nothing recent is.

        Args:
            view: its cloud's servers.
            now: ns since the epoch.
            oldest: monotonic seconds; a listing requested earlier tells nothing.
        """
        settles = view.as_of > self.look_after
        if not settles and (self.called or view.as_of < oldest):
            return None
        made = self.actions.get(self.key, ())
        done = [action for action in made if action.result == DONE]
        servers = view.find(self.node, self.row.server_id)
        return NodeView(
            servers=servers,
            settles=settles,
            calls=Counter(action.action for action in done),
            waited_since=done[-1].time if done else self.began,
            now=now,
            ours=view.ours(servers, self.row.server_id),
            trouble=self.trouble,
            image_id=self.image_id,
            recovered=any(action.action == REBOOT for action in made),
        )

    def look_later(self, moment: float) -> None:
        """Only what is listed after this moment (monotonic seconds) can end the matter."""
        self.look_after = max(self.look_after, moment)

    def record(self, key: RoundKey, action: CloudAction) -> None:
        """Note a call that was answered, on behalf of that request and round."""
        self.actions.setdefault(key, []).append(action)

    def events(
        self, transition: Transition, cause: Cause | None, server: Server | None, now: int
    ) -> list[tuple[Pending, RequestEvent]]:
        """How each waiting request ends when the node has got as far as it will.

        What asked for the opposite of the desired state has been superseded: its generation is
        lower, or it would be the desired state. So has a bake by a later one: each names its image.
        """
        ended = []
        for pending in self.pending:
            agrees = self._agrees(pending.command)
            own = transition_event(
                pending.command,
                transition if agrees else Transition.SUPERSEDED,
                round_=pending.past.round,
                time=now,
                attempt=pending.past.attempt,
            )
            ended.append((pending, self._filled(own, pending, cause if agrees else None, server)))
        return ended

    def _agrees(self, command: PowerCommand) -> bool:
        if command.desired is Desired.BAKED:
            return command.id == self.row.request_id
        return command.desired is self.row.desired

    def _runs(self, pending: Pending) -> bool:
        return self.row.desired is Desired.UP and not pending.dry_run

    def _filled(
        self, event: RequestEvent, pending: Pending, cause: Cause | None, server: Server | None
    ) -> RequestEvent:
        if event.transition is Transition.SUPERSEDED:
            cause = Cause(
                "superseded", f"generation {self.row.generation} wants the node {self.row.desired}"
            )
        return replace(
            event,
            cloud=self.group.cloud,
            server_id=server.id if server else self.row.server_id,
            address=server.address if server and self._runs(pending) else None,
            image_id=self.image_id if event.transition is Transition.COMPLETED else None,
            cause=cause,
            dry_run=pending.dry_run,
            actions=tuple(self.actions.get(pending.key, ())),
        )


def actions_to_json(actions: Iterable[CloudAction]) -> str:
    """As the store keeps them."""
    return json.dumps([action.to_data() for action in actions])


def actions_from_json(text: str) -> list[CloudAction]:
    """As the store kept them."""
    return [CloudAction(**raw) for raw in json.loads(text)]
