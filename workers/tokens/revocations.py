"""Remembers the secrets that an operator has revoked, and refuses them wherever they come from.

The state store keeps a salted digest of each, for all token services and for good: neither a restart,
nor a file that is written again, nor a command that prints the same secret ends a revocation. No key
is needed that a standby might lack; the digest is slow to compute, because a password may be short.
"""

import hashlib
import os
import time

import sqlalchemy as sa

from workers.process.recent_secrets import RecentSecrets
from workers.store.database import insert
from workers.store.tables import revoked_secrets
from workers.tokens.errors import revoked
from workers.tokens.scoped import digest_of
from workers.tokens.secret import Secret
from workers.tokens.vault_lease import store_errors

_SALT = 16
# OWASP's number for PBKDF2 with SHA-256 (Password Storage Cheat Sheet, 2023); 0.2 s.
_ROUNDS = 600_000


class Revocations:
    """The revoked secrets of one cloud."""

    def __init__(self, store: sa.Engine, cloud: str) -> None:
        self._store = store
        self._cloud = cloud

    def digests(self) -> dict[str, str]:
        """The salt of each digest; SourceError if the store is unreachable."""
        table = revoked_secrets
        query = sa.select(table.c.digest, table.c.salt).where(table.c.cloud == self._cloud)
        with store_errors(), self._store.begin() as connection:
            return {row.digest: row.salt for row in connection.execute(query)}

    def add(self, secret: str) -> None:
        """Remember a secret; errors as in `digests`."""
        salt = next(iter(self.digests().values()), None) or os.urandom(_SALT).hex()
        row = {
            "cloud": self._cloud,
            "digest": _digest(secret, salt),
            "salt": salt,
            "revoked_at": time.time_ns(),
        }
        with store_errors(), self._store.begin() as connection:
            add = insert(connection.dialect.name, revoked_secrets).values(row)
            connection.execute(add.on_conflict_do_nothing())

    def __contains__(self, secret: str) -> bool:
        """Whether this secret was revoked; errors as in `digests`."""
        known = self.digests()
        return any(_digest(secret, salt) in known for salt in set(known.values()))


class RevocableSecret:
    """A secret that is not given once it was revoked; `recent` remembers what was given."""

    def __init__(self, secret: Secret, revocations: Revocations, recent: RecentSecrets) -> None:
        self._secret = secret
        self._recent = recent
        self._revocations = revocations
        # in case that the store could not be reached
        self._mine: set[str] = set()

    @property
    def place(self) -> str:
        """As in Secret."""
        return self._secret.place

    def read(self) -> str:
        """The secret.

        Raises:
            SourceError: it was revoked, or the store does not say; or as in Secret.
        """
        secret = self._secret.read()
        if digest_of(secret) in self._mine or secret in self._revocations:
            raise revoked(self.place)
        self._recent.add(secret)
        return secret

    def fingerprint(self) -> str:
        """As in Secret."""
        return self._secret.fingerprint()

    def revoke(self) -> str:
        """Refuse the present secret from now on; it is returned for a last use.

        Raises:
            SourceError: it cannot be read, or this is not stored.
        """
        secret = self._secret.read()
        self._mine.add(digest_of(secret))
        self._revocations.add(secret)
        return secret

    def revocations(self) -> frozenset[str]:
        """Names of all revocations of this cloud; SourceError if the store does not say."""
        return frozenset(self._revocations.digests())


def _digest(secret: str, salt: str) -> str:
    raw = secret.encode(errors="surrogatepass")
    return hashlib.pbkdf2_hmac("sha256", raw, bytes.fromhex(salt), _ROUNDS).hex()
