"""Defines what every source of tokens does; one class for each way to get a token implements it."""

from abc import ABC, abstractmethod

from workers.tokens.scoped import ScopedToken
from workers.tokens.secret import Secret
from workers.tokens.upkeep import Upkeep


class Source(ABC):
    """Gets scoped tokens for one cloud; `fetch` and `upkeep` are called by one thread at a time."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    @abstractmethod
    def fetch(self) -> ScopedToken:
        """Get a new token; takes a few seconds at most.

        Raises:
            SourceError: there is no token.
        """

    def fingerprint(self) -> str:
        """Changes with the credential; cheap, and safe in any thread."""
        return self._secret.fingerprint()

    def upkeep(self, now: int) -> Upkeep:  # noqa: ARG002 - most logins need none
        """What is due at `now` (ns since the epoch) even if no worker requests a token.

        Raises:
            SourceError: this cannot be known now.
        """
        return Upkeep()
