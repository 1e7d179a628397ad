"""Which Slurm jobs ran for which UWS job."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "audit_uws",
        sa.Column("uws_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("submitted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("uws_id", "job_id", "submitted_at"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("audit_uws")
