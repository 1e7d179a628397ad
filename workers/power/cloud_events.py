"""Takes in what clouds answer: results of calls and of listings."""

import time
from collections.abc import Mapping

import structlog

from workers.clouds.driver import Answered, CloudDriver, Listed
from workers.clouds.errors import Then, Verdict
from workers.power.calls import NotWantedError, may_take_effect, rest_asked, verdict_on
from workers.power.decide import BOOTS
from workers.power.metrics import PowerMetrics
from workers.power.next_step import action_of, learn_answer
from workers.power.node import DONE, Calling
from workers.power.state import EngineState

_PROBE_TOKENS = 1.0


class CloudEvents:
    """Updates nodes and clouds by what clouds answer. All on the engine's thread.

    Args:
        state: of the engine.
        clouds: by name.
        api_timeout: seconds.
        metrics: count what happens.
    """

    def __init__(
        self,
        state: EngineState,
        clouds: Mapping[str, CloudDriver],
        api_timeout: float,
        metrics: PowerMetrics,
    ) -> None:
        self._state = state
        self._clouds = clouds
        self._api_timeout = api_timeout
        self._metrics = metrics
        self._log = structlog.get_logger()

    def answered(self, event: Answered) -> set[str]:
        """A call has ended; the nodes whose rows must be read again."""
        cloud = self._clouds[event.cloud]
        now, time_ns = time.monotonic(), time.time_ns()
        if not event.call.group:
            cloud.answered(now)
            self._stray_deleted(event)
            return set()
        node = self._state.nodes[event.call.node]
        call = node.phase
        if not isinstance(call, Calling):
            raise TypeError(f"{node.name} has no call under way")
        answer, verdict = event.answer, None
        refused = isinstance(answer, NotWantedError)
        if isinstance(answer, BaseException):
            verdict = None if refused else verdict_on(answer)
            if may_take_effect(answer):
                self._state.batch.unsettled.add(node.name)
        made = action_of(call, answer, verdict, time_ns)
        learned = learn_answer(
            node,
            call,
            answer,
            verdict,
            now=now,
            time_ns=time_ns,
            api_timeout=self._api_timeout,
        )
        correlation_id = node.correlation_id(call.key)
        self._state.put(learned, touch=True)
        if refused:
            cloud.answered(now)
            self._log.info("call_not_wanted", node=node.name, why=str(answer))
            return {node.name}
        batch = self._state.batch
        if call.key in learned.actions:
            batch.actions[call.key] = learned.actions[call.key]
            batch.waited.pop(call.key, None)
            if made.result == DONE and made.action in BOOTS:
                batch.booted[node.name] = call.row.generation
        self._metrics.calls.labels(cloud.name, made.action, made.result).observe(now - call.since)
        self._log.info(
            "call_answered",
            node=node.name,
            generation=call.row.generation,
            correlation_id=correlation_id,
            cloud=cloud.name,
            action=made.action,
            result=made.result,
            error=None if verdict is None else verdict.cause.message,
        )
        sick = verdict is not None and verdict.then in {Then.HOLD, Then.PARK, Then.PROBE}
        acted_for = None if sick else node.name
        cloud.answered(now, well=verdict is None, acted_for=acted_for)
        if verdict is not None and isinstance(answer, BaseException):
            self._learn_error(cloud, node.name, answer, verdict, now)
        return set()

    def _learn_error(
        self, cloud: CloudDriver, node: str, error: BaseException, verdict: Verdict, now: float
    ) -> None:
        """What the error of a call says about its cloud."""
        then = verdict.then
        if then is Then.LOOK:
            # what a listing of changes has shown is not so
            cloud.list_whole_next()
        elif then is Then.SLOW_DOWN:
            cloud.slow_down(now + rest_asked(error))
        elif then is Then.PROBE:
            cloud.health = cloud.health.call_failed(node, now)
            cloud.list_soon(now)
        elif then is Then.PARK:
            cloud.health = cloud.health.listing_failed(verdict.cause, now)
            self._state.agenda.touch(self._state.by_cloud[cloud.name])
        elif then is Then.HOLD:
            self._tokens_away(cloud, now)

    def listed(self, event: Listed) -> None:
        """A listing has ended."""
        cloud = self._clouds[event.cloud]
        away = cloud.tokens_away or cloud.health.away is not None
        changed = cloud.listed(event)
        now = time.monotonic()
        verdict = None
        if isinstance(event.listing, BaseException):
            verdict = verdict_on(event.listing)
        result = DONE if verdict is None else verdict.cause.error
        self._metrics.calls.labels(cloud.name, "list", result).observe(now - event.asked)
        if verdict is not None and isinstance(event.listing, BaseException):
            self._not_listed(cloud, verdict, event.listing, now)
            return
        if away:
            self._log.info("cloud_back", cloud=cloud.name)
            self._state.agenda.touch(self._state.by_cloud[cloud.name])
        if changed:
            self._state.touch(changed)
        self._state.agenda.listed(cloud.name, whole=event.whole)

    def _not_listed(
        self, cloud: CloudDriver, verdict: Verdict, error: BaseException, now: float
    ) -> None:
        if verdict.then is Then.HOLD:
            self._tokens_away(cloud, now)
        elif verdict.then is Then.SLOW_DOWN:
            cloud.slow_down(now + rest_asked(error))
        else:
            self._note_away(cloud, verdict.cause.error)
            cloud.tokens_away = False
            cloud.health = cloud.health.listing_failed(verdict.cause, now)
            cloud.list_later(now + cloud.health.probe_in)
            self._state.agenda.touch(self._state.by_cloud[cloud.name])

    def _tokens_away(self, cloud: CloudDriver, now: float) -> None:
        self._note_away(cloud, "token_service_away")
        cloud.tokens_away = True
        cloud.list_later(now + _PROBE_TOKENS)

    def _note_away(self, cloud: CloudDriver, cause: str) -> None:
        if not cloud.away:
            pending = len(self._state.by_cloud[cloud.name])
            self._log.warning("cloud_away", cloud=cloud.name, cause=cause, pending=pending)

    def _stray_deleted(self, event: Answered) -> None:
        error = None if isinstance(event.answer, str) else str(event.answer)
        self._log.warning(
            "stray_deleted", cloud=event.cloud, server_id=event.call.server_id, error=error
        )
