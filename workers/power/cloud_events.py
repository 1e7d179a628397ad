"""Takes in what clouds answer: results of calls and of listings."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from structlog.typing import FilteringBoundLogger

from workers.clouds.driver import Answered, CloudDriver, Listed
from workers.clouds.errors import NotWantedError, Then, Verdict, classify, rest_asked
from workers.power.metrics import PowerMetrics
from workers.power.next_step import action_of, learn_answer
from workers.power.node import DONE, Calling, noted_boot
from workers.power.state import EngineState


@dataclass(frozen=True, slots=True)
class CloudEvents:
    """Updates nodes and clouds by what clouds answer. All on the engine's thread."""

    state: EngineState
    clouds: Mapping[str, CloudDriver]
    api_timeout: float
    metrics: PowerMetrics
    _log: FilteringBoundLogger = field(default_factory=structlog.get_logger)

    def answered(self, event: Answered) -> set[str]:
        """A call has ended; the nodes whose rows must be read again."""
        cloud = self.clouds[event.cloud]
        now, time_ns = time.monotonic(), time.time_ns()
        if not event.call.group:
            cloud.answered(now)
            error = None if isinstance(event.answer, str) else str(event.answer)
            server_id = event.call.server_id
            self._log.warning("stray_deleted", cloud=cloud.name, server_id=server_id, error=error)
            return set()
        node = self.state.nodes[event.call.node]
        call = node.phase
        if not isinstance(call, Calling):
            raise TypeError(f"{node.name} has no call under way")
        answer, verdict = event.answer, None
        refused = isinstance(answer, NotWantedError)
        if isinstance(answer, BaseException) and not refused:
            verdict = classify(answer)
        if event.late:
            self.state.batch.unsettled.add(node.name)
        made = action_of(call, answer, verdict, time_ns)
        settles = self.api_timeout if event.late else 0.0
        learned = learn_answer(
            node, call, answer, verdict, now=now, time_ns=time_ns, settles=settles
        )
        correlation_id = node.correlation_id(call.key)
        boot = noted_boot(call, None if refused else made, late=event.late)
        batch = self.state.batch
        self.state.put(learned, touch=True)
        if boot is not None:
            batch.booted[node.name] = max(boot, batch.booted.get(node.name, 0))
        if refused:
            cloud.answered(now)
            self._log.info("call_not_wanted", node=node.name, why=str(answer))
            return {node.name}
        if call.key in learned.actions:
            batch.actions[call.key] = learned.actions[call.key]
            batch.waited.pop(call.key, None)
        self.metrics.calls.labels(cloud.name, made.action, made.result).observe(now - call.since)
        # a gateway that says 429 shows no more than a 503 that the cloud itself acts
        sick = verdict is not None and verdict.then not in {Then.LOOK, Then.REJECT}
        # of a cloud that does not act, one line a node is enough
        again = sick and node.name in cloud.health.failing
        (self._log.debug if again else self._log.info)(
            "call_answered",
            node=node.name,
            generation=call.row.generation,
            correlation_id=correlation_id,
            cloud=cloud.name,
            action=made.action,
            result=made.result,
            error=None if verdict is None else verdict.cause.message,
        )
        acted_for, idle = None if sick else node.name, cloud.health.actions_away
        cloud.answered(now, well=verdict is None, acted_for=acted_for)
        if idle and not cloud.health.actions_away:
            self._log.info("cloud_acts_again", cloud=cloud.name)
        if verdict is not None and isinstance(answer, BaseException):
            self._failed(cloud, verdict, answer, node.name, now)
        return set()

    def listed(self, event: Listed) -> None:
        """A listing has ended."""
        cloud = self.clouds[event.cloud]
        away = cloud.tokens_away or cloud.health.away is not None
        changed = cloud.listed(event)
        now, verdict = time.monotonic(), None
        if isinstance(event.listing, BaseException):
            verdict = classify(event.listing)
            self._failed(cloud, verdict, event.listing, None, now)
        result = DONE if verdict is None else verdict.cause.error
        self.metrics.calls.labels(cloud.name, "list", result).observe(now - event.asked)
        if verdict is not None:
            return
        if away:
            self._log.info("cloud_back", cloud=cloud.name)
            self.state.agenda.touch(self.state.by_cloud[cloud.name])
        self.state.touch(changed)
        self.state.agenda.listed(cloud.name, whole=event.whole)

    def _failed(
        self,
        cloud: CloudDriver,
        verdict: Verdict,
        error: BaseException,
        node: str | None,
        now: float,
    ) -> None:
        """Let the cloud learn from an error: of a call for a node, or of a listing."""
        before, idle = cloud.away, cloud.health.actions_away
        cloud.failed(verdict, rest_asked(error), node, now)
        pending = self.state.by_cloud[cloud.name]
        cause, message = cloud.away or verdict.cause.error, verdict.cause.message
        said = {"cloud": cloud.name, "cause": cause, "error": message, "pending": len(pending)}
        if cloud.away and not before:
            self._log.warning("cloud_away", **said)
        elif cloud.health.actions_away and not idle and not before:
            self._log.warning("cloud_does_not_act", **said)
        if cloud.health.away is not None or before != cloud.away:
            self.state.agenda.touch(pending)
