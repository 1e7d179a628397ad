"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "nodes",
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("desired", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("server_id", sa.Text(), nullable=True),
        sa.Column("observed", sa.Text(), nullable=True),
        sa.Column("observed_at", sa.BigInteger(), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reached", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("booted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("boot_from", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("cluster", "node"),
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("cloud", sa.Text(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=True),
        sa.Column("seed", sa.Text(), nullable=True),
        sa.Column("rotated_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("cloud"),
    )
    op.create_table(
        "requests",
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("event", sa.LargeBinary(), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("actions", sa.Text(), server_default="[]", nullable=False),
        sa.Column("waited_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("cluster", "request_id", "round"),
    )
    with op.batch_alter_table("requests", schema=None) as batch_op:
        batch_op.create_index("requests_by_node", ["cluster", "node", "generation"], unique=False)
        batch_op.create_index("requests_decided", ["decided_at"], unique=False)

    op.create_table(
        "workers",
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "name"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("workers")
    with op.batch_alter_table("requests", schema=None) as batch_op:
        batch_op.drop_index("requests_decided")
        batch_op.drop_index("requests_by_node")

    op.drop_table("requests")
    op.drop_table("refresh_tokens")
    op.drop_table("nodes")
