"""What webhooks are to be told."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "notifications",
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("webhook", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.Column("errors", sa.Text(), server_default="[]", nullable=False),
        sa.PrimaryKeyConstraint("cluster", "webhook", "event_id", "round"),
    )
    op.create_index("notifications_due", "notifications", ["cluster", "webhook", "due_at"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("notifications_due", "notifications")
    op.drop_table("notifications")
