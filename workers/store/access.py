"""Which tables each role may use in PostgreSQL, and how: the only place that states it. Pure.

The role SETUP owns the tables: it migrates them, and only it seals and prunes the audit log.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypeAlias

import sqlalchemy as sa

from schemas.roles import Role
from workers.store import tables as t

READ = ("SELECT",)
ADD = (*READ, "INSERT")
CHANGE = (*ADD, "UPDATE")
ALL = (*CHANGE, "DELETE")
# What its role alone may read.
HIDDEN = frozenset(
    {t.refresh_tokens.c.ciphertext, t.revoked_secrets.c.digest, t.revoked_secrets.c.salt}
)

_VERSIONS = "state_version", "audit_version"
# PostgreSQL's own number.
_ROUNDS = 4096

_Tables: TypeAlias = Mapping[sa.Table, tuple[str, ...]]
_BEAT: _Tables = {t.workers: ALL}
_READ_STATE: _Tables = dict.fromkeys(t.STATE.tables.values(), READ)
_READ_AUDIT: _Tables = dict.fromkeys(t.AUDIT.tables.values(), READ)
# A decision about a dead letter ends the request's round, or opens the next one.
_DECIDE: _Tables = {t.requests: CHANGE, t.notifications: CHANGE, t.holds: ALL}


def _read(*found: sa.Table) -> _Tables:
    return dict.fromkeys(found, READ)


ACCESS: Mapping[Role, _Tables] = {
    Role.POWER: {
        **_BEAT,
        **dict.fromkeys((t.requests, t.nodes, t.group_images, t.listings), CHANGE),
        **_read(t.clock_resets, t.snapshots, t.holds, t.drifts),
    },
    Role.TOKENS: {**_BEAT, t.refresh_tokens: CHANGE, t.revoked_secrets: ADD},
    Role.SLURM: {**_BEAT, t.feedback: ALL, **_read(t.nodes, t.requests, t.holds, t.snapshots)},
    Role.SNAPSHOT: {**_BEAT, **_read(t.feedback, t.nodes, t.requests)},
    Role.RESYNC: {
        **_BEAT,
        t.snapshots: CHANGE,
        t.drifts: (*ADD, "DELETE"),
        **_read(t.nodes, t.requests, t.feedback, t.holds, t.listings, t.clock_resets),
    },
    Role.AUDIT: {
        **_BEAT,
        **_read(t.nodes, t.drifts, t.snapshots, t.refresh_tokens),
        # forgets the rounds whose outcomes it holds
        t.requests: (*READ, "DELETE"),
        **dict.fromkeys(t.AUDIT.tables.values(), ADD),
    },
    Role.NOTIFY: {**_BEAT, t.notifications: ALL},
    Role.CONSOLE: {**_READ_STATE, **_READ_AUDIT, **_DECIDE},
    Role.OPERATOR: {
        **_READ_STATE,
        **_READ_AUDIT,
        **_DECIDE,
        # of `lamplighter drift --fix`, `image unset` and `clock reset`
        **dict.fromkeys((t.drifts, t.group_images, t.listings), ALL),
        **dict.fromkeys((t.nodes, t.feedback, t.snapshots, t.clock_resets), CHANGE),
    },
    Role.READER: {**_READ_STATE, **_READ_AUDIT},
}


def creations(name: Callable[[Role], str]) -> Iterator[str]:
    """The statements of an administrator that create the roles which are missing, without passwords."""
    for role in (Role.SETUP, *ACCESS):
        create = f'CREATE ROLE "{name(role)}" LOGIN'
        yield f"DO $$BEGIN {create}; EXCEPTION WHEN duplicate_object THEN NULL; END$$"


def refusal(owner: str, databases: Collection[str]) -> str:
    """The administrator's statement that fails if the role SETUP owns further databases.

    They are another cluster's, whose passwords would be replaced.
    """
    ours = " AND ".join(f"datname <> {_text(one)}" for one in databases)
    hint = (
        "if another cluster uses it, write other users into store.url, such as VHOST_{role}; if not, give it "
        "to another role: ALTER DATABASE ... OWNER TO CURRENT_USER"
    )
    return (
        "DO $$DECLARE other name; BEGIN FOR other IN SELECT datname FROM pg_database WHERE"  # noqa: S608 - quoted
        f" pg_get_userbyid(datdba) = {_text(owner)} AND {ours} LOOP RAISE EXCEPTION"
        f" 'the role % owns another database: %', {_text(owner)}, other USING HINT = {_text(hint)};"
        " END LOOP; END$$"
    )


def takeover(name: Callable[[Role], str]) -> Iterator[str]:
    """The administrator's statements, in a database, that give it and its tables to the role SETUP."""
    owner = f'"{name(Role.SETUP)}"'
    yield _on_database("ALTER", f"OWNER TO {owner}")
    for table in (*t.STATE.tables, *t.AUDIT.tables, *_VERSIONS):
        yield f"ALTER TABLE IF EXISTS {table} OWNER TO {owner}"


def verifier(password: str, salt: bytes) -> str:
    """What PostgreSQL keeps of a password (RFC 5803): nobody can log in with it."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    client, server = (
        hmac.digest(salted, word, "sha256") for word in (b"Client Key", b"Server Key")
    )
    stored = hashlib.sha256(client).digest()
    coded = (base64.b64encode(one).decode() for one in (salt, stored, server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_ROUNDS, *coded)


def grants(name: Callable[[Role], str], kind: str) -> Iterator[str]:
    """The owner's statements, in the database of `kind`, that leave each role what it needs."""
    here = t.STATE if kind == "state" else t.AUDIT
    yield _on_database("REVOKE ALL ON", "FROM PUBLIC")
    for role, access in ACCESS.items():
        who = f'"{name(role)}"'
        mine = {table: how for table, how in access.items() if table.metadata is here}
        yield from (f"REVOKE ALL ON {table.name} FROM {who}" for table in here.tables.values())
        if not mine:
            continue
        yield _on_database("GRANT CONNECT ON", f"TO {who}")
        yield f"GRANT SELECT ON {kind}_version TO {who}"
        for table, how in mine.items():
            what = ", ".join(how)
            shown = [one.name for one in table.c if one not in HIDDEN]
            if how == READ and len(shown) < len(table.c):
                what = f"SELECT ({', '.join(shown)})"
            yield f"GRANT {what} ON {table.name} TO {who}"
            if table is t.audit and "INSERT" in how:
                yield f"GRANT USAGE ON SEQUENCE audit_seq_seq TO {who}"


def _text(name: str) -> str:
    """A name as text of SQL."""
    return "'{}'".format(name.replace("'", "''"))


def _on_database(what: str, whom: str) -> str:
    """A statement about the database that runs it, whose name it need not know."""
    name = "quote_ident(current_database())"
    return f"DO $$BEGIN EXECUTE '{what} DATABASE ' || {name} || ' {whom}'; END$$"
