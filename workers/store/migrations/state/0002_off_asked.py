"""Adds the generation of the newest request to power a node off that waited for a snapshot."""

from alembic import op

from workers.store.columns import bigint

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Upgrade."""
    for column in bigint("off_asked", default="0"):
        op.add_column("nodes", column)


def downgrade() -> None:
    """Downgrade."""
    op.drop_column("nodes", "off_asked")
