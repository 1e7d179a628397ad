"""What an error of a cloud means for the request: the one table, for calls and listings alike."""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.events import Cause
from workers.errors import LamplighterError, TokenError, TokenRefusedError, TokenServiceAwayError

# The class of errors that the table does not know.
UNKNOWN = "unknown"
# The class of a cloud that cannot be reached for a setting of ours.
MISCONFIGURED = "misconfigured"
# What a gateway in front of the cloud answers when the cloud has not answered in time.
_GATEWAYS = frozenset({408, 502, 504})
_REST = 1.0
# A cloud that asks for more than this has made a mistake, which must not stop its nodes for ever.
_LONGEST_REST = 600.0


class Then(enum.StrEnum):
    """What to do after an error.

    LOOK: the server's state is not as expected: list again and decide again; it costs no attempt.
    SLOW_DOWN: the cloud asks for it: no call before Retry-After; it costs no attempt.
    PROBE: the cloud or this one call has failed: a listing shows which; if the cloud, park.
    PARK: this cloud has no token for us, or refuses it: park; it costs no attempt.
    HOLD: the token service is away: stop consuming.
    REJECT: it cannot succeed: dead letter.
    """

    LOOK = "look"
    SLOW_DOWN = "slow_down"
    PROBE = "probe"
    PARK = "park"
    HOLD = "hold"
    REJECT = "reject"


class CloudError(LamplighterError):
    """A cloud answered with an error, or not at all.

    Attributes:
        status: the HTTP status, or None without an answer.
        message: Nova's words, or the network's.
        retry_after: seconds it asks us to wait, or None.
        timed_out: whether we waited for the answer in vain.
    """

    def __init__(
        self,
        status: int | None,
        message: str,
        *,
        retry_after: float | None = None,
        timed_out: bool = False,
    ) -> None:
        super().__init__(f"{status or 'no answer'}: {message}")
        self.status = status
        self.message = message
        self.retry_after = retry_after
        self.timed_out = timed_out

    @property
    def answered(self) -> bool:
        """Whether the cloud itself has answered; else the call may take effect later."""
        return self.status is not None and self.status not in _GATEWAYS


class NotWantedError(LamplighterError):
    """The guard of a call refused it: the desired state moved on, or the lease is not ours.

    With the class `error`, `waits` is why its requests must wait for a newer snapshot of Slurm; or end,
    with `ends`.
    """

    def __init__(self, why: str, error: str | None = None, *, ends: bool = False) -> None:
        super().__init__(why)
        self.waits = None if error is None else Cause(error, why)
        self.ends = ends


class UnreadableAnswerError(CloudError):
    """A cloud answered, but not as its API says; the call may have taken effect."""

    def __init__(self, message: str) -> None:
        super().__init__(None, message)


class CloudSettingError(LamplighterError):
    """A setting of this cloud cannot be used now: nothing was sent. The text names it and the remedy."""


class BadTemplateError(LamplighterError):
    """A server cannot be made as its group's template says; the text names what is wrong."""


class ImageNotReadyError(LamplighterError):
    """The image that a request has made is still being saved."""


class ImageLostError(LamplighterError):
    """The image that a request has made is not there: Nova deletes one that could not be saved."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The error's class and words, and what to do."""

    cause: Cause
    then: Then


_BY_STATUS: Mapping[int, tuple[str, Then]] = {
    400: ("bad_request", Then.REJECT),
    401: ("unauthorized", Then.PARK),  # new tokens were refused as well
    403: ("forbidden", Then.REJECT),
    404: ("not_found", Then.LOOK),
    408: ("timeout", Then.PROBE),
    409: ("conflict", Then.LOOK),
    413: ("over_limit", Then.SLOW_DOWN),  # Nova's word for 429 before microversion 2.1
    429: ("over_limit", Then.SLOW_DOWN),
}


# A server's error, or no answer: the call may take effect all the same.
_SERVER_SIDE, _NETWORK = "server_side", "network"
_BAD_TEMPLATE = "bad_template"

_BY_KIND: tuple[tuple[type[LamplighterError], str, Then], ...] = (
    (TokenServiceAwayError, "token_service_away", Then.HOLD),
    (TokenError, "token", Then.PARK),
    (CloudSettingError, MISCONFIGURED, Then.PARK),
    (BadTemplateError, _BAD_TEMPLATE, Then.REJECT),
    (ImageNotReadyError, "image_not_ready", Then.LOOK),
    (ImageLostError, "image_failed", Then.REJECT),
    (UnreadableAnswerError, "unreadable_answer", Then.PROBE),
)

# The classes of errors after which the call may have been made.
MAY_BE_DONE = frozenset(
    {_SERVER_SIDE, _NETWORK, UNKNOWN}
    | {name for name, then in _BY_STATUS.values() if then is Then.PROBE}
    | {name for _, name, then in _BY_KIND if then is Then.PROBE}
)
# The causes that say that the cloud has no room: all nodes of the group meet it.
NO_ROOM = frozenset({"quota", "no_valid_host", "no_addresses"})
# What a refusal, or the fault of a server in ERROR, says in the words of Nova, Neutron and Cinder:
# the error class, and the remedy if it is our template's fault. The first that matches counts: what
# Nova says of its retries ends in the last host's own words.
_WORDS: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(words, re.IGNORECASE), error, remedy)
    for words, error, remedy in (
        (
            r"(multiple|more than one) .*networks? (matches )?found",
            _BAD_TEMPLATE,
            "name the network: networks = [...] in [groups.NAME.server]",
        ),
        (
            r"multiple .*(found|matches).* to be more specific",
            _BAD_TEMPLATE,
            "give an id instead of the name in [groups.NAME.server]",
        ),
        (
            r"\b(no (more|free|available)|zero) (available )?(fixed )?ip(s\b| addr)",
            "no_addresses",
            "",
        ),
        (r"\bno (fixed )?ip addresses available", "no_addresses", ""),
        (r"no ?more ?fixed ?ips|ip ?address ?(generation ?failure|exhausted)", "no_addresses", ""),
        # in any language; not a flavor's "quota:cpu_shares", nor a quota that cannot be read
        (
            r"(?<!unknown )(?<!wrong )\bquotas?\b(?!:\w|.* (could not|exists for)| limits?\.)",
            "quota",
            "",
        ),
        (r"over ?quota", "quota", ""),
        (r"maximum number of (?!retries|attempts)[\w ]+(\(\d+\) )?exceeded", "quota", ""),
        (r"(port|ip|group|groupmember|volume|snapshot|instance)s? ?limit ?exceeded", "quota", ""),
        (r"project \S+ is over a limit|: \d+ is over the limit|too ?many ?instances", "quota", ""),
        (r"no ?valid ?(host|backend)|exhausted all hosts|not enough hosts", "no_valid_host", ""),
        (r"max scheduling (attempts|retries)|no weighed backends", "no_valid_host", ""),
        (r"insufficient compute resources|would exceed the capacity", "no_valid_host", ""),
    )
)
# Refusals that mean what their status says, whatever their words.
_PLAIN = frozenset({401, 404, 408, 429})


def cause_in(words: str) -> Cause | None:
    """What a cloud's words say that it will say again: it has no room, or our template is wrong."""
    for pattern, error, remedy in _WORDS:
        if pattern.search(words):
            return Cause(error, f"{words}; {remedy}" if remedy else words)
    return None


def classify(error: BaseException) -> Verdict:
    """The verdict on an error of a call or a listing."""
    if isinstance(error, TokenRefusedError):
        return Verdict(Cause(error.error, str(error)), Then.PARK)
    for kind, name, then in _BY_KIND:
        if isinstance(error, kind):
            return Verdict(Cause(name, str(error)), then)
    if not isinstance(error, CloudError):
        ours = isinstance(error, LamplighterError)
        words = str(error) if ours else f"{type(error).__name__}: {error}"
        return Verdict(Cause(UNKNOWN, words), Then.PROBE)
    if error.status is None:
        return Verdict(Cause(_NETWORK, error.message), Then.PROBE)
    if error.status < 500 and error.status not in _PLAIN:  # noqa: PLR2004 - as in the table
        said = cause_in(error.message)
        if said is not None:
            return Verdict(said, Then.REJECT)
    if error.status == 503 and error.retry_after is not None:  # noqa: PLR2004
        return Verdict(Cause("over_limit", error.message), Then.SLOW_DOWN)
    name, then = _BY_STATUS.get(
        error.status,
        (_SERVER_SIDE, Then.PROBE) if error.status >= 500 else ("refused", Then.REJECT),  # noqa: PLR2004
    )
    return Verdict(Cause(name, f"HTTP {error.status}: {error.message}"), then)


def rest_asked(error: BaseException) -> float:
    """Seconds that the cloud asks us to wait."""
    asked = error.retry_after if isinstance(error, CloudError) else None
    return min(asked or _REST, _LONGEST_REST)


def may_take_effect(answer: str | BaseException, tries: int) -> bool:
    """Whether a try of a call may still take effect; this many were sent, and `answer` came last."""
    if isinstance(answer, NotWantedError | TokenError):
        return tries > 0  # it came before another one was sent
    if tries > 1:
        return True
    if isinstance(answer, CloudError):
        return not answer.answered
    return not isinstance(answer, str | LamplighterError)
