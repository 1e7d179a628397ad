"""Defines what every source of tokens does; one class for each way to get a token implements it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from workers.tokens.errors import SourceError
from workers.tokens.keystone import Keystone
from workers.tokens.scoped import ScopedToken
from workers.tokens.secret import Secret
from workers.tokens.upkeep import Upkeep


class Source(ABC):
    """Gets scoped tokens for one cloud; `fetch` and `upkeep` are called by one thread at a time."""

    def __init__(self, secret: Secret, keystone: Keystone) -> None:
        self._secret = secret
        self._keystone = keystone

    @abstractmethod
    def fetch(self) -> ScopedToken:
        """Get a new token; takes a few seconds at most.

        Raises:
            SourceError: there is no token.
        """

    def fingerprint(self) -> str:
        """Changes with the credential; cheap, and safe in any thread."""
        return self._secret.fingerprint()

    @property
    def place(self) -> str:
        """Where the credential is, for a remedy."""
        return self._secret.place

    def revoke(self, tokens: Iterable[ScopedToken]) -> list[str]:
        """End the login and these tokens, as far as their services allow.

        Returns:
            What is left for an operator to do, a sentence each.
        """
        left = self._revoke_credential()
        for token in tokens:
            try:
                self._keystone.revoke(token.id)
            except SourceError as error:
                left.append(f"the token at Keystone lives on until its expiry: {error.message}")
        return left

    def _revoke_credential(self) -> list[str]:
        """End what logs in; what is left to do."""
        left = f"the credential in {self._secret.place} is still valid: disable it at its service,"
        return [f"{left} and replace it; a token service that is restarted before would use it"]

    def upkeep(self, now: int) -> Upkeep:  # noqa: ARG002 - most logins need none
        """What is due at `now` (ns since the epoch) even if no worker requests a token.

        Raises:
            SourceError: this cannot be known now.
        """
        return Upkeep()
