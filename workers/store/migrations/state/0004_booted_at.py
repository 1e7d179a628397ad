"""Adds when a call last booted each node, by the store's clock (ms)."""

from alembic import op

from workers.store.columns import bigint

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Upgrade."""
    for column in bigint("booted_at", default="0"):
        op.add_column("nodes", column)


def downgrade() -> None:
    """Downgrade."""
    op.drop_column("nodes", "booted_at")
