"""Leases a cloud's refresh token, on the clock of the store."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from workers.store.database import insert, store_clock, store_problem
from workers.store.tables import refresh_tokens
from workers.tokens.errors import away


@contextmanager
def store_errors() -> Iterator[None]:
    """Map the store's errors to a SourceError: the store is unreachable, or refuses."""
    try:
        yield
    except SQLAlchemyError as error:
        raise away(f"the state store does not respond: {store_problem(error)}") from None


class RefreshTokenLease:
    """A lease that one service at a time holds; `owner` names the service, for operators.

    It ends after `seconds`: a service that dies blocks its successor for that time.
    """

    def __init__(self, store: sa.Engine, cloud: str, owner: str, seconds: float) -> None:
        self._store = store
        self._cloud = cloud
        # Each lease has a unique name, so that an earlier one cannot be mistaken for it.
        self._holder = f"{owner} {uuid.uuid4()}"
        self._ms = int(seconds * 1000)
        self._clock = store_clock(store.dialect.name)
        self._mine = sa.and_(
            refresh_tokens.c.cloud == cloud, refresh_tokens.c.lease_owner == self._holder
        )

    def acquire(self) -> None:
        """Take the lease; SourceError if another service holds it, or the store is unreachable."""
        table = refresh_tokens
        free = sa.or_(table.c.lease_owner.is_(None), table.c.lease_until <= self._clock)
        longest = self._clock + self._ms
        # what lasts longer than any lease was taken before the store's clock was set back: its holder may
        # be at work, but no longer than this
        too_long = sa.and_(table.c.cloud == self._cloud, table.c.lease_until > longest)
        with store_errors(), self._store.begin() as connection:
            known = (
                insert(connection.dialect.name, table)
                .values(cloud=self._cloud)
                .on_conflict_do_nothing()
            )
            connection.execute(known)
            connection.execute(sa.update(table).where(too_long).values(lease_until=longest))
            taken = connection.execute(
                sa.update(table)
                .where(table.c.cloud == self._cloud, free)
                .values(lease_owner=self._holder, lease_until=longest)
            )
            if taken.rowcount == 1:
                return
            query = sa.select(table.c.lease_owner).where(table.c.cloud == self._cloud)
            owner = connection.scalar(query)
        raise away(f"another token service is refreshing this login: {owner}")

    def require(self, seconds: float) -> None:
        """Check that the lease lasts another `seconds`.

        Raises:
            SourceError: it does not, or it is lost; or the store is unreachable.
        """
        until = refresh_tokens.c.lease_until
        with store_errors(), self._store.begin() as connection:
            left = connection.scalar(sa.select(until - self._clock).where(self._mine))
        if left is None or left < seconds * 1000:
            raise away("the lease on the refresh token expired before its use")

    def release(self) -> None:
        """Release the lease, which would expire otherwise; errors as in `require`."""
        with store_errors(), self._store.begin() as connection:
            connection.execute(
                sa.update(refresh_tokens).where(self._mine).values(lease_owner=None, lease_until=0)
            )
