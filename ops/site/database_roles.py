"""`lamplighter database roles`: PostgreSQL's roles, each with the tables that it needs."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import click
import sqlalchemy as sa

from ops.cli.session import Session, StoreKind, pass_session
from ops.cli.terminal import print_line, warn
from producers.settings import ConfigError
from producers.trust import UntrustedFileError, read_trusted, shown_file
from schemas.roles import Role
from workers.store.access import ACCESS, creations, grants, refusal, takeover, verifier
from workers.store.database import FIELDS, open_store
from workers.store.passfile import passwords

# Whatever the server's own locale is: holds all characters, and no upgrade of the system reorders it.
_TEXT = "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
_KINDS: tuple[StoreKind, ...] = ("state", "audit")
_Name: TypeAlias = Callable[[Role], str]


@click.command
@click.option(
    "--create", "creates", is_flag=True, help="Print what an administrator runs, for psql."
)
@click.option("--apply", "applies", is_flag=True, help="Migrate the tables, and grant now.")
@pass_session
def roles(session: Session, *, creates: bool, applies: bool) -> None:
    """Print the SQL that gives each role its own PostgreSQL user, with the tables that it needs.

    An administrator of PostgreSQL runs what --create prints: users with the passwords of their
    passfiles, which it shows as hashes only, and databases; it can run again, and takes over databases of a
    former version. It changes nothing where another cluster has these users. --apply does the rest, after
    each upgrade too, with the login of the role `setup`, which owns the databases.
    """
    names = {kind: _names(session, kind) for kind in _KINDS}
    if creates:
        for line in _creation(session, names):
            print_line(line)
        return
    for kind, name in names.items():
        url = session.of_role(Role.SETUP).url(kind)
        if applies:
            grant(url, kind, name)
        else:
            print_line(f"-- as {name(Role.SETUP)}, in the database of {FIELDS[kind]}; or --apply")
            for statement in grants(name, kind):
                print_line(f"{statement};")
    if applies:
        print_line(f"{len(ACCESS)} roles may use the tables that they need")


@dataclass(frozen=True, slots=True)
class _Unknown:
    """Why a password is not known."""

    why: str


def _creation(session: Session, names: Mapping[StoreKind, _Name]) -> Iterator[str]:
    """The lines that psql runs as an administrator."""
    yield r"\set ON_ERROR_STOP on"
    databases = {
        kind: sa.make_url(session.of_role(Role.SETUP).url(kind)).database for kind in names
    }
    if None not in databases.values():
        ours = sorted({str(one) for one in databases.values()})
        for owner in sorted({name(Role.SETUP) for name in names.values()}):
            yield f"{refusal(owner, ours)};"
    yield from dict.fromkeys(f"{one};" for name in names.values() for one in creations(name))
    users = {
        name(role): sa.make_url(session.of_role(role).url(kind))
        for kind, name in names.items()
        for role in (Role.SETUP, *ACCESS)
    }
    for user, url in users.items():
        password = _password(url)
        if isinstance(password, _Unknown):
            warn(
                f"{user}: {password.why}; set a password, or run this where lamplighter init ran, as root"
            )
            yield f"-- no password is known here for {user}"
        else:
            hashed = verifier(password, secrets.token_bytes(16))
            yield f"ALTER ROLE \"{user}\" PASSWORD '{hashed}';"
    owner = names["state"](Role.SETUP)
    for database, kind in {database: kind for kind, database in databases.items()}.items():
        if database is None:
            yield f"-- in the database of {FIELDS[kind]}, which its service names:"
        else:
            quoted = '"{}"'.format(database.replace('"', '""'))
            create, name = (
                one.replace("'", "''")
                for one in (f'CREATE DATABASE {quoted} OWNER "{owner}" {_TEXT}', database)
            )
            known = f"SELECT FROM pg_database WHERE datname = '{name}'"
            yield rf"SELECT '{create}' WHERE NOT EXISTS ({known}) \gexec"
            yield rf"\connect {quoted}"
        yield from (f"{one};" for one in takeover(names[kind]))


def _password(url: sa.URL) -> str | _Unknown:
    """The password in the passfile that a URL names (libpq, "The Password File")."""
    path = url.query.get("passfile")
    if not isinstance(path, str):
        return _Unknown("its URL names no passfile")
    try:
        text = read_trusted(Path(path), private=True)
    except OSError as error:
        return _Unknown(f"{shown_file(Path(path))}: {error.strerror}")
    except (UnicodeDecodeError, UntrustedFileError) as error:
        return _Unknown(f"{path}: {error}")
    return next(passwords(text), None) or _Unknown(f"{path}: write a line *:*:*:*:PASSWORD")


def grant(url: str, kind: StoreKind, name: _Name) -> None:
    """Migrate a store's tables, and give each role, by its database user, what it needs.

    `url` is the owner's.
    """
    engine = open_store(url, kind)
    try:
        with engine.begin() as connection:
            for statement in grants(name, kind):
                connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


def _names(session: Session, kind: StoreKind) -> _Name:
    """The database user of each role.

    Raises:
        ConfigError: the store is not PostgreSQL, or one user serves all roles.
    """
    users = {role: sa.make_url(session.of_role(role).url(kind)).username for role in Role}
    if len(set(users.values())) < len(Role):
        raise ConfigError(
            f"{session.config}: {FIELDS[kind]}: names no user for each role: write "
            '"postgresql+psycopg://lamplighter_{role}@HOST/DATABASE?passfile=FOLDER/{role}.pgpass"'
        )
    return lambda role: str(users[role])
