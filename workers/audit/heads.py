"""Signed heads: statements of what the log's last record was at a given time.

The chain proves that no record within it was changed, but not that its end is still there, nor that
the whole log was not rewritten. Heads kept elsewhere prove that: each names a record that must
exist for ever, or have been dropped under a seal.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from producers.disk import unusable
from producers.settings import ConfigError
from schemas.envelope import rfc3339
from schemas.errors import MalformedMessageError
from schemas.fields import loads
from workers.audit.log import last_record
from workers.audit.signing import Signer
from workers.process.files import append_line, heir
from workers.store.database import insert
from workers.store.tables import audit_heads

TYPE = "lamplighter.audit.head.v1"


@dataclass(frozen=True, slots=True)
class Head:
    """A signed head, at `time` (RFC 3339): number and hash (hex) of the last record at that time.

    `statement` is the whole signed statement.
    """

    seq: int
    hash: str
    time: str
    statement: Mapping[str, Any]

    def to_json(self) -> str:
        """The statement as one line."""
        return json.dumps(self.statement, sort_keys=True)


def head_from(line: str) -> Head:
    """Parse a head from one line of a heads file.

    Raises:
        MalformedMessageError: the line is not a head.
    """
    try:
        raw = loads(line)
        seq, hash_, time = raw["seq"], raw["hash"], raw["time"]
    except (ValueError, KeyError, TypeError) as error:
        problem = f"cannot be read ({error!r})"
        raise MalformedMessageError("head", problem, "pass a heads file") from None
    if type(seq) is not int or not isinstance(hash_, str) or not isinstance(time, str):
        problem = "has a seq, hash or time of the wrong type"
        raise MalformedMessageError("head", problem, "see docs/audit.md")
    return Head(seq, hash_, time, raw)


def sign_head(engine: sa.Engine, cluster: str, signer: Signer, now: int) -> Head | None:
    """Sign the current last record, and store the head; None if it is already signed.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the store is unavailable.
    """
    with engine.begin() as connection:
        end, key = last_record(connection), signer.key_id
        if end is None:
            return None
        same = sa.and_(audit_heads.c.seq == end.seq, audit_heads.c.key == key)
        if connection.scalar(sa.select(audit_heads.c.seq).where(same)) is not None:
            return None
        hash_, time = end.hash.hex(), rfc3339(now)
        statement = {"cluster": cluster, "seq": end.seq, "hash": hash_, "time": time}
        head = Head(end.seq, hash_, time, signer.sign(TYPE, statement))
        connection.execute(
            insert(connection.dialect.name, audit_heads).on_conflict_do_nothing(),
            {"seq": head.seq, "key": key, "statement": head.to_json()},
        )
    return head


def export_head(path: Path, head: Head) -> None:
    """Append a head to a file, and sync it to disk; ConfigError if the file cannot be written."""
    try:
        owner = None if os.path.lexists(path) else heir(path)
        # a pipe that nobody reads would hold up the recording of events
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o644)
        try:
            if owner is not None:
                os.fchown(descriptor, *owner)
            append_line(path, descriptor, head.to_json())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(unusable("audit.heads_file", path, error)) from None


def stored_heads(connection: sa.Connection) -> Iterator[str]:
    """The lines of all heads in the store, in the order of the records."""
    query = sa.select(audit_heads.c.statement).order_by(audit_heads.c.seq)
    yield from connection.execute(query).scalars()


def read_lines(path: Path) -> Iterable[str]:
    """The lines of a heads file, without an incomplete last line left by a killed writer.

    Raises:
        OSError: the file cannot be read.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    whole, _, _ = text.rpartition("\n")
    return [line for line in whole.splitlines() if line.strip()]
