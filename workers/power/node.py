"""A node that has requests waiting, as the engine knows it, and how an event changes it. Pure.

A PendingNode lives while a request waits for it or a call is under way. Times are monotonic seconds.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from schemas.commands import Desired, PowerCommand
from schemas.events import Cause, CloudAction
from workers.clouds.actions import BAKE, BOOTS, CREATE, DELETE, FIND_IMAGE, REBOOT
from workers.clouds.decide import Act, NodeView
from workers.clouds.errors import MAY_BE_DONE, Then
from workers.clouds.nova_requests import Call
from workers.clouds.servers import ServerView
from workers.config.groups import GroupSettings
from workers.power.intake import Pending
from workers.power.steps import Finish, ParkNode
from workers.store.nodes import DesiredRow
from workers.store.requests import RoundKey

DONE = "done"
MOST_REQUESTS = 4  # of a node
# Only their own request may carry these out.
OF_OPERATORS = frozenset({Desired.BAKED, Desired.GONE, Desired.READY})


@dataclass(frozen=True, slots=True)
class Looking:
    """The next listing, or time, decides what comes next."""


@dataclass(frozen=True, slots=True)
class Queued:
    """Waits for its turn to call."""


@dataclass(frozen=True, slots=True)
class Calling:
    """A call is under way: by which row it was decided, on whose behalf, and since when."""

    act: Act
    row: DesiredRow
    key: RoundKey
    since: float


@dataclass(frozen=True, slots=True)
class Judging:
    """A call failed; what is listed next tells whether the node or its cloud is broken, or neither.

    `then` is what the error means: PROBE; PARK, which is never the node's own fault; REJECT, which
    the same call would get again; or LOOK, too often in a row.
    """

    fault: Cause
    act: Act
    then: Then = Then.PROBE


@dataclass(frozen=True, slots=True)
class Decided:
    """A call was not made: the node rests, or is left to Slurm."""

    step: ParkNode | Finish


Phase: TypeAlias = Looking | Queued | Calling | Judging | Decided
LOOKING, QUEUED = Looking(), Queued()


@dataclass(frozen=True, slots=True)
class PendingNode:
    """One node.

    Attributes:
        group_name, group: its group.
        row: its desired state, as last read from the store.
        requests: those that wait for it.
        actions: the cloud actions made, by request and round.
        phase: what it waits for.
        fresh_after: only a listing that is requested later can end a round.
        patient_since: when the last call was answered that may have been made, else when the round was accepted.
        called: whether a call was answered: older listings count for nothing from then on.
        conflicts: how often in a row the cloud said that the server is not as expected.
        trouble: what was wrong with a server that this round has deleted.
        image_id: the image that was made for this generation, once it is ready.
    """

    name: str
    group_name: str
    group: GroupSettings
    row: DesiredRow
    fresh_after: float
    patient_since: float
    requests: tuple[Pending, ...] = ()
    actions: Mapping[RoundKey, tuple[CloudAction, ...]] = field(default_factory=dict)
    phase: Phase = LOOKING
    called: bool = False
    conflicts: int = 0
    trouble: Cause | None = None
    image_id: str | None = None

    @property
    def key(self) -> RoundKey:
        """The request and round on whose behalf calls are made now."""
        wanted = self.row.request_id
        return wanted, max((p.history.round for p in self.requests if p.id == wanted), default=1)

    @property
    def made(self) -> tuple[CloudAction, ...]:
        """The cloud actions of this round, in order."""
        return self.actions.get(self.key, ())

    @property
    def is_deployed(self) -> bool:
        """Whether a server was created for this row, or may have been, to be powered off."""
        return self.row.desired is Desired.READY and self.row.booted >= self.row.generation

    @property
    def request(self) -> Pending | None:
        """The request that raised the row to its generation; None if it waits elsewhere."""
        return next((p for p in self.requests if p.id == self.row.request_id), None)

    @property
    def baking(self) -> PowerCommand | None:
        """The bake that the row asks for; None for other rows, or if it waits elsewhere."""
        request = self.request
        return None if request is None or request.command.image is None else request.command

    @property
    def is_overtaken(self) -> bool:
        """Whether an operator wants something later that waits elsewhere, or has ended.

        What waits here is superseded: it must neither power the node off, delete it nor bake it.
        """
        return self.row.desired in OF_OPERATORS and self.request is None

    @property
    def is_calling(self) -> bool:
        """Whether a call is under way."""
        return isinstance(self.phase, Calling)

    @property
    def is_booting(self) -> bool:
        """Whether it is to run, and this round has made a call that boots it."""
        return self.row.desired is Desired.UP and any(
            action.action in BOOTS and action.result == DONE for action in self.made
        )

    def boot_age(self, now: float) -> float | None:
        """Seconds since the call that boots it was answered; None if none was, or another is under way."""
        return now - self.patient_since if self.is_booting and not self.is_calling else None

    def correlation_id(self, key: RoundKey) -> str | None:
        """The correlation id of this round's request, if it still waits."""
        return next((p.command.correlation_id for p in self.requests if p.key == key), None)

    def call_for(self, act: Act, image_id: str | None) -> Call:
        """The call to make; `image_id` replaces the template's image."""
        image, request_id, baking = None, "", self.baking
        if act.action == CREATE:
            image = image_id
        elif act.action in {BAKE, FIND_IMAGE} and baking is not None:
            image, request_id = baking.image, baking.id
        return Call(act.action, act.server_id, self.name, self.group_name, image, request_id)

    def view(self, servers: ServerView, as_of: float, *, boot_due: bool) -> NodeView:
        """What the listing that was requested at `as_of` says of the node."""
        made = self.made
        found = servers.find(self.name, self.row.server_id)
        ours = servers.ours(found)
        return NodeView(
            servers=found,
            fresh=as_of > self.fresh_after,
            calls=Counter(action.action for action in made if action.result == DONE),
            waited=as_of - self.patient_since,
            ours=ours,
            own_id=self.row.server_id,
            deleted=Counter(a.server_id for a in made if a.action == DELETE and a.result == DONE),
            trouble=self.trouble,
            image_id=self.image_id,
            recovered=any(action.action == REBOOT for action in made),
            deployed=self.is_deployed,
            boot_due=boot_due,
        )


def joined(  # noqa: PLR0913, PLR0917 - what acceptance found out
    node: PendingNode,
    request: Pending,
    row: DesiredRow,
    actions: Mapping[RoundKey, tuple[CloudAction, ...]],
    waited: Mapping[RoundKey, float],
    now: float,
) -> PendingNode:
    """After another request was accepted for it; `row` is the node's since then.

    `actions` are those that the store has of the row's and the request's rounds, and `waited` how long
    rounds had waited before, in seconds.
    """
    node = moved(node, row, now)
    before = node.key
    # whoever had the request before may have acted: earlier listings can end nothing
    node = replace(
        node,
        requests=(*node.requests, request),
        fresh_after=max(node.fresh_after, now),
        actions={**actions, **node.actions},
    )
    if len(node.requests) == 1 or node.key != before:
        # a worker that was killed may have made its first call just now
        is_known = not row.unsettled_left or any(map(_may_be_done, node.made))
        node = replace(node, patient_since=now - (waited.get(node.key, 0.0) if is_known else 0.0))
    return node


def surplus(node: PendingNode) -> tuple[Pending, ...]:
    """The oldest requests of too many: superseded by one for another state, and without a call under way.

    A backlog that waited for its nodes would fill the prefetch, and its newest requests would come last.
    """
    calling = node.phase.key if isinstance(node.phase, Calling) else None
    ordered = sorted(node.requests, key=lambda p: p.command.generation)
    old, kept = ordered[:-MOST_REQUESTS], {p.command.desired for p in ordered[-MOST_REQUESTS:]}
    return tuple(p for p in old if p.key != calling and kept != {p.command.desired})


def moved(node: PendingNode, row: DesiredRow, now: float) -> PendingNode:
    """After its row was read; what was learned, or queued, for another generation is void, but for boots."""
    if row.generation != node.row.generation:
        phase = node.phase if node.is_calling else LOOKING
        node = replace(
            node, phase=phase, conflicts=0, trouble=None, image_id=None, patient_since=now
        )
    fresh_after = node.fresh_after
    if row.unsettled_left:
        fresh_after = max(fresh_after, now + row.unsettled_left)
    booted = max(row.booted, node.row.booted)  # what we have done may not be stored yet
    if booted != row.booted:
        row = replace(row, booted=booted)
    return replace(node, row=row, fresh_after=fresh_after)


def recorded(node: PendingNode, call: Calling, action: CloudAction, now: float) -> PendingNode:
    """After a call was answered; one that may have been made starts patience again."""
    if action.action == FIND_IMAGE:
        return node
    made = node.actions.get(call.key, ())
    if made and not _may_be_done(action) and replace(made[-1], time=action.time) == action:
        made = made[:-1]  # refused once more: of such answers in a row, the last is enough
    actions, row = {**node.actions, call.key: (*made, action)}, node.row
    if counts_as_boot(action):
        row = replace(row, booted=max(row.booted, call.row.generation))
    patient_since = now if _may_be_done(action) else node.patient_since
    return replace(node, actions=actions, row=row, patient_since=patient_since)


def counts_as_boot(action: CloudAction) -> bool:
    """Whether a server that runs after this call has booted since.

    One that was off or did not exist runs only by a boot, whatever the answer was. One that was to be
    rebooted ran before.
    """
    if action.action == REBOOT:
        return action.result == DONE
    return action.action in BOOTS and _may_be_done(action)


def noted_boot(call: Calling, made: CloudAction | None, *, late: bool) -> int | None:
    """Under which generation a call has booted the node; 0 if it may have, so that the node may register."""
    if made is not None and counts_as_boot(made):
        return call.row.generation
    may_be = late or (made is not None and _may_be_done(made))
    return 0 if may_be and call.act.action in BOOTS else None


def _may_be_done(action: CloudAction) -> bool:
    return action.result == DONE or action.result in MAY_BE_DONE


def answered(node: PendingNode, now: float) -> PendingNode:
    """After a call was answered: what was listed before counts for nothing from now on."""
    return replace(node, called=True, fresh_after=max(node.fresh_after, now))


def looks_later(node: PendingNode, moment: float) -> PendingNode:
    """Only what is listed after this moment can end its round."""
    return replace(node, fresh_after=max(node.fresh_after, moment))
