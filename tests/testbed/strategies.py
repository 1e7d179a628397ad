"""Hypothesis strategies for every message that our dataclasses can hold, hostile texts included."""

from __future__ import annotations

from hypothesis import strategies as st

from schemas.commands import Kind, PowerCommand, WaitingJob
from schemas.events import Cause, CloudAction, RequestEvent, Transition
from schemas.jobs import JobEvent, JobTransition
from schemas.notices import Notice
from schemas.registrations import Registration
from schemas.snapshot import SlurmNode, Snapshot

MOST = 2**63 - 1
# RFC 3339 times have microseconds; finer times would not survive a round trip.
moments = st.integers(0, MOST // 1000).map(lambda microseconds: microseconds * 1000)
clusters = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", fullmatch=True)
nodes = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True)
correlations = st.from_regex(r"[0-9a-f]{32}", fullmatch=True)
# Includes lone surrogates, which JSON can contain.
words = st.text(st.characters(exclude_categories=()), max_size=50) | st.sampled_from(
    ["", "x" * 5000, "\x1b[2J", "\ud800", "\0"]
)
keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)

waiting_jobs = st.builds(
    WaitingJob,
    job_id=st.integers(1, MOST),
    features=st.none() | words,
    partition=st.none() | words,
    reservation=st.none() | words,
)
jobs = st.lists(waiting_jobs, max_size=3).map(tuple)


def _commands(
    kinds: st.SearchStrategy[Kind], images: st.SearchStrategy[str | None]
) -> st.SearchStrategy[PowerCommand]:
    return st.builds(
        PowerCommand,
        kind=kinds,
        cluster=clusters,
        node=nodes,
        generation=st.integers(1, MOST),
        correlation_id=correlations,
        expiry=st.none() | moments,
        jobs=jobs,
        origin=keys,
        note=st.none() | words,
        image=images,
    )


commands = _commands(
    st.sampled_from([kind for kind in Kind if kind is not Kind.BAKE]), st.none()
) | _commands(st.just(Kind.BAKE), keys)

events = st.builds(
    RequestEvent,
    transition=st.sampled_from(Transition),
    request_id=st.uuids().map(str),
    round=st.integers(1, 2**31 - 1),
    kind=st.sampled_from(Kind),
    cluster=clusters,
    node=nodes,
    generation=st.integers(0, MOST),
    correlation_id=correlations,
    time=moments,
    attempt=st.integers(0, 1000),
    jobs=jobs,
    expiry=st.none() | moments,
    origin=st.none() | words,
    note=st.none() | words,
    cloud=st.none() | words,
    server_id=st.none() | words,
    address=st.none() | words,
    image_id=st.none() | words,
    cause=st.none() | st.builds(Cause, error=keys, message=words),
    actions=st.lists(
        st.builds(CloudAction, action=keys, server_id=keys, time=st.integers(0, MOST), result=keys),
        max_size=3,
    ).map(tuple),
    retry_in=st.none() | st.integers(0, 10**6),
    by=st.none() | words,
    reason=st.none() | words,
    restamped=st.none() | st.integers(1, MOST),
    dry_run=st.booleans(),
)

_of_job = {
    "cluster": clusters,
    "job_id": st.integers(1, MOST),
    "submitted_at": moments,
    "time": moments,
    "nodes": st.lists(nodes, max_size=3).map(tuple),
}
job_events = (
    st.builds(JobEvent, transition=st.just(JobTransition.IDENTIFIED), uws_id=keys, **_of_job)
    | st.builds(
        JobEvent,
        transition=st.just(JobTransition.FAILED),
        uws_id=st.none() | keys,
        state=keys,
        cause=st.builds(Cause, error=keys, message=words),
        **_of_job,
    )
    | st.builds(
        JobEvent,
        transition=st.just(JobTransition.STARTED),
        started_at=moments,
        user=keys,
        **_of_job,
    )
    | st.builds(
        JobEvent,
        transition=st.just(JobTransition.ENDED),
        started_at=moments,
        user=keys,
        state=keys,
        **_of_job,
    )
    | st.builds(
        JobEvent,
        transition=st.just(JobTransition.WAITING),
        uws_id=keys,
        cause=st.builds(Cause, error=keys, message=words),
        returns_at=moments,
        **_of_job,
    )
    | st.builds(
        JobEvent,
        transition=st.just(JobTransition.FINISHED),
        uws_id=keys,
        state=keys,
        **_of_job,
    )
)
registrations = st.builds(Registration, cluster=clusters, node=nodes, time=moments)

notices = st.builds(
    Notice,
    name=st.sampled_from(
        [
            "alarm.token",
            "alarm.request_refused",
            "message.rejected",
            "group.image_unset",
            "hold.placed",
            "clock.reset",
        ]
    ),
    cluster=clusters,
    subject=keys,
    key=keys,
    time=moments,
    message=words,
    remedy=words,
    details=st.dictionaries(words, words, max_size=3),
    correlation_id=correlations,
)

snapshots = st.builds(
    Snapshot,
    cluster=clusters,
    generation=st.integers(1, MOST),
    correlation_id=correlations,
    origin=keys,
    nodes=st.lists(
        st.builds(
            SlurmNode,
            node=nodes,
            state=keys,
            reason=words,
            jobs=st.lists(st.integers(1, MOST), max_size=3).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    part=st.integers(1, 5),
    parts=st.integers(5, 10_000),
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)
