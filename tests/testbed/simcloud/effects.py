"""The effects of faults on a call, or on the work that the call starts."""

from typing import Annotated, Literal

import msgspec

from tests.testbed.simcloud.settings import Seconds


class _Effect(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="is"
):
    """In JSON, the member ``is`` names the effect."""


class Answer(_Effect, frozen=True, kw_only=True, tag="answer"):
    """Answer with ``status``; with ``performed``, do the work first.

    ``body`` is an error of the service itself, or the error page of a proxy in front of it.
    """

    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    message: str | None = None
    retry_after_seconds: Seconds | None = None
    body: Literal["service", "proxy"] = "service"
    performed: bool = False


class Says(_Effect, frozen=True, kw_only=True, tag="says"):
    """Answer with ``text`` as JSON, whatever it is; with ``performed``, do the work first."""

    text: str
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    performed: bool = False


class Echoes(_Effect, frozen=True, kw_only=True, tag="echoes"):
    """Answer with ``status``, and repeat what was sent, secrets too, in words, headers and reason.

    As a service with debugging on does: plain and encoded, whole and in part.
    """

    status: Annotated[int, msgspec.Meta(ge=200, le=599)]


class Reset(_Effect, frozen=True, kw_only=True, tag="reset"):
    """Reset the TCP connection (RST); with ``performed``, do the work first."""

    performed: bool = False


class Hang(_Effect, frozen=True, kw_only=True, tag="hang"):
    """Delay the answer by ``seconds``, and the work too unless ``performed``.

    As in a slow cloud, the work is done even if the caller has given up in the meantime.
    """

    seconds: Seconds
    performed: bool = False


class GoesToError(_Effect, frozen=True, kw_only=True, tag="goes_to_error"):
    """The action is accepted; the server ends in ERROR with ``message`` as its fault."""

    message: str = "No valid host was found."
    code: int = 500
    after_seconds: Seconds | None = None


class NeverCompletes(_Effect, frozen=True, kw_only=True, tag="never_completes"):
    """The action is accepted; its task state never ends."""


class FallsBack(_Effect, frozen=True, kw_only=True, tag="falls_back"):
    """The action is accepted; the server returns to its previous state without a visible fault.

    Nova shows this when a power-on fails in the hypervisor.
    """

    after_seconds: Seconds | None = None


Fate = GoesToError | NeverCompletes | FallsBack
Effect = Answer | Says | Echoes | Reset | Hang | Fate
