"""Rules about jobs: none is ended by us, and each that nobody cancelled comes to its end."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from storm.evidence import BatchJob, Beats, Evidence, HookCall
from storm.rules.times import kills, started, window
from storm.rules.violation import (
    ENDED_JOB,
    FORGOTTEN,
    SILENT,
    SLURM_LOST,
    UNENDED,
    UNSAVED,
    Violation,
)

# Seconds: on a busy machine, a node beats, or even starts a task, so long after the cloud has cut its power;
# and a beat that comes twice a second can be late.
_BEFORE, _AFTER = 5.0, 2.0
# A call that slurmctld forgot is done by then: later, Slurm's new snapshot had come.
_DONE = 10.0
# slurmctld names a call so long before it begins, on a busy machine.
_CALLED = 2.0
# All nodes have registered within this time after slurmctld was killed, on a busy machine.
_REGISTERED = 30.0
# Seconds for which srun may fail after slurmctld was away, or has read its configuration again.
_DISTURBED = 60.0
_CANCELLED = "REQUEST_KILL_JOB"
_CUT, _TOLD = "the cloud was told to power it off", "Slurm was told that the node is down"


def ended_by_us(seen: Evidence) -> Iterator[Violation]:
    """No task that was alive fell silent because of our call, or of what we told Slurm.

    A cut that Slurm asked for after the task had begun is not ours; nor is one of a node whose power
    was cut from outside before it, when the task fell silent.
    """
    by = {_CUT: _times(_cuts_of(seen)), _TOLD: _times(seen.set_down)}
    outside = _times(seen.outside)
    for task in seen.beats:
        if task.end == "end":
            continue
        ours = {
            (words, cut_at)
            for words, times in by.items()
            for cut_at in times.get(task.node, ())
            if _cuts(cut_at, task)
            and not any(_cuts(at, task) and at <= cut_at for at in outside.get(task.node, ()))
            and not _asked(seen.calls, task, cut_at)
        }
        forgotten = {
            (words, at) for words, at in ours if words == _CUT and is_forgotten(seen, task, at)
        }
        for promise, found in ((ENDED_JOB, ours - forgotten), (FORGOTTEN, forgotten)):
            if found:
                words, cut_at = min(found, key=lambda cut: cut[1])
                said = f"{task.job}: {words}"
                yield Violation(promise, task.node, said, (task.began, task.last, cut_at))
                break


def silent(seen: Evidence) -> Iterator[Violation]:
    """A task that fell silent did so with its node's power, or slurmctld has ended its job.

    A slurmctld that was killed, and has forgotten a job, ends its tasks when their nodes register.
    """
    cuts = _times([*_cuts_of(seen), *seen.outside])
    killed = [kill.began for kill in kills(seen)]
    for task in seen.beats:
        if task.end is not None or task.job in seen.gave_up:
            continue
        forgotten = any(at < task.last < at + _REGISTERED for at in killed)
        if not forgotten and not any(_silences(at, task) for at in cuts.get(task.node, ())):
            yield Violation(SILENT, task.node, task.job, (task.began, task.last))


def _cuts_of(seen: Evidence) -> list[tuple[str, float]]:
    """The nodes whose server was powered off or rebooted, and when."""
    return [*((p.node, p.off) for p in seen.ledger if p.off is not None), *seen.reboots]


def _times(pairs: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = defaultdict(list)
    for node, at in pairs:
        times[node].append(at)
    return times


def _cuts(at: float, task: Beats) -> bool:
    return task.began < at and _silences(at, task)


def _silences(at: float, task: Beats) -> bool:
    return task.last - _BEFORE < at < task.last + _AFTER


def _asked(calls: Iterable[HookCall], task: Beats, at: float) -> bool:
    """Whether Slurm asked for the node's end after the task had begun."""
    return any(
        call.kind != "resume" and task.node in call.nodes and task.began < call.began < at
        for call in calls
    )


def is_forgotten(seen: Evidence, task: Beats, cut_at: float) -> bool:
    """Whether slurmctld had forgotten the task's job, or the suspend call that the node was powered off for."""
    return _forgot_job(seen, task, cut_at) or _forgot_call(seen, task, cut_at)


def _forgot_job(seen: Evidence, task: Beats, cut_at: float) -> bool:
    """Whether the node was rebooted because slurmctld, killed before it had saved the job, asked for a boot."""
    return (task.node, cut_at) in seen.reboots and any(
        0 <= kill.began - task.began < UNSAVED and kill.began < call.began < cut_at
        for kill in kills(seen)
        for call in seen.calls
        if kill.made and call.kind == "resume" and task.node in call.nodes
    )


def _forgot_call(seen: Evidence, task: Beats, cut_at: float) -> bool:
    """Whether the node was powered off for a suspend call that slurmctld had forgotten.

    All of this must be seen: slurmctld's log names the call, less than 5 s before the storm killed
    it with -9; its log shows that it started again, and the task began after that; this call is the
    node's last one, and the audit's only reason to power it off; and it was done at once.
    """
    calls = [c for c in seen.calls if task.node in c.nodes and c.began < cut_at]
    last = max(calls, key=lambda call: call.began, default=None)
    if last is None or last.kind != "suspend":
        return False
    named = [
        at for node, at in seen.suspending if node == task.node and 0 <= last.began - at < _CALLED
    ]
    killed = any(
        0 <= kill - at < UNSAVED and cut_at - kill < _DONE and started(seen, kill) < task.began
        for kill in (fault.began for fault in kills(seen) if fault.made)
        for at in named
    )
    return killed and _is_only_reason(seen, task.node, last, cut_at)


def _is_only_reason(seen: Evidence, node: str, call: HookCall, cut_at: float) -> bool:
    since, until = window(call, seen.injected)
    # both clocks of a request's time can be stepped by 45 s
    asked = {
        step.request_id: (step.origin, step.asked)
        for step in seen.steps
        if (step.node, step.transition) == (node, "accepted")
        and step.kind != "resume"
        and since < step.asked < cut_at + 50
    }
    return len(asked) == 1 and all(origin == "hook" and at < until for origin, at in asked.values())


def ends_of(beats: Iterable[Beats]) -> dict[str, list[str]]:
    """By job, the nodes that have shown its end: each as often as it has."""
    ends: dict[str, list[str]] = defaultdict(list)
    for task in beats:
        if task.end == "end":
            ends[task.job].append(task.node)
    return ends


def has_ended(job: BatchJob, nodes: list[str]) -> bool:
    """Whether these ends are of all its nodes; two parts may have run on one node."""
    return len(nodes) >= job.nodes and len(set(nodes)) > job.nodes - job.parts


def unended(seen: Evidence) -> Iterator[Violation]:
    """Each batch job that nobody cancelled shows its end on all its nodes.

    Slurm itself loses one that it had not saved when it was killed, and one that its log calls
    cancelled, or ended with another status than 0: these are shown, and counted apart. A job that failed
    although all of its tasks went on, and nothing happened to slurmctld or to it, is not Slurm's own.
    """
    ends = ends_of(seen.beats)
    ended = {task.job for task in seen.beats if task.end != "end"}
    killed = [fault.began for fault in kills(seen)]
    for job in seen.batch:
        for task_id in job.tasks:
            if has_ended(job, ends[task_id]):
                continue
            said = f"{task_id}: {len(set(ends[task_id]))} of {job.nodes} nodes show its end"
            if any(0 <= kill - job.submitted < UNSAVED for kill in killed):
                yield Violation(SLURM_LOST, "", f"{said}; slurmctld was killed", (job.submitted,))
            elif _has_number_of_another(seen, job):
                yield Violation(SLURM_LOST, "", f"{said}; its number was used", (job.submitted,))
            elif (why := seen.gave_up.get(task_id)) and (
                task_id in ended or why == _CANCELLED or _was_disturbed(seen, task_id)
            ):
                yield Violation(SLURM_LOST, "", f"{said}; slurmctld: {why}", (job.submitted,))
            else:
                words = f"{said}; slurmctld: {why}" if why else said
                yield Violation(UNENDED, "", words, (job.submitted,))


def _has_number_of_another(seen: Evidence, job: BatchJob) -> bool:
    """Whether a job that a killed slurmctld has forgotten ran under the same number: its end counts for both."""
    number = job.tasks[0].partition("_")[0]
    others = (b for b in seen.beats if b.job.partition("_")[0] == number)
    return any(
        other.began < kill.began < job.submitted < other.last + _REGISTERED
        for other in others
        for kill in kills(seen)
    )


def _was_disturbed(seen: Evidence, job: str) -> bool:
    """Whether something happened to slurmctld, or the job was requeued, in the minute before it gave it up.

    The end of the run that a requeue ends can be taken for that of the next one.
    """
    at = seen.gave_up_at.get(job, 0.0)
    faults = [fault.began for fault in seen.injected if fault.kind == "slurmctld"]
    requeues = [asked for other, asked in seen.requeued if other == job]
    return any(began < at < began + _DISTURBED for began in (*faults, *requeues))
