"""Signed heads: what the log's last record was at a time.

A chain proves that nothing within it was changed, but not that its end is still there, nor that the
whole was not made anew. Who keeps heads elsewhere can tell: each names a record that must be there
for ever, or have been dropped under a seal.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from schemas.envelope import rfc3339
from schemas.errors import MalformedMessageError
from workers.audit.log import last
from workers.audit.signing import Signer
from workers.store.tables import audit_heads
from workers.store.upsert import insert

TYPE = "lamplighter.audit.head.v1"


@dataclass(frozen=True, slots=True)
class Head:
    """A signed head.

    Attributes:
        seq, hash: the record that was the last; the hash in hex.
        time: when, RFC 3339.
        statement: all of it, as signed.
    """

    seq: int
    hash: str
    time: str
    statement: Mapping[str, Any]

    def to_json(self) -> str:
        """One line."""
        return json.dumps(self.statement, sort_keys=True)


def head_from(line: str) -> Head:
    """A head from its line.

    Raises:
        MalformedMessageError: it is none.
    """
    try:
        raw = json.loads(line)
        seq, hash_, time = raw["seq"], raw["hash"], raw["time"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedMessageError(
            "head", f"cannot be read ({error!r})", "give a heads file"
        ) from None
    if type(seq) is not int or not isinstance(hash_, str) or not isinstance(time, str):
        raise MalformedMessageError(
            "head", "has seq, hash or time of another kind", "see docs/audit.md"
        )
    return Head(seq, hash_, time, raw)


def sign_head(engine: sa.Engine, cluster: str, signer: Signer, now: int) -> Head | None:
    """Sign what is the last record now, and keep that in the store; None where there is nothing new.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the store is away.
    """
    with engine.begin() as connection:
        end = last(connection)
        if end is None or _is_signed(connection, end.seq, signer.key_id):
            return None
        hash_, time = end.hash.hex(), rfc3339(now)
        said = {"cluster": cluster, "seq": end.seq, "hash": hash_, "time": time}
        head = Head(end.seq, hash_, time, signer.sign(TYPE, said))
        connection.execute(
            insert(connection, audit_heads).on_conflict_do_nothing(),
            {"seq": head.seq, "key": signer.key_id, "statement": head.to_json()},
        )
    return head


def _is_signed(connection: sa.Connection, seq: int, key: str) -> bool:
    query = sa.select(audit_heads.c.seq).where(audit_heads.c.seq == seq, audit_heads.c.key == key)
    return connection.execute(query).first() is not None


def export_head(path: Path, head: Head) -> None:
    """Append a head to a file that all may read, durably.

    Raises:
        OSError: it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, f"{head.to_json()}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def kept_heads(connection: sa.Connection) -> Iterator[str]:
    """All heads that the store keeps, as lines, in the order of the records."""
    yield from connection.execute(
        sa.select(audit_heads.c.statement).order_by(audit_heads.c.seq)
    ).scalars()


def lines_of(path: Path) -> Iterable[str]:
    """The lines of a file of heads; a last one that a kill has torn is left out.

    Raises:
        OSError: it cannot be read.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    whole, _, _ = text.rpartition("\n")
    return [line for line in whole.splitlines() if line.strip()]
