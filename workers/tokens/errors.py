"""Defines why a source gave no token, and whether to wait or to call an operator."""

from workers.errors import LamplighterError


class SourceError(LamplighterError):
    """A source gave no token.

    Attributes:
        error: the class: an OAuth 2.0 error code (`invalid_grant`), `unauthorized`,
            `provider_away`, `credential_unusable`, `refused_by_cloud`, ...
        message: the cause, without secrets.
        permanent: whether only an operator can fix it.
        remedy: what the operator should do; None if it is enough to wait.
        retry_after: seconds to wait, as the provider requests.
    """

    def __init__(
        self,
        error: str,
        message: str,
        *,
        permanent: bool = False,
        remedy: str | None = None,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(f"{error}: {message}")
        self.error = error
        self.message = message
        self.permanent = permanent
        self.remedy = remedy
        self.retry_after = retry_after


REVOKED = "revoked"


def revoked(place: str) -> SourceError:
    """The error of a login that an operator has revoked; a new secret belongs in `place`."""
    return SourceError(
        REVOKED,
        "an operator has revoked this login",
        permanent=True,
        remedy=f"log in again, and replace the secret in {place}",
    )


def away(message: str, retry_after: float = 0.0) -> SourceError:
    """An error that passes by itself: provider, Keystone or store does not work normally."""
    return SourceError("provider_away", message, retry_after=retry_after)
