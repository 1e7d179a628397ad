"""`lamplighter database roles`: PostgreSQL's roles, each with the tables that it needs."""

from collections.abc import Callable

import click
import sqlalchemy as sa

from ops.cli.session import Session, StoreKind, pass_session
from ops.cli.terminal import print_line
from producers.settings import ConfigError
from schemas.roles import Role
from workers.store.access import ACCESS, creations, grants
from workers.store.database import FIELDS, open_store

_KINDS: tuple[StoreKind, ...] = ("state", "audit")


@click.command(short_help="Print or grant what each role may do in PostgreSQL.")
@click.option("--apply", "applies", is_flag=True, help="Migrate the tables, and grant now.")
@pass_session
def roles(session: Session, *, applies: bool) -> None:
    """Print the SQL that gives each role its own PostgreSQL user, with the tables that it needs.

    An administrator runs the first part, once, and sets a password for each user. --apply does the rest,
    after each upgrade too, with the login of the role `setup`, which owns the databases.
    """
    names = {kind: _names(session, kind) for kind in _KINDS}
    if not applies:
        print_line("-- as an administrator; then set a password for each")
        for statement in dict.fromkeys(s for name in names.values() for s in creations(name)):
            print_line(f"{statement};")
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


def grant(url: str, kind: StoreKind, name: Callable[[Role], str]) -> None:
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


def _names(session: Session, kind: StoreKind) -> Callable[[Role], str]:
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
