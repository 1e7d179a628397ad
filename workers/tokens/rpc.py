"""Defines the messages between workers and the token service: JSON over RabbitMQ."""

from typing import Any

import msgspec

from schemas.errors import MalformedMessageError


class TokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A worker's request for a token of a cloud.

    `refused` is the SHA-256 (hex) of a token to which the cloud responded with 401; it is replaced
    once, even if many workers report it. `look` requests only a TokenReport, without a login. `revoke`
    ends the login, and requests a TokenReport, whose remedy is what is left to do.
    """

    cloud: str
    refused: str | None = None
    look: bool = False
    revoke: bool = False


class TokenGrant(msgspec.Struct, frozen=True, tag_field="answer", tag="granted"):
    """An answer with a token: the X-Subject-Token, and Keystone's `{"token": ...}` with the catalog.

    The worker may use it for `hold` seconds before its next request.
    """

    token: str
    body: dict[str, Any]
    hold: float

    def __repr__(self) -> str:
        return f"TokenGrant(hold={self.hold})"


class TokenReport(msgspec.Struct, frozen=True, tag_field="answer", tag="report"):
    """An answer with the state of a cloud's token, still served for `left` seconds; None if none is held.

    `trouble` is why the last login failed, if it did; `remedy` what an operator should do, None if
    it is enough to wait.
    """

    left: float | None = None
    trouble: str | None = None
    remedy: str | None = None


class TokenRefusal(msgspec.Struct, frozen=True, tag_field="answer", tag="refused"):
    """An answer without a token; the fields are those of workers.errors.TokenRefusedError."""

    error: str
    message: str
    permanent: bool


Answer = TokenGrant | TokenReport | TokenRefusal


def parse_request(body: bytes) -> TokenRequest:
    """Parse a request; a MalformedMessageError names the field and the remedy."""
    try:
        return msgspec.json.decode(body, type=TokenRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        remedy = "use workers.tokens.client of the same version"
        raise MalformedMessageError("body", str(error), remedy) from None


def parse_answer(body: bytes) -> Answer:
    """Parse an answer; MalformedMessageError if it is not an answer."""
    try:
        return msgspec.json.decode(body, type=TokenGrant | TokenReport | TokenRefusal)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # the decoder's message could quote a token
        problem = "is not an answer of a token service"
        raise MalformedMessageError("body", problem, "run workers of the same version") from None


def encode(message: TokenRequest | Answer) -> bytes:
    """The message as JSON."""
    return msgspec.json.encode(message)
