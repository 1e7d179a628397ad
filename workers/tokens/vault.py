"""Keeps the newest refresh token of each cloud: encrypted in the store, used by one service at a time.

A provider that rotates gives a new refresh token with each use and treats a second use of the old
one as theft: it revokes them all (RFC 9700, 4.14.2). So a service holds a lease while it refreshes;
its calls have a time limit in all that ends before the lease. Immediately before the call it checks
that the lease outlasts the limit, and it stores the new token before anything else is done.

Two gaps remain. A service that dies after the provider has rotated and before the commit loses the
new token. A service that is frozen between its check of the lease and its call, for longer than the
lease, may send a token that its successor has used. Both end in `invalid_grant`, and thus in an alarm
that requests a new login.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from workers.store.tables import refresh_tokens
from workers.tokens.errors import SourceError
from workers.tokens.scoped import digest_of
from workers.tokens.transport import time_left, time_limit
from workers.tokens.upkeep import NS, RefreshTokenState
from workers.tokens.vault_lease import RefreshTokenLease, store_errors

LEASE = 60.0
# The part of a lease that its calls may take, from before the lease begins.
_CALLS = 0.75
_NONCE = 12


@dataclass(frozen=True, slots=True)
class _Chain:
    """A cloud's chain of rotated tokens.

    Attributes:
        seed: SHA-256 of the token in the file, with which the chain began.
        stored: the content of the store, which a new token replaces; None if it is empty.
        token, state: of the newest token.
    """

    seed: str
    stored: bytes | None
    token: str = field(repr=False)
    state: RefreshTokenState


@dataclass(frozen=True, slots=True)
class LeasedToken:
    """A leased use of a cloud's refresh token."""

    _lease: RefreshTokenLease
    _chain: _Chain
    _write: Callable[[_Chain], None]

    @property
    def state(self) -> RefreshTokenState:
        """The state of the newest refresh token."""
        return self._chain.state

    def token(self) -> str:
        """The newest refresh token, for a call now.

        Raises:
            SourceError: the lease may end before the call; another service may use the token.
        """
        self._lease.require(time_left())
        return self._chain.token

    def replace(self, token: str, expires_in: float | None) -> RefreshTokenState:
        """Store the refresh token that the provider gave, before anything else is done.

        It is the same one if the provider does not rotate, and expires in that many seconds; None if
        its lifetime is unlimited or unknown. Returns its state.

        Raises:
            SourceError: the store is unreachable; the next lease stores the token first.
        """
        now = time.time_ns()
        state = RefreshTokenState(now, None if expires_in is None else now + int(expires_in * NS))
        self._write(replace(self._chain, token=token, state=state))
        return state


def forget_other_ends(store: sa.Engine, clouds: Sequence[str]) -> None:
    """Forget when refresh tokens expire that no cloud uses now, except these: no alert would ever end.

    Their newest tokens stay, for a configuration that names them again.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the store is unreachable.
    """
    others = refresh_tokens.c.cloud.not_in(clouds)
    with store.begin() as connection:
        connection.execute(sa.update(refresh_tokens).where(others).values(expires_at=None))


class Vault:
    """The refresh token of one cloud, or of several that log in with the same one; any thread may use it.

    `keys` have 32 bytes each, the same for every service that may take over; the first one
    encrypts. `cloud` names the row in the store, `owner` this service, for operators who read the
    lease, which lasts `seconds`.
    """

    def __init__(
        self,
        store: sa.Engine,
        keys: Sequence[bytes],
        cloud: str,
        owner: str,
        seconds: float = LEASE,
    ) -> None:
        self._store = store
        self._ciphers = [AESGCM(key) for key in keys]
        self._cloud = cloud
        self._owner = owner
        self._seconds = seconds
        self._unwritten: _Chain | None = None
        self._turn = threading.Lock()

    @contextmanager
    def lease(self, file_token: str) -> Iterator[LeasedToken]:
        """Lease the newest refresh token until the block ends; an unknown `file_token` starts a new chain.

        Raises:
            SourceError: another service holds the lease, the store is unreachable, or its token
                was encrypted with another key.
        """
        with self._leased() as lease:
            yield LeasedToken(lease, self._chain(file_token), self._write)

    def revoke(self, file_token: str, at_provider: Callable[[str], None]) -> None:
        """End the login that began with `file_token` by `at_provider`, and forget its newest token.

        It is kept until the provider has confirmed, so that this can be repeated.

        Raises:
            SourceError: the provider did not confirm; or as `lease`.
        """
        with self._leased():
            chain = self._chain(file_token)
            at_provider(chain.token)
            columns = refresh_tokens.c
            whose = sa.or_(columns.cloud == self._cloud, columns.seed == chain.seed)
            update = sa.update(refresh_tokens).where(whose)
            with store_errors(), self._store.begin() as connection:
                connection.execute(update.values(ciphertext=None, expires_at=None))

    @contextmanager
    def _leased(self) -> Iterator[RefreshTokenLease]:
        lease = RefreshTokenLease(self._store, self._cloud, self._owner, self._seconds)
        # the others of this process wait; only those of another process are refused
        with self._turn, time_limit(self._seconds * _CALLS):
            lease.acquire()
            try:
                if self._unwritten is not None:
                    self._write(self._unwritten)
                yield lease
            finally:
                with suppress(SourceError):
                    lease.release()

    def state(self) -> RefreshTokenState:
        """The state of the newest refresh token; SourceError if the store is unreachable."""
        row = self._row()
        return RefreshTokenState(row.rotated_at, row.expires_at) if row else RefreshTokenState()

    def _row(self) -> Any:  # noqa: ANN401 - a row or None
        return self._read(refresh_tokens.c.cloud == self._cloud)

    def _read(self, which: sa.ColumnElement[bool]) -> Any:  # noqa: ANN401 - a row or None
        """The row, our own before those of other names."""
        columns = refresh_tokens.c
        query = sa.select(refresh_tokens).where(which)
        own_first = query.order_by(columns.cloud != self._cloud, columns.rotated_at.desc())
        with store_errors(), self._store.begin() as connection:
            return connection.execute(own_first.limit(1)).one_or_none()

    def _chain(self, file_token: str) -> _Chain:
        """The chain that began with this token, also under another name: that cloud was renamed since."""
        row, seed, columns = self._row(), digest_of(file_token), refresh_tokens.c
        stored = row and row.ciphertext
        newest = self._read(sa.and_(columns.seed == seed, columns.ciphertext.is_not(None)))
        if newest is None:
            return _Chain(seed, stored, file_token, RefreshTokenState())
        state = RefreshTokenState(newest.rotated_at, newest.expires_at)
        return _Chain(seed, stored, self._decrypt(newest), state)

    def _write(self, chain: _Chain) -> None:
        """Store a chain's new token in place of its predecessor, and only there: no other row has the chain.

        The lease does not matter here: as long as the store holds the predecessor, its successor
        is the newest token.
        """
        self._unwritten = chain
        stored = refresh_tokens.c.ciphertext.is_not_distinct_from(chain.stored)
        update = sa.update(refresh_tokens).where(refresh_tokens.c.cloud == self._cloud, stored)
        values = {
            "ciphertext": self._encrypt(chain.token, chain.seed),
            "seed": chain.seed,
            "rotated_at": chain.state.used,
            "expires_at": chain.state.expires,
        }
        older = refresh_tokens.c.seed == chain.seed, refresh_tokens.c.cloud != self._cloud
        forget = {"ciphertext": None, "seed": None, "rotated_at": None, "expires_at": None}
        with store_errors(), self._store.begin() as connection:
            written = connection.execute(update.values(values))
            if written.rowcount == 1:
                connection.execute(sa.update(refresh_tokens).where(*older).values(forget))
        self._unwritten = None
        if written.rowcount != 1:
            log = structlog.get_logger()
            log.error("refresh_token_superseded", cloud=self._cloud, owner=self._owner)

    def _encrypt(self, token: str, seed: str) -> bytes:
        nonce = os.urandom(_NONCE)
        bound = _bound_to(self._cloud, seed)
        return nonce + self._ciphers[0].encrypt(nonce, token.encode(), bound)

    def _decrypt(self, row: Any) -> str:  # noqa: ANN401 - a row
        nonce, sealed = row.ciphertext[:_NONCE], row.ciphertext[_NONCE:]
        for cipher in self._ciphers:
            with suppress(InvalidTag):
                return cipher.decrypt(nonce, sealed, _bound_to(row.cloud, row.seed)).decode()
        raise SourceError(
            "wrong_key",
            "the stored refresh token was encrypted with another key",
            permanent=True,
            remedy="give every token service the same tokens.key_file and restart it;"
            " if the key is lost, log in again and replace the refresh token's file",
        )


def _bound_to(cloud: str, seed: str) -> bytes:
    """Binds a token to its cloud, even if an attacker can write to the store."""
    return f"{cloud}\0{seed}".encode()
