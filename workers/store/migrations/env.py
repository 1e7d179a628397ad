"""Alembic runs this file for every migration, on the connection that open_store provides."""

from alembic import context

from workers.store import tables

_attributes = context.config.attributes
context.configure(
    connection=_attributes["connection"],
    target_metadata=tables.STATE if _attributes["kind"] == "state" else tables.AUDIT,
    # state and audit may share a database; each has its own version
    version_table=f"{_attributes['kind']}_version",
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
