"""Creates the tables of the state store."""

import sqlalchemy as sa
from alembic import op

from workers.store.columns import bigint, binary, integer, text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Upgrade."""
    op.create_table(
        "nodes",
        *text("cluster", "node", key=True),
        *text("desired"),
        *bigint("generation"),
        *text("request_id"),
        *text("server_id", "observed", null=True),
        *bigint("observed_at", null=True),
        *text("lease_owner", null=True),
        *bigint("lease_until", "unsettled_until", "reached", "booted", "boot_from", default="0"),
    )
    op.create_table(
        "requests",
        *text("cluster", "request_id", key=True),
        *integer("round", key=True),
        *text("node"),
        *bigint("generation", "accepted_at"),
        *text("outcome", null=True),
        *binary("event", null=True),
        *bigint("decided_at", null=True),
        *text("actions", default="[]"),
        *bigint("waited_ms", default="0"),
        sa.Index("requests_by_node", "cluster", "node", "generation"),
        sa.Index("requests_decided", "decided_at"),
    )
    op.create_table(
        "clock_resets", *text("cluster", key=True), *bigint("stamped_until", "reset_at")
    )
    op.create_table(
        "group_images",
        *text("cluster", "group_name", key=True),
        *text("image_id", "image_name", "node", "request_id"),
        *bigint("generation", "set_at"),
    )
    op.create_table(
        "refresh_tokens",
        *text("cloud", key=True),
        *binary("ciphertext", null=True),
        *text("seed", null=True),
        *bigint("rotated_at", "expires_at", null=True),
        *text("lease_owner", null=True),
        *bigint("lease_until", default="0"),
    )
    op.create_table(
        "feedback",
        *text("cluster", "node", key=True),
        *bigint("generation"),
        *integer("failures"),
        *text("due"),
        *bigint("due_at"),
        *text("error", "reason"),
        *bigint("failed_at"),
        *text("jobs", default="[]"),
    )
    op.create_table(
        "snapshots",
        *text("cluster", key=True),
        *bigint("generation", "received_at"),
        *binary("body"),
    )
    op.create_table(
        "listings",
        *text("cluster", "cloud", key=True),
        *bigint("generation", "requested_at"),
        *binary("body"),
    )
    op.create_table(
        "holds", *text("cluster", "node", key=True), *text("reason", "placed_by"), *bigint("since")
    )
    op.create_table(
        "drifts",
        *text("cluster", "subject", key=True),
        *text("kind"),
        *bigint("since"),
        *integer("repairs"),
        *bigint("repaired_at"),
    )
    op.create_table(
        "notifications",
        *text("cluster", "webhook", "event_id", key=True),
        *integer("round", key=True),
        *binary("body"),
        *bigint("received_at", "due_at"),
        *bigint("done_at", null=True),
        *text("errors", default="[]"),
        sa.Index("notifications_due", "cluster", "webhook", "due_at"),
    )
    op.create_table(
        "workers",
        *text("cluster", "name", key=True),
        *text("role", "host"),
        *integer("pid"),
        *bigint("started_at", "seen_at"),
        *text("state"),
    )
