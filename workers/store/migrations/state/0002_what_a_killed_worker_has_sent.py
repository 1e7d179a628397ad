"""What a killed worker has sent."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "nodes", sa.Column("unsettled_until", sa.BigInteger(), server_default="0", nullable=False)
    )


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.drop_column("unsettled_until")
