"""Faults of the cloud: its answers, its work, its services, its servers, the login."""

from collections.abc import Iterator
from contextlib import contextmanager

from storm.faults.hit import Hit, NothingHitError, at_once
from tests.testbed.simcloud.effects import (
    Answer,
    Effect,
    FallsBack,
    GoesToError,
    Hang,
    NeverCompletes,
    Reset,
    Says,
)
from tests.testbed.simcloud.faults import Fault

# What the cloud answers. A permanent no is a quota's or a policy's; all others must not end a request.
_ANSWERS: dict[str, Effect] = {
    "403": Answer(status=403),  # the quota is used up
    "policy": Answer(status=403, message="Policy doesn't allow this operation to be performed."),
    "400": Answer(status=400, message="Invalid input received"),
    "429": Answer(status=429, retry_after_seconds=2),
    "proxy": Answer(status=502, body="proxy"),
    "503-done": Answer(status=503, performed=True),
    "504-done": Answer(status=504, body="proxy", performed=True),
    "reset": Reset(),
    "reset-done": Reset(performed=True),
    "hang": Hang(seconds=3),
    "hang-done": Hang(seconds=7, performed=True),
    "nonsense": Says(text='{"servers": 7, "server": []}'),
    "no JSON": Says(text="<html>maintenance</html>"),
}
_WORK: dict[str, Effect] = {
    "error": GoesToError(message="Hypervisor connection lost", after_seconds=1),
    "no_host": GoesToError(message="No valid host was found.", after_seconds=1),
    "never": NeverCompletes(),
    "back": FallsBack(after_seconds=1),
}
# Some calls are struck, not all: a fault of the cloud, not an outage.
_STRUCK = 0.5
_KINDS = ("compute", "actions", "lists", "create", "delete", "metadata")
_LOGIN_KINDS = ("token", "oidc", "identity")
# Answers that Nova gives to calls on servers only.
_OF_ACTIONS = frozenset(
    {"403", "policy", "400", "404", "409", "503-done", "504-done", "reset-done", "hang-done"}
)


@contextmanager
def answers(hit: Hit) -> Iterator[None]:
    """Let half of some calls be answered so."""
    kind = hit.chance.choice(_KINDS)
    if hit.target in _OF_ACTIONS and kind in {"compute", "lists"}:
        kind = "actions"
    with _injected(hit, _answer(hit.target), kind):
        yield


@contextmanager
def login_answers(hit: Hit) -> Iterator[None]:
    """Let half of some calls to Keystone or to the login provider be answered so."""
    with _injected(hit, _answer(hit.target), hit.chance.choice(_LOGIN_KINDS)):
        yield


@contextmanager
def work(hit: Hit) -> Iterator[None]:
    """Let half of the accepted work end so."""
    with _injected(hit, _WORK[hit.target], "compute"):
        yield


def _answer(target: str) -> Effect:
    return _ANSWERS.get(target) or Answer(status=int(target))


@contextmanager
def _injected(hit: Hit, effect: Effect, kind: str) -> Iterator[None]:
    number = hit.site.simulated.inject(Fault(effect=effect, kind=kind, probability=_STRUCK))
    try:
        yield
    finally:
        hit.site.simulated.remove_fault(number)


@contextmanager
def outage(hit: Hit) -> Iterator[None]:
    """Make a service, or all, unavailable."""
    cloud = hit.site.simulated
    reset = hit.chance.random() < _STRUCK
    try:
        if hit.target == "all":
            cloud.outage(on=True, looks_like_reset=reset)
        else:
            cloud.outage(on=True, looks_like_reset=reset, services=[hit.target])  # type: ignore[list-item]
        yield
    finally:
        cloud.outage(on=False)


@contextmanager
def blind(hit: Hit) -> Iterator[None]:
    """Let listings of changes show none."""
    try:
        hit.site.simulated.set(hide_changes=True)
        yield
    finally:
        hit.site.simulated.set(hide_changes=False)


@at_once
def server(hit: Hit) -> None:
    """Let a server of a node that is on die, or start one of a node that is off."""
    cloud = hit.site.simulated
    status = "ACTIVE" if hit.target == "dies" else "SHUTOFF"
    fitting = sorted(
        s.name for s in cloud.servers().values() if s.status == status and not s.task_state
    )
    if not fitting:
        raise NothingHitError(f"no server is {status} and at rest")
    name = hit.chance.choice(fitting)
    if hit.target == "dies":
        hit.cuts_power_of(name)
    cloud.set_power(name, on=hit.target == "runs")


@contextmanager
def tokens(hit: Hit) -> Iterator[None]:
    """Revoke or expire tokens; or end the login, until the operator logs in again."""
    cloud = hit.site.simulated
    try:
        if hit.target == "expire":
            cloud.expire_access_tokens()
        elif hit.target == "logout":
            cloud.revoke_grants()
        cloud.revoke_tokens()
        yield
    finally:
        if hit.target == "logout":
            hit.site.log_in()
