"""Ids of requests in short: tables print an unambiguous beginning, and every command accepts one."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from os.path import commonprefix

import click
import sqlalchemy as sa

from ops.cli.errors import STORE_ERRORS
from ops.cli.session import Session, StoreKind
from workers.store.tables import audit, requests

# A UUIDv7 has its time in this many characters: fewer are soon ambiguous.
_LEAST = 13
_LISTED = 10
# As git's abbreviations: what is shorter was not meant, such as an empty variable of a shell.
_SHORTEST = 4
# Above all digits and dashes of ids, in any collation.
_LAST = "z"


class AmbiguousIdError(click.ClickException):
    """The beginning of several ids."""

    def __init__(self, text: str, ids: Collection[str]) -> None:
        listed = ", ".join(sorted(ids)[:_LISTED])
        more = f" and {len(ids) - _LISTED} more" if len(ids) > _LISTED else ""
        super().__init__(
            f"{text!r} is the beginning of {len(ids)} ids: {listed}{more}; write more of it"
        )


def prefixes(ids: Iterable[str], others: Iterable[str] = ()) -> dict[str, str]:
    """The shortest beginning of each id that begins no other one. Pure."""
    wanted = set(ids)
    ordered = sorted(wanted | set(others))
    shared = dict.fromkeys(ordered, 0)
    for one, following in pairwise(ordered):
        length = len(commonprefix((one, following)))  # noqa: RUF071 - texts, not paths
        shared[one], shared[following] = max(shared[one], length), length
    return {id_: _cut(id_, shared[id_] + 1) for id_ in wanted}


def _cut(id_: str, length: int) -> str:
    # what precedes the id proper, as in sha256:... and WEBHOOK/..., tells little
    least = max(id_.rfind("/"), id_.rfind(":")) + 1 + _LEAST
    length = max(length, least)
    return id_[: length + (id_[:length].endswith("-"))]


def short_ids(session: Session, ids: Iterable[str]) -> Mapping[str, str]:
    """The beginning to print for each id, unambiguous among all requests that the stores know."""
    wanted = set(ids)
    others: set[str] = set()
    columns: tuple[tuple[StoreKind, sa.Column[str]], ...] = (
        ("audit", audit.c.request_id),
        ("state", requests.c.request_id),
    )
    for kind, column in columns:
        with suppress(*STORE_ERRORS), session.reading(kind) as connection:
            for id_ in wanted:
                before = sa.select(sa.func.max(column)).where(column < id_).scalar_subquery()
                after = sa.select(sa.func.min(column)).where(column > id_).scalar_subquery()
                others.update(filter(None, connection.execute(sa.select(before, after)).one()))
    return prefixes(wanted, others)


def whole_id(text: str, known: Iterable[str]) -> str:
    """The id that `text` is or begins; `text` itself if there is none.

    Raises:
        AmbiguousIdError: it begins several.
        click.BadParameter: it is too short.
    """
    found = {id_ for id_ in known if id_.startswith(text)}
    if text in found:
        return text
    if len(found) > 1:
        raise AmbiguousIdError(text, found)
    if len(text) < _SHORTEST:
        raise click.BadParameter(
            f"{text!r} is too short for an id: write at least {_SHORTEST} characters"
        )
    return found.pop() if found else text


def whole_request_id(connection: sa.Connection, text: str) -> str:
    """`whole_id` among the requests in the audit log."""
    column = audit.c.request_id
    exact = connection.execute(sa.select(column).where(column == text).limit(1)).scalar()
    if exact is not None:
        return text
    range_ = sa.select(column).distinct().where(column >= text, column < text + _LAST)
    return whole_id(text, connection.execute(range_).scalars())
