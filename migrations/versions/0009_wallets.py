"""Tables of wallets."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import due, protect, run_sql

revision = "0009"
down_revision: str | None = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "wallet_policy",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column(
            "availability_days",
            sa.BigInteger(),
            server_default=sa.text("2"),
            nullable=False,
        ),
        sa.Column("timezone", sa.Text(), server_default=sa.text("'UTC'"), nullable=False),
        sa.Column(
            "allow_negative",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
        ),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "availability_days between 0 and 90",
            name=op.f("ck_wallet_policy_availability_days"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_wallet_policy")),
    )
    op.create_table(
        "funds_release",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seller_id", sa.Uuid(), nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("capture_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("taken_minor", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status in ('waiting', 'released', 'used_up')",
            name=op.f("ck_funds_release_status"),
        ),
        sa.CheckConstraint(
            "0 <= taken_minor and taken_minor <= amount_minor",
            name=op.f("ck_funds_release_taken_within_amount"),
        ),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_funds_release_amount_is_positive")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "seller_id"],
            ["seller.merchant_id", "seller.id"],
            name=op.f("fk_funds_release_merchant_id_seller_id_seller"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_funds_release")),
    )
    op.create_index(
        "ix_funds_release_due",
        "funds_release",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("status = 'waiting'"),
    )
    op.create_index(
        "ix_funds_release_payment",
        "funds_release",
        ["merchant_id", "payment_id", "seller_id"],
        unique=False,
    )
    op.create_index(
        "ix_funds_release_seller",
        "funds_release",
        ["merchant_id", "seller_id", "due_at"],
        unique=False,
        postgresql_where=sa.text("status = 'waiting'"),
    )
    protect(op, "wallet_policy")
    protect(op, "funds_release", grants="SELECT, INSERT, UPDATE")
    due(
        op,
        "funds_due",
        table="funds_release",
        where="status = 'waiting' and due_at <= moment",
        order="due_at",
    )
    run_sql(op, "wallets_schedule")


def downgrade() -> None:
    op.execute("DROP FUNCTION wallets_schedule_release")
    op.execute("DROP FUNCTION funds_due(timestamptz, integer)")
    op.drop_table("funds_release")
    op.drop_table("wallet_policy")
