"""Why a source gave no token, with what the service needs to know to wait or to call a person."""

from workers.errors import LamplighterError


class SourceError(LamplighterError):
    """A source gave no token.

    Attributes:
        error: the class: an OAuth 2.0 error code (`invalid_grant`), `unauthorized`,
            `provider_away`, `credential_unusable`, `refused_by_cloud`, ...
        message: in words, without secrets.
        permanent: whether only a person can mend it.
        remedy: what that person should do; None where waiting is the remedy.
        retry_after: seconds that the provider asked us to wait.
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


def away(message: str, retry_after: float = 0.0) -> SourceError:
    """The provider, Keystone or the store cannot be reached or is not itself: waiting helps."""
    return SourceError("provider_away", message, retry_after=retry_after)
