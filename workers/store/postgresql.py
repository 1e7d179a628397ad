"""Connects to PostgreSQL, so that neither its settings nor a pooler between change what we rely on."""

from typing import Any

import sqlalchemy as sa

from producers.settings import ConfigError
from workers.store.passfile import credential

# Administrators may set others in the URL.
_LINK = {
    "connect_timeout": 10,
    # A server or a network that is gone is noticed after half a minute, not after two hours.
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# With SQL_ASCII, PostgreSQL keeps the bytes as they come.
_ENCODINGS = "UTF8", "SQL_ASCII"


def postgresql_engine(url: str, **options: Any) -> sa.Engine:  # noqa: ANN401 - SQLAlchemy's
    """An engine that connects with the password that systemd has passed, if the URL names one.

    All text is UTF-8; each transaction is READ COMMITTED, whatever the role's default is; no
    statement is prepared, so that a pooler may give each transaction another connection.

    Raises:
        ConfigError: systemd has not passed the password that the URL names. When it connects: the
            database cannot hold all characters.
    """
    address, login = credential(url)
    link = {name: value for name, value in _LINK.items() if name not in address.query}
    engine = sa.create_engine(
        address,
        connect_args={**link, "client_encoding": "utf8", "prepare_threshold": None, **login},
        isolation_level="READ COMMITTED",
        **options,
    )
    sa.event.listen(engine, "connect", _check_encoding)
    return engine


def _check_encoding(connection: Any, _record: object) -> None:  # noqa: ANN401 - psycopg's
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in _ENCODINGS:
        name = connection.info.dbname
        connection.close()
        raise ConfigError(
            f"store: the database {name} has the encoding {encoding}, which cannot hold all characters: "
            "create one with ENCODING 'UTF8' TEMPLATE template0, and restore a dump of this one into it"
        )
