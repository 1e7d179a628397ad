"""Calls and listings: whose turn it is, what guards a call, and what its answer means."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count

import structlog

from schemas.events import Cause, CloudAction, Transition
from workers.clouds.actions import BAKE, CREATE, FIND_IMAGE
from workers.clouds.driver import CloudDriver
from workers.clouds.errors import CloudError, Then, Verdict, classify
from workers.clouds.nova_requests import Call
from workers.config.tables import PowerSettings
from workers.errors import LamplighterError
from workers.power.decide import Act, Decision, Settled, Wait, decide
from workers.power.desired_state import DesiredRow
from workers.power.node_work import DONE, RoundKey, Work
from workers.power.pending_nodes import PendingNodes
from workers.power.power_store import PowerStore
from workers.store.database import STORE_ERRORS

_LOOKS = 5
_REST = 1.0
# A cloud that asks for more has made a mistake, which must not stop its nodes for ever.
_LONGEST_REST = 600.0


class NotWantedError(LamplighterError):
    """Said by the guard of a call: the desired state has moved on, or the lease is not ours.

    Attributes:
        earlier: tries of this call that were made before.
    """

    def __init__(self, why: str, earlier: int) -> None:
        super().__init__(why)
        self.earlier = earlier


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A call under way: the row it was decided by, on whose behalf, what it is, and since when."""

    wanted: DesiredRow
    key: RoundKey
    act: Act
    since: float


class Calls:
    """The engine's hand on the clouds. All methods but `_guard` run on the engine's thread.

    Args:
        settings: of the power worker.
        board: the nodes.
        book: the store.
        sites: the clouds.
        on_token_service: told when the token service goes (False) and comes back (True).
    """

    def __init__(
        self,
        settings: PowerSettings,
        board: PendingNodes,
        book: PowerStore,
        sites: Mapping[str, CloudDriver],
        on_token_service: Callable[[bool], None],
    ) -> None:
        self._settings = settings
        self._board = board
        self._book = book
        self._sites = sites
        self._on_token_service = on_token_service
        self._token_service_away = False
        self._log = structlog.get_logger()

    def decide(self, work: Work) -> Decision:
        """What to do about a node, by what its cloud has shown lately."""
        site = self._sites[work.group.cloud]
        oldest = time.monotonic() - 2 * site.pace.interval(self._settings.poll_interval)
        sight = work.sight(site.view, time.time_ns(), oldest)
        return Wait() if sight is None else decide(work.row.desired, sight, work.limits)

    # -- calling

    def make(self) -> None:
        """Make the calls whose turn it is.

        Raises:
            What says that the store is away.
        """
        now = time.monotonic()
        for site in self._sites.values():
            while (node := site.next_turn(now)) is not None:
                work = self._board.works.get(node)
                if work is None or not work.queued:
                    continue
                work.queued = False
                # its turn has come later: what was decided then may no longer be so
                decision = self.decide(work)
                if isinstance(decision, Act) and self._board.may_call(work, decision.action):
                    call = self._call(work, decision)
                    work.calling = True
                    site.call(
                        call,
                        partial(self._guard, node, work.row, count()),
                        partial(
                            self._called,
                            site,
                            work,
                            _UnderWay(work.row, work.key, decision, time.monotonic()),
                        ),
                    )
                else:
                    self._board.dirty.add(node)

    def _call(self, work: Work, act: Act) -> Call:
        """What is to be called; may ask the store."""
        image, request_id = None, ""
        if act.action == CREATE:
            image = self._book.image_of(work.group_name)
        elif act.action in {BAKE, FIND_IMAGE} and work.baking is not None:
            image, request_id = work.baking.image, work.baking.id
        return Call(act.action, act.server_id, work.node, work.group_name, image, request_id)

    def _guard(self, node: str, wanted: DesiredRow, tries: Iterator[int]) -> None:
        """Runs on the caller's thread, immediately before each try of a call.

        Raises:
            NotWantedError: it must not be made.
        """
        earlier = next(tries)
        row = self._book.read([node])[node]
        if row.lease_owner != self._book.owner:
            raise NotWantedError("the lease is no longer ours", earlier)
        if row.generation != wanted.generation:
            raise NotWantedError(f"generation {row.generation} has come", earlier)
        if row.held is not None:
            raise NotWantedError(f"it is on hold: {row.held}", earlier)
        if row.lease_left <= self._settings.api_timeout:
            raise NotWantedError(f"the lease ends in {row.lease_left:.1f} s", earlier)

    def _called(
        self, site: CloudDriver, work: Work, call: _UnderWay, answer: str | BaseException
    ) -> None:
        error = answer if isinstance(answer, BaseException) else None
        work.calling = False
        self._board.dirty.add(work.node)
        if isinstance(error, STORE_ERRORS):
            raise error
        if error is not None and _may_land(error):
            work.look_later(time.monotonic() + self._settings.api_timeout)
            self._board.unsure.add(work.node)
        if isinstance(error, NotWantedError):
            work.called = True
            work.look_later(time.monotonic())
            self._log.info("call_not_wanted", node=work.node, why=str(error))
            self._board.reread.add(work.node)
            return
        verdict = None if error is None else _verdict(error)
        result = DONE if verdict is None else verdict.cause.error
        act = call.act
        seconds = time.monotonic() - call.since
        self._board.figures.called(site.name, act.action, result, seconds)
        self._note(work, call, answer, result)
        if act.because is not None:
            work.trouble = act.because
        self._log.info(
            "call_answered",
            node=work.node,
            generation=call.wanted.generation,
            correlation_id=work.correlation_id(call.key),
            cloud=site.name,
            action=act.action,
            result=result,
            error=None if verdict is None else verdict.cause.message,
        )
        if verdict is None or verdict.then not in {Then.HOLD, Then.PARK, Then.PROBE}:
            site.health = site.health.call_answered()
        if verdict is None:
            site.pace.answered(time.monotonic())
        if verdict is None or verdict.then is not Then.SLOW_DOWN:
            work.called = True
            work.look_later(time.monotonic())
        if verdict is None:
            work.looks = 0
        else:
            self._cloud_failed(site, work, verdict, _retry_after(error))
            if work.row.generation == call.wanted.generation:
                self._work_failed(work, verdict)

    def _note(self, work: Work, call: _UnderWay, answer: str | BaseException, result: str) -> None:
        """Keep what was done; what was only asked changes nothing, and can be asked again."""
        answered = answer if isinstance(answer, str) else None
        if call.act.action != FIND_IMAGE:
            server_id = answered or call.act.server_id or "none"
            action = CloudAction(call.act.action, server_id, time.time_ns(), result)
            work.record(call.key, action)
            self._board.acted[call.key] = work.actions[call.key]
        elif work.row.generation == call.wanted.generation:
            work.image_id = answered

    def _cloud_failed(
        self, site: CloudDriver, work: Work, verdict: Verdict, retry_after: float
    ) -> None:
        """What an error of a call says about its cloud."""
        now, cause = time.monotonic(), verdict.cause
        if verdict.then is Then.LOOK:
            if cause.error == "not_found":
                site.list_all_next()
        elif verdict.then is Then.SLOW_DOWN:
            site.slow_down(now + retry_after)
        elif verdict.then is Then.PROBE:
            site.health = site.health.call_failed(work.node, now)
            site.list_soon(now)
        elif verdict.then is Then.PARK:
            site.health = site.health.listing_failed(cause, now)
            self._board.park(work, cause, site.health.rest(now))
        elif verdict.then is Then.HOLD:
            self._token_service_is(there=False)

    def _work_failed(self, work: Work, verdict: Verdict) -> None:
        """What it says about the requests, if they are still what is wanted."""
        if verdict.then is Then.LOOK:
            work.looks += 1
            if work.looks > _LOOKS:
                self._board.retry(work, verdict.cause)
        elif verdict.then is Then.PROBE:
            work.fault = verdict.cause
        elif verdict.then is Then.REJECT:
            self._board.end(work, Transition.FAILED, verdict.cause, None)

    # -- listing

    def list_due(self) -> None:
        """List, once an interval, what `_to_list` names."""
        now = time.monotonic()
        for site in self._to_list():
            if now >= site.listing_at():
                site.list(self._settings.poll_interval, partial(self._listed, site, now))

    def next_due(self) -> float | None:
        """Monotonic seconds when the next listing is due, if any is."""
        return min((site.listing_at() for site in self._to_list()), default=None)

    def _to_list(self) -> list[CloudDriver]:
        """Clouds that nodes or a snapshot wait for; those that are away, all when the tokens are."""
        waited_for = {work.group.cloud for work in self._board.works.values()}
        return [
            site
            for site in self._sites.values()
            if not site.listing_now
            and (
                site.name in waited_for
                or site.ordered is not None
                or site.health.away is not None
                or self._token_service_away
            )
        ]

    def _token_service_is(self, *, there: bool) -> None:
        if there is self._token_service_away:
            self._token_service_away = not there
            self._on_token_service(there)

    def _listed(self, site: CloudDriver, asked: float, error: BaseException | None) -> None:
        result = DONE if error is None else _verdict(error).cause.error
        self._board.figures.called(site.name, "list", result, time.monotonic() - asked)
        here = self._board.of_cloud(site.name)
        self._board.dirty.update(work.node for work in here)
        if error is not None:
            self._not_listed(site, here, _verdict(error), _retry_after(error))
            return
        self._token_service_is(there=True)
        if site.health.away is not None:
            self._log.info("cloud_back", cloud=site.name)
        site.health = site.health.listing_succeeded()
        for work in here:
            if work.fault is not None and site.view.as_of > work.look_after:
                self._judge(site, work, work.fault)

    def _not_listed(
        self, site: CloudDriver, here: list[Work], verdict: Verdict, retry_after: float
    ) -> None:
        now = time.monotonic()
        if verdict.then is Then.HOLD:
            self._token_service_is(there=False)
            site.next_listing = now + _REST
        elif verdict.then is Then.SLOW_DOWN:
            site.slow_down(now + retry_after)
        else:
            if site.health.away is None:
                self._log.warning(
                    "cloud_away", cloud=site.name, cause=verdict.cause.error, pending=len(here)
                )
            site.health = site.health.listing_failed(verdict.cause, now)
            site.next_listing = now + site.health.probe_in
            for work in here:
                self._board.park(work, verdict.cause, site.health.rest(now))

    def _judge(self, site: CloudDriver, work: Work, fault: Cause) -> None:
        """A call failed, a listing did not: the trouble is the node's, or all actions'."""
        work.fault = None
        if isinstance(self.decide(work), Settled):
            return  # it has taken effect all the same
        if site.health.actions_away:
            self._board.park(work, fault, site.health.rest(time.monotonic()))
        else:
            self._board.retry(work, fault)


def _may_land(error: BaseException) -> bool:
    """Whether the call, or an earlier try of it, may still take effect."""
    if isinstance(error, NotWantedError):
        return error.earlier > 0
    if isinstance(error, CloudError):
        return not error.answered
    return not isinstance(error, LamplighterError)


def _verdict(error: BaseException) -> Verdict:
    if isinstance(error, LamplighterError):
        return classify(error)
    return Verdict(Cause("unknown", f"{type(error).__name__}: {error}"), Then.PROBE)


def _retry_after(error: BaseException | None) -> float:
    """Seconds that the cloud asks us to wait."""
    asked = error.retry_after if isinstance(error, CloudError) else None
    return min(asked or _REST, _LONGEST_REST)
