"""Adds the secrets that operators have revoked, as salted digests."""

from alembic import op

from workers.store.columns import bigint, text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Upgrade."""
    op.create_table(
        "revoked_secrets",
        *text("cloud", "digest", key=True),
        *text("salt"),
        *bigint("revoked_at"),
    )


def downgrade() -> None:
    """Downgrade."""
    op.drop_table("revoked_secrets")
