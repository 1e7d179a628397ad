"""Adds the broker user of each record's message; records from before have none."""

from alembic import op

from workers.store.columns import text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Upgrade."""
    for column in text("sender", null=True):
        op.add_column("audit", column)


def downgrade() -> None:
    """Downgrade."""
    op.drop_column("audit", "sender")
