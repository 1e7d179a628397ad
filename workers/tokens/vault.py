"""The newest refresh token of each cloud: encrypted in the store, used by one service at a time.

A provider that rotates gives a new refresh token with each use and takes a second use of the old
one for theft: it revokes them all (RFC 9700, 4.14.2). So whoever refreshes holds a lease, makes
sure immediately before the call that the lease outlasts it, and writes the new token down before
anything else is done.

What cannot be mended here: a service that dies after the provider has rotated and before the new
token is on disk takes it along, a gap of one commit; and a service that is frozen between its
last look at the lease and its call, for longer than the lease, may send a token that its
successor has used. Either ends in `invalid_grant`, hence in an alarm that asks for a new login.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from workers.store.tables import refresh_tokens
from workers.tokens.errors import SourceError
from workers.tokens.scoped import digest_of
from workers.tokens.upkeep import NS, RefreshTokenState
from workers.tokens.vault_lease import Lease, store_errors

_LEASE = 60.0
_NONCE = 12


@dataclass(frozen=True, slots=True)
class _Line:
    """Where a cloud's line of tokens stands.

    Attributes:
        seed: SHA-256 of the token in the file that the line began with.
        written: what the store held; None for nothing.
        token: the newest.
        standing: the newest's.
    """

    seed: str
    written: bytes | None
    token: str = field(repr=False)
    standing: RefreshTokenState


@dataclass(frozen=True, slots=True)
class _Successor:
    """The token that followed."""

    line: _Line
    token: str = field(repr=False)
    standing: RefreshTokenState


@dataclass(frozen=True, slots=True)
class Turn:
    """A leased use of a cloud's refresh token."""

    _lease: Lease
    _line: _Line
    _write: Callable[[_Successor], None]

    @property
    def standing(self) -> RefreshTokenState:
        """How the newest refresh token stands."""
        return self._line.standing

    def token(self, seconds: float) -> str:
        """The newest refresh token, to be used now, in a call that takes `seconds` at most.

        Raises:
            SourceError: the lease does not last that long: somebody else may use the token.
        """
        self._lease.require(seconds)
        return self._line.token

    def keep(self, token: str, expires_in: float | None) -> RefreshTokenState:
        """Write down the refresh token that the provider gave, before anything else is done.

        Args:
            token: the new one, or the same again where the provider does not rotate.
            expires_in: its lifetime in seconds; None for unlimited or not known.

        Returns:
            How it stands.

        Raises:
            SourceError: the store is away; the next turn writes it first.
        """
        now = time.time_ns()
        standing = RefreshTokenState(
            now, None if expires_in is None else now + int(expires_in * NS)
        )
        self._write(_Successor(self._line, token, standing))
        return standing


class Vault:
    """One cloud's refresh token.

    Args:
        store: the state store.
        key: 32 bytes; the same for every service that may take over.
        cloud: its name.
        owner: the service's name, for people who look at the lease.
        lease: seconds.
    """

    def __init__(
        self, store: sa.Engine, key: bytes, cloud: str, owner: str, lease: float = _LEASE
    ) -> None:
        self._store = store
        self._cipher = AESGCM(key)
        self._cloud = cloud
        self._owner = owner
        self._lease = lease
        self._unwritten: _Successor | None = None

    @contextmanager
    def turn(self, file_token: str) -> Iterator[Turn]:
        """The right to use the newest refresh token, until the block ends.

        Args:
            file_token: the token in the file; one not seen before begins a new line.

        Raises:
            SourceError: the lease is held elsewhere, the store is away, or the token in it was
                encrypted with another key.
        """
        lease = Lease(self._store, self._cloud, self._owner, self._lease)
        lease.acquire()
        try:
            if self._unwritten is not None:
                self._write(self._unwritten)
            yield Turn(lease, self._read(file_token), self._write)
        finally:
            with suppress(SourceError):
                lease.release()

    def standing(self) -> RefreshTokenState:
        """How the newest refresh token stands.

        Raises:
            SourceError: the store is away.
        """
        row = self._row()
        return (
            RefreshTokenState()
            if row is None
            else RefreshTokenState(row.rotated_at, row.expires_at)
        )

    def _row(self) -> Any:  # noqa: ANN401 - a row or None
        table = refresh_tokens
        with store_errors(), self._store.begin() as connection:
            return connection.execute(
                sa.select(
                    table.c.ciphertext, table.c.seed, table.c.rotated_at, table.c.expires_at
                ).where(table.c.cloud == self._cloud)
            ).one_or_none()

    def _read(self, file_token: str) -> _Line:
        seed, row = digest_of(file_token), self._row()
        if row is None or row.ciphertext is None or row.seed != seed:
            return _Line(seed, row and row.ciphertext, file_token, RefreshTokenState())
        standing = RefreshTokenState(row.rotated_at, row.expires_at)
        return _Line(seed, row.ciphertext, self._decrypt(row.ciphertext, seed), standing)

    def _write(self, next_: _Successor) -> None:
        """Put a token in its predecessor's place, and only there.

        The lease does not matter here: as long as the predecessor stands in the store, what
        followed from it is the newest there is.
        """
        self._unwritten = next_
        table, line = refresh_tokens, next_.line
        with store_errors(), self._store.begin() as connection:
            written = connection.execute(
                sa.update(table)
                .where(
                    table.c.cloud == self._cloud,
                    table.c.ciphertext.is_not_distinct_from(line.written),
                )
                .values(
                    ciphertext=self._encrypt(next_.token, line.seed),
                    seed=line.seed,
                    rotated_at=next_.standing.used,
                    expires_at=next_.standing.expires,
                )
            )
        self._unwritten = None
        if written.rowcount != 1:
            structlog.get_logger().error(
                "refresh_token_overtaken", cloud=self._cloud, owner=self._owner
            )

    def _encrypt(self, token: str, seed: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, token.encode(), self._bound_to(seed))

    def _decrypt(self, ciphertext: bytes, seed: str) -> str:
        nonce, sealed = ciphertext[:_NONCE], ciphertext[_NONCE:]
        try:
            return self._cipher.decrypt(nonce, sealed, self._bound_to(seed)).decode()
        except InvalidTag:
            raise SourceError(
                "wrong_key",
                "the stored refresh token was encrypted with another key",
                permanent=True,
                remedy="give every token service the same tokens.key_file and restart it;"
                " if the key is lost, log in again and replace the refresh token's file",
            ) from None

    def _bound_to(self, seed: str) -> bytes:
        """Who can write to the store still cannot pass one cloud's token off as another's."""
        return f"{self._cloud}\0{seed}".encode()
