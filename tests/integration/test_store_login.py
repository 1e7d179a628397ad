"""A PostgreSQL password that is rotated in its file is used at the next connect, without a restart."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa

from workers.store.database import connect

if TYPE_CHECKING:
    from pathlib import Path

    from tests.testbed.postgresql import PostgreSQL


@pytest.mark.parametrize("kind", ["service", "pgpass"])
def test_rotated_password_is_used_at_the_next_connect(
    postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    administrator = postgresql.create_database()
    url = sa.make_url(administrator)
    role, file = f"worker_{kind}", tmp_path / kind
    with psycopg.connect(administrator.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'old'".encode())

        def rotate(password: str) -> None:
            place = f"{url.host}:{url.port}:{url.database}:{role}:{password}\n"
            service = (
                f"[lamplighter]\nhost={url.host}\nport={url.port}\ndbname={url.database}\n"
                f"user={role}\npassword={password}\n"
            )
            file.write_text(service if kind == "service" else place)
            file.chmod(0o600)
            connection.execute(f"ALTER ROLE {role} PASSWORD '{password}'".encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role,)
            )

        monkeypatch.setenv("PGSERVICEFILE" if kind == "service" else "PGPASSFILE", os.fspath(file))
        rotate("old")
        store = connect(
            "postgresql+psycopg:///?service=lamplighter"
            if kind == "service"
            else f"postgresql+psycopg://{role}@{url.host}:{url.port}/{url.database}"
        )
        for password in ("first", "second"):
            with store.connect() as one:
                assert one.scalar(sa.text("SELECT current_user")) == role
            rotate(password)  # also ends the connection in the pool
        with store.connect() as one:
            assert one.scalar(sa.text("SELECT current_user")) == role
        store.dispose()
