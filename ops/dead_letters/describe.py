"""Explains a dead letter: the request, the attempts, the current state, the effect of a replay. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ops.audit.timeline import TimelineStep
from ops.cli.terminal import duration, moment
from ops.dead_letters.letter import Letter
from ops.dead_letters.select import jobs_of
from ops.nodes.node_state import NodeStatus
from schemas.commands import Desired, PowerCommand
from schemas.snapshot import Power, SlurmNode
from workers.slurm.nodes import JobState, NodeState
from workers.store.power_state import PowerState, power_state

Fact: TypeAlias = tuple[str, str]

_LABEL_WIDTH = 11
_GOALS = {
    Desired.UP: "be brought up",
    Desired.DOWN: "be brought down",
    Desired.READY: "be deployed",
    Desired.GONE: "be retired",
    Desired.ADOPTED: "be adopted",
    Desired.BAKED: "be made into an image",
}


@dataclass(frozen=True, slots=True)
class LetterContext:
    """What the stores, Slurm and the cloud know about a dead letter; None for what is unknown.

    Attributes:
        configured: whether a group of lamplighter.toml has the node.
        dry_run: whether that group is in a dry run.
        ahead: for how long the request's stamp is refused, because it is ahead of time; ns.
        store: the node in the state store; also None if the node never had a request.
        timeline: the steps of the request, from the audit log; empty if the log has none.
        jobs: the waiting jobs that Slurm still knows, by id.
        cloud: the state of the server, in words.
        unavailable: what gave no answer, and the reason.
    """

    configured: bool = True
    dry_run: bool = False
    ahead: int = 0
    store: NodeStatus | None = None
    timeline: tuple[TimelineStep, ...] = ()
    slurm: NodeState | None = None
    jobs: Mapping[int, JobState] | None = None
    cloud: str | None = None
    unavailable: tuple[str, ...] = ()

    def as_json(self, command: PowerCommand | None) -> dict[str, object]:
        """A JSON object."""
        slurm, store = self.slurm, self.store
        return {
            "desired": store and store.desired,
            "desired_since": store and moment(store.generation),
            "slurm": slurm and slurm.state,
            "slurm_reason": slurm and slurm.reason,
            "job_states": self.jobs and {str(id_): job.state for id_, job in self.jobs.items()},
            "cloud": self.cloud,
            "unavailable": list(self.unavailable),
            "stale": is_stale(command, store),
            "on_replay": replay_effect(command, self),
        }


def description(letter: Letter, context: LetterContext, now: int) -> list[str]:
    """The facts of `describe` as lines, with the labels in a column."""
    return [f"{label:<{_LABEL_WIDTH}}{text}" for label, text in describe(letter, context, now)]


def describe(letter: Letter, context: LetterContext, now: int) -> Iterator[Fact]:
    """What an operator needs to decide, as labels and values; `now` in ns since the epoch."""
    yield "letter", letter.id
    yield from _request(letter, context, now)
    died_at = moment(letter.died_at) if letter.died_at else "time unknown"
    yield "died", f"in {letter.died_in}, round {letter.round}, {died_at}{_ago(letter.died_at, now)}"
    yield "cause", str(letter.cause)
    if letter.by_broker and letter.command is not None:
        yield "ended by", "the broker, which gave up the delivery; no worker ended the round"
    yield from _attempts(letter, context)
    if letter.command is not None:
        yield from _current_state(letter.command, context, now)
    yield from (("no answer", reason) for reason in context.unavailable)
    if letter.undelivered is not None:
        webhook = letter.undelivered.webhook
        yield "on replay", f"{webhook} receives the event again, with the same webhook-id"
    else:
        yield "on replay", replay_effect(letter.command, context)


def replay_effect(command: PowerCommand | None, context: LetterContext) -> str:
    """What a replay would do in the node's present state, and what to do instead if that is better."""
    if command is None:
        return "not possible: the message is malformed, or its sender may not say it; discard it"
    node, store = command.node, context.store
    goal = f"{node} will {_GOALS[command.desired]}"
    if is_stale(command, store) and store is not None:
        return (
            f"stale: a newer request wants {node} {store.desired}; a replay ends as superseded. "
            "End it: lamplighter dead-letters discard --stale"
        )
    if (obstacle := _obstacle(command, context)) is not None:
        return obstacle
    if store is not None and _is_newer(store, command):
        return f"completes with a newer request that also wants {node} {store.desired}"
    if (contrary := _contrary_to_slurm(command, context.slurm)) is not None:
        return contrary
    if store is not None and _is_reached(command.desired, store.observed):
        return f"changes nothing: {node} was last seen {store.observed}; you may discard this"
    return goal if store is None else f"{goal}; there is no newer request"


def _obstacle(command: PowerCommand, context: LetterContext) -> str | None:
    """What keeps every replay from acting on the node, and the remedy; None if nothing does."""
    node = command.node
    if not context.configured:
        return (
            f"fails again: {node} cannot {_GOALS[command.desired]}, because no group of "
            "lamplighter.toml has it; add it first, or discard this"
        )
    if context.ahead > 0:
        return (
            f"waits or fails again: its stamp is {duration(context.ahead)} too far ahead of time. Correct the clock of "
            f"{command.origin}, run lamplighter clock reset, then replay with --restamp"
        )
    if context.store is not None and context.store.held is not None:
        held = context.store.held
        return f"waits: {node} is on hold ({held}); first run lamplighter release {node}"
    if context.dry_run:
        return (
            f"changes nothing in the cloud, and ends the request: the group of {node} is in a dry run. First "
            "remove dry_run from lamplighter.toml"
        )
    return None


def _contrary_to_slurm(command: PowerCommand, slurm: NodeState | None) -> str | None:
    """Why Slurm does not want the request any more; None if it may."""
    if slurm is None:
        return None
    power = SlurmNode(slurm.node, slurm.state, slurm.reason).power
    if command.desired is Desired.UP and power in {Power.OFF, Power.POWERING_DOWN}:
        return (
            f"not wanted any more: {slurm.node} is powered down in Slurm, no job waits for it, and it "
            "would be powered off again; discard this"
        )
    if command.desired is Desired.DOWN and power in {Power.ON, Power.POWERING_UP}:
        return f"not wanted any more: Slurm uses {slurm.node} ({slurm.state}); discard this"
    return None


def _is_reached(desired: Desired, observed: str | None) -> bool:
    """Whether the server was in the requested state when it was last seen."""
    if desired not in {Desired.UP, Desired.DOWN} or observed is None:
        return False
    expected = {Desired.UP: PowerState.ON, Desired.DOWN: PowerState.OFF}[desired]
    return power_state(desired, observed, busy=False) is expected


def is_stale(command: PowerCommand | None, store: NodeStatus | None) -> bool:
    """Whether a newer request wants another state."""
    return (
        command is not None
        and store is not None
        and _is_newer(store, command)
        and store.desired != command.desired
    )


def _is_newer(store: NodeStatus, command: PowerCommand) -> bool:
    return store.generation is not None and store.generation > command.generation


def _request(letter: Letter, context: LetterContext, now: int) -> Iterator[Fact]:
    command = letter.command
    if letter.undelivered is not None:
        event = letter.undelivered.event
        yield "webhook", f"{letter.undelivered.webhook} did not accept the event"
        yield "event", f"{event.type} of {event.subject}, {moment(event.time)}"
        return
    if command is None:
        yield "problem", f"{letter.fault}: {letter.problem}"
        yield (
            "size",
            f"{len(letter.body)} bytes; dead-letters show ID --raw FILE writes them to FILE",
        )
        return
    requested = command.generation
    yield (
        "request",
        f"{command.kind} of {command.node}, {moment(requested)}{_ago(requested, now)}",
    )
    yield "from", f"{command.origin}, hook call {command.correlation_id}"
    yield "jobs", ", ".join(_job(job, context) for job in jobs_of(command)) or "none"
    if command.expiry is not None and command.expiry < now and command.desired is Desired.UP:
        yield "expired", f"Slurm stopped waiting at {moment(command.expiry)}"
    if command.note:
        yield "note", command.note


def _job(job_id: int, context: LetterContext) -> str:
    if context.jobs is None:
        return str(job_id)
    job = context.jobs.get(job_id)
    if job is None:
        return f"{job_id} (no longer known to Slurm)"
    return f"{job_id} ({job.state}{f' on {job.nodes}' if job.nodes else ''})"


def _attempts(letter: Letter, context: LetterContext) -> Iterator[Fact]:
    """From the audit log, which has all attempts; without it, from the letter."""
    if not context.timeline:
        for failure in letter.failures:
            yield f"attempt {failure.attempt}", f"{moment(failure.time)}  {failure.cause}"
        return
    start = context.timeline[0].time
    for step in context.timeline:
        attempt = f" (attempt {step.attempt})" if step.attempt else ""
        details = f": {step.details}" if step.details else ""
        offset = duration(step.time - start)
        yield (
            f"round {step.round}",
            f"{moment(step.time)}  +{offset}  {step.what}{attempt}{details}",
        )


def _current_state(command: PowerCommand, context: LetterContext, now: int) -> Iterator[Fact]:
    store, slurm = context.store, context.slurm
    if store is not None:
        text = f"{command.node} is desired {store.desired} since {moment(store.generation)}"
        if store.observed is not None:
            text += f"; last seen {store.observed}{_ago(store.observed_at, now)}"
        yield "store now", text
    if slurm is not None:
        yield "Slurm now", f"{slurm.state}{f', reason: {slurm.reason}' if slurm.reason else ''}"
    if context.cloud is not None:
        yield "cloud now", context.cloud


def _ago(then: int | None, now: int) -> str:
    return f" ({duration(now - then)} ago)" if then is not None and then <= now else ""
