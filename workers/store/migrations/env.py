"""Alembic runs this for every migration: it works on the connection that open_store gives it."""

from alembic import context

from workers.store import tables

_config = context.config
context.configure(
    connection=_config.attributes["connection"],
    target_metadata=tables.STATE if _config.attributes["kind"] == "state" else tables.AUDIT,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
