"""Signed heads, and indexes for what people ask."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NO_TRANSITION = sa.text("transition IS NULL")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "audit_heads",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", "key"),
    )
    op.drop_index("audit_by_time", "audit")
    op.drop_index("audit_by_subject", "audit")
    op.create_index("audit_in_time", "audit", ["time", "seq"])
    op.create_index("audit_of_subject", "audit", ["subject", "time", "seq"])
    op.create_index("audit_of_transition", "audit", ["transition", "time", "seq"])
    op.create_index(
        "audit_no_transition",
        "audit",
        ["type", "seq"],
        sqlite_where=_NO_TRANSITION,
        postgresql_where=_NO_TRANSITION,
    )


def downgrade() -> None:
    """Take back."""
    for name in ("no_transition", "of_transition", "of_subject", "in_time"):
        op.drop_index(f"audit_{name}", "audit")
    op.create_index("audit_by_subject", "audit", ["subject", "seq"])
    op.create_index("audit_by_time", "audit", ["time"])
    op.drop_table("audit_heads")
