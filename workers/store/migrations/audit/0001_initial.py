"""Creates the tables of the audit log."""

import sqlalchemy as sa
from alembic import op

from workers.store.columns import ROW_ID, bigint, binary, integer, text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Upgrade."""
    op.create_table(
        "audit",
        sa.Column("seq", ROW_ID, primary_key=True, autoincrement=True),
        *text("source", "id", "type"),
        *bigint("time", "recorded_at"),
        *text("subject", "request_id", null=True),
        *integer("round", null=True),
        *text("transition", null=True),
        *bigint("generation", null=True),
        *text("correlation_id", null=True),
        *binary("body", "prev_hash", "hash"),
        sa.UniqueConstraint("prev_hash"),
        sa.UniqueConstraint("hash"),
        sa.UniqueConstraint("source", "id", name="audit_unique_event"),
        sa.Index("audit_by_request", "request_id", "seq"),
        sa.Index("audit_by_time", "time", "seq"),
        sa.Index("audit_by_subject", "subject", "time", "seq"),
        sa.Index("audit_by_transition", "transition", "time", "seq"),
        sa.Index(
            "audit_without_transition",
            "type",
            "seq",
            sqlite_where=sa.text("transition IS NULL"),
            postgresql_where=sa.text("transition IS NULL"),
        ),
    )
    op.create_table(
        "audit_heads", *bigint("seq", key=True), *text("key", key=True), *text("statement")
    )
    op.create_table("audit_jobs", *bigint("job_id", key=True), *text("request_id", key=True))
    op.create_table("audit_nodes", *text("node", "source", "id", key=True))
    op.create_table(
        "audit_uws", *text("uws_id", key=True), *bigint("job_id", "submitted_at", key=True)
    )
