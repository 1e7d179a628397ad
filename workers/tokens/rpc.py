"""What a worker and the token service say to each other, as JSON over RabbitMQ."""

from typing import Any

import msgspec

from schemas.errors import MalformedMessageError


class TokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A worker asks for a token.

    Attributes:
        cloud: its name in lamplighter.toml.
        refused: SHA-256 (hex) of a token that the cloud has answered with 401, so that it is
            replaced once, however many ask.
        look: only tell how the cloud's token stands: a Report, and no login for its sake.
    """

    cloud: str
    refused: str | None = None
    look: bool = False


class TokenGrant(msgspec.Struct, frozen=True, tag_field="answer", tag="granted"):
    """The answer with a token.

    Attributes:
        token: the X-Subject-Token.
        body: Keystone's `{"token": ...}` with the catalog.
        hold: seconds the asker may use it before it asks again.
    """

    token: str
    body: dict[str, Any]
    hold: float

    def __repr__(self) -> str:
        return f"Grant(hold={self.hold})"


class TokenReport(msgspec.Struct, frozen=True, tag_field="answer", tag="report"):
    """How a cloud's token stands.

    Attributes:
        left: seconds that a token in hand is still served; None where none is held.
        trouble: why the last login gave none, until one does; None where it went well.
        remedy: what a person should do about it; None where waiting is the remedy.
    """

    left: float | None = None
    trouble: str | None = None
    remedy: str | None = None


class TokenRefusal(msgspec.Struct, frozen=True, tag_field="answer", tag="refused"):
    """The answer without one; as workers.errors.TokenRefusedError."""

    error: str
    message: str
    permanent: bool


Answer = TokenGrant | TokenReport | TokenRefusal


def parse_request(body: bytes) -> TokenRequest:
    """Read a request.

    Raises:
        MalformedMessageError: naming the field and the remedy.
    """
    try:
        return msgspec.json.decode(body, type=TokenRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessageError(
            "body", str(error), "ask by workers.tokens.client of the same version"
        ) from None


def parse_answer(body: bytes) -> Answer:
    """Read an answer.

    Raises:
        MalformedMessageError: it is none.
    """
    try:
        return msgspec.json.decode(body, type=TokenGrant | TokenReport | TokenRefusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # the decoder's words could quote what it read, which may be a token
        raise MalformedMessageError(
            "body", "no answer of a token service", "run workers of the same version"
        ) from None


def encode(message: TokenRequest | Answer) -> bytes:
    """As it travels."""
    return msgspec.json.encode(message)
