"""One dead letter in words: what was asked, what failed, how things stand, what a replay would do. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ops.cli.terminal import duration, moment
from ops.dead_letters.select import jobs_of
from ops.history.timeline import TimelineStep
from schemas.commands import Desired, PowerCommand
from workers.dead_letters.letter import Letter
from workers.slurm.nodes import JobState, NodeState


@dataclass(frozen=True, slots=True)
class StoredNode:
    """The node as the state store has it; times in ns since the epoch."""

    desired: str
    generation: int
    observed: str | None = None
    observed_at: int | None = None
    server_id: str | None = None


@dataclass(frozen=True, slots=True)
class LetterContext:
    """What could be learnt around a letter; what could not is None, with the reason in `silent`.

    Attributes:
        store: the node's row; also None where nothing was ever asked of the node.
        story: the request's steps, from the audit; empty where it knows none.
        slurm: the node.
        jobs: those of the letter's that Slurm still knows, by id.
        cloud: the server, in words.
        silent: who did not answer, and why.
    """

    store: StoredNode | None = None
    story: tuple[TimelineStep, ...] = ()
    slurm: NodeState | None = None
    jobs: Mapping[int, JobState] | None = None
    cloud: str | None = None
    silent: tuple[str, ...] = field(default=())

    def as_json(self, command: PowerCommand | None) -> dict[str, object]:
        """For machines."""
        slurm, store = self.slurm, self.store
        return {
            "desired": store and store.desired,
            "desired_since": store and moment(store.generation),
            "slurm": slurm and "+".join((slurm.base, *sorted(slurm.flags))),
            "slurm_reason": slurm and slurm.reason,
            "job_states": self.jobs and {str(id_): job.state for id_, job in self.jobs.items()},
            "cloud": self.cloud,
            "not_told": list(self.silent),
            "stale": is_stale(command, store),
            "on_replay": prospect(command, store),
        }


def description(letter: Letter, around: LetterContext, now: int) -> list[str]:
    """What a person needs to decide, line by line."""
    lines = [f"letter     {letter.id}", *_asked(letter, around, now)]
    lines.append(
        f"died       in {letter.died_in}, round {letter.round}, "
        f"{moment(letter.died_at) if letter.died_at else 'nobody says when'}"
        f"{_ago(letter.died_at, now)}"
    )
    lines.append(f"cause      {letter.cause.error}: {letter.cause.message}")
    if letter.by_broker and letter.command is not None:
        lines.append("           no worker has ended it: the broker itself gave its delivery up")
    lines += _attempts(letter, around)
    if letter.command is not None:
        lines += _standing(letter.command, around, now)
    lines += [f"not told   {reason}" for reason in around.silent]
    lines.append(f"on replay  {_prospect(letter, around)}")
    return lines


def _prospect(letter: Letter, around: LetterContext) -> str:
    if letter.undelivered is not None:
        return f"{letter.undelivered.webhook} is told again, under the same webhook-id"
    return prospect(letter.command, around.store)


def prospect(command: PowerCommand | None, store: StoredNode | None) -> str:
    """What a replay would come to, as things stand."""
    if command is None:
        return "impossible: it cannot be read; discard it"
    if store is None:
        return f"{command.node} will be brought {command.desired}"
    if store.generation <= command.generation:
        return f"{command.node} will be brought {command.desired}; nothing newer was asked"
    if store.desired == command.desired:
        return f"completes with a newer request that wants {command.node} {store.desired} too"
    return (
        f"stale: a newer request wants {command.node} {store.desired}; it will end as superseded "
        "(lamplighter dead-letters replay --restamp asks it anew, above all others)"
    )


def is_stale(command: PowerCommand | None, store: StoredNode | None) -> bool:
    """Whether a newer request wants something else."""
    return (
        command is not None
        and store is not None
        and store.generation > command.generation
        and store.desired != command.desired
    )


def _asked(letter: Letter, around: LetterContext, now: int) -> Iterator[str]:
    command = letter.command
    if letter.undelivered is not None:
        told = letter.undelivered.event
        yield f"not taken  by webhook {letter.undelivered.webhook}"
        yield f"event      {told.type} of {told.subject}, {moment(told.time)}"
        return
    if command is None:
        yield f"malformed  {letter.problem}"
        yield f"size       {len(letter.body)} bytes; dead-letters show ID --raw FILE exports them"
        return
    asked = command.generation
    yield f"asked      {command.kind} of {command.node}, {moment(asked)}{_ago(asked, now)}"
    yield f"from       {command.origin}, hook call {command.correlation_id}"
    yield f"jobs       {', '.join(_job(job, around) for job in jobs_of(command)) or 'none'}"
    if command.expiry is not None and command.expiry < now and command.desired is Desired.UP:
        yield f"           Slurm gave up waiting for it at {moment(command.expiry)}"
    if command.note:
        yield f"note       {command.note}"


def _job(job_id: int, around: LetterContext) -> str:
    if around.jobs is None:
        return str(job_id)
    job = around.jobs.get(job_id)
    if job is None:
        return f"{job_id} (Slurm knows it no more)"
    return f"{job_id} ({job.state}{f' on {job.nodes}' if job.nodes else ''})"


def _attempts(letter: Letter, around: LetterContext) -> Iterator[str]:
    """By the audit, which has them all; without it by the letter itself."""
    if not around.story:
        for failure in letter.failures:
            yield (
                f"attempt {failure.attempt:<2} {moment(failure.time)}  "
                f"{failure.cause.error}: {failure.cause.message}"
            )
        return
    start = around.story[0].time
    for step in around.story:
        attempt = f" (attempt {step.attempt})" if step.attempt else ""
        yield (
            f"round {step.round:<4} {moment(step.time)}  +{duration(step.time - start)}  "
            f"{step.what}{attempt}{f': {step.details}' if step.details else ''}"
        )


def _standing(command: PowerCommand, around: LetterContext, now: int) -> Iterator[str]:
    store, slurm = around.store, around.slurm
    if store is not None:
        since = f"since {moment(store.generation)}"
        yield f"store now  wants {command.node} {store.desired} {since}"
        if store.observed is not None:
            yield f"           last saw {store.observed}{_ago(store.observed_at, now)}"
    if slurm is not None:
        flags = "+".join((slurm.base, *sorted(slurm.flags)))
        yield f"Slurm now  {flags}{f', reason: {slurm.reason}' if slurm.reason else ''}"
    if around.cloud is not None:
        yield f"cloud now  {around.cloud}"


def _ago(then: int | None, now: int) -> str:
    return f" ({duration(now - then)} ago)" if then is not None and then <= now else ""
