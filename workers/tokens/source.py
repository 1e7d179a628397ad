"""Defines what every source of tokens does; one class for each way to get a token implements it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from workers.tokens.errors import SourceError
from workers.tokens.keystone import Keystone
from workers.tokens.revocations import RevocableSecret
from workers.tokens.scoped import ScopedToken
from workers.tokens.upkeep import Upkeep


class Source(ABC):
    """Gets scoped tokens for one cloud; `fetch` and `upkeep` are called by one thread at a time."""

    def __init__(self, secret: RevocableSecret, keystone: Keystone) -> None:
        self._secret = secret
        self._keystone = keystone

    @abstractmethod
    def fetch(self) -> ScopedToken:
        """Get a new token, in a few seconds at most; SourceError if there is no token."""

    def fingerprint(self) -> str:
        """Changes with the credential; cheap, and safe in any thread."""
        return self._secret.fingerprint()

    @property
    def place(self) -> str:
        """Where the credential is, for a remedy."""
        return self._secret.place

    def revoke(self, tokens: Iterable[ScopedToken]) -> list[str]:
        """Refuse the secret for good; end the login and these tokens, as far as their services allow.

        Returns:
            What is left for an operator to do, a sentence each.
        """
        try:
            secret = self._secret.revoke()
        except SourceError as error:
            unrecorded = f"this is not recorded yet ({error.message}): repeat the command"
            return [unrecorded, *self.forget(tokens)]
        left = self.forget(tokens)
        return [*self._revoke_credential(secret), *left]

    def forget(self, tokens: Iterable[ScopedToken]) -> list[str]:
        """Drop what was obtained with the secret, and end these tokens; what is left to do."""
        left = []
        for token in tokens:
            try:
                self._keystone.revoke(token.id)
            except SourceError as error:
                left.append(f"the token at Keystone lives on until its expiry: {error.message}")
        return left

    def revocations(self) -> frozenset[str]:
        """Names of all revocations of this cloud's secrets; SourceError if the store does not say."""
        return self._secret.revocations()

    def _revoke_credential(self, secret: str) -> list[str]:  # noqa: ARG002 - most end elsewhere
        """End what logs in with this secret; what is left to do."""
        left = f"no token service uses the secret in {self._secret.place} again, but it is still"
        return [f"{left} valid at its service: disable it there, and put another in its place"]

    def upkeep(self, now: int) -> Upkeep:  # noqa: ARG002 - most logins need none
        """What is due at `now` (ns since the epoch) even if no worker requests a token.

        Raises:
            SourceError: this cannot be known now.
        """
        return Upkeep()
