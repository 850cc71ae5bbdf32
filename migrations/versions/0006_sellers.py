"""Tables of sellers."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import protect, run_sql

revision = "0006"
down_revision: str | None = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "seller",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_lc", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status in ('active', 'blocked')", name=op.f("ck_seller_status")),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_seller")),
        sa.UniqueConstraint("merchant_id", "reference", name=op.f("uq_seller_merchant_id_reference")),
    )
    op.create_index("ix_seller_name", "seller", ["merchant_id", "name_lc", "id"], unique=False)
    op.create_table(
        "platform_fee",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seller_id", sa.Uuid(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("basis_points", sa.BigInteger(), nullable=False),
        sa.Column("fixed_minor", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "basis_points between 0 and 10000",
            name=op.f("ck_platform_fee_basis_points"),
        ),
        sa.CheckConstraint("fixed_minor >= 0", name=op.f("ck_platform_fee_fixed_minor")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "seller_id"],
            ["seller.merchant_id", "seller.id"],
            name=op.f("fk_platform_fee_merchant_id_seller_id_seller"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_platform_fee")),
    )
    op.create_index(
        "uq_platform_fee_rule",
        "platform_fee",
        ["merchant_id", "seller_id", "currency"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    protect(op, "seller")
    protect(op, "platform_fee")
    run_sql(op, "sellers_fees")


def downgrade() -> None:
    op.execute("DROP FUNCTION platform_fee_of")
    op.drop_table("platform_fee")
    op.drop_table("seller")
