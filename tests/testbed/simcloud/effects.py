"""What a fault does to a call, or to the work that the call begins."""

from typing import Annotated, Literal

import msgspec

from tests.testbed.simcloud.settings import Seconds


class _Effect(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="is"
):
    """Every effect is written with the member ``is`` naming it."""


class Answer(_Effect, frozen=True, kw_only=True, tag="answer"):
    """Answer with ``status``, after doing what was asked if ``performed``.

    ``body`` is the service's own kind of error, or the page of a proxy in front of it.
    """

    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    message: str | None = None
    retry_after_seconds: Seconds | None = None
    body: Literal["service", "proxy"] = "service"
    performed: bool = False


class Reset(_Effect, frozen=True, kw_only=True, tag="reset"):
    """Reset the TCP connection (RST), after doing what was asked if ``performed``."""

    performed: bool = False


class Hang(_Effect, frozen=True, kw_only=True, tag="hang"):
    """Hold the answer back for ``seconds``, and the work with it unless ``performed``.

    The work is done even when the caller has given up by then, as a slow cloud would do it.
    """

    seconds: Seconds
    performed: bool = False


class GoesToError(_Effect, frozen=True, kw_only=True, tag="goes_to_error"):
    """The action is accepted; the server ends in ERROR, showing ``message`` as its fault."""

    message: str = "No valid host was found."
    code: int = 500
    after_seconds: Seconds | None = None


class NeverCompletes(_Effect, frozen=True, kw_only=True, tag="never_completes"):
    """The action is accepted; its task state stays for ever."""


class FallsBack(_Effect, frozen=True, kw_only=True, tag="falls_back"):
    """The action is accepted; the server returns to the state it had, with no fault to be seen.

    This is what Nova shows of a power-on that fails in the hypervisor.
    """

    after_seconds: Seconds | None = None


Fate = GoesToError | NeverCompletes | FallsBack
Effect = Answer | Reset | Hang | Fate
