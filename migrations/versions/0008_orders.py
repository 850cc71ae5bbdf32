"""Tables of orders."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tools import due, protect, run_sql

revision = "0008"
down_revision: str | None = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sales_order",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Text(collation="C"), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column(
            "captured_minor",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "refunded_minor",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("buyer_name", sa.Text(), nullable=False),
        sa.Column("buyer_email", sa.Text(), nullable=False),
        sa.Column("buyer_email_lc", sa.Text(collation="C"), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status in ('open', 'partially_paid', 'paid', 'partially_refunded', 'refunded', 'cancelled', 'expired')",
            name=op.f("ck_sales_order_status"),
        ),
        sa.CheckConstraint(
            "0 <= captured_minor and captured_minor <= total_minor",
            name=op.f("ck_sales_order_captured_within_total"),
        ),
        sa.CheckConstraint(
            "0 <= refunded_minor and refunded_minor <= captured_minor",
            name=op.f("ck_sales_order_refunded_within_captured"),
        ),
        sa.CheckConstraint("total_minor > 0", name=op.f("ck_sales_order_total_is_positive")),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_sales_order")),
        sa.UniqueConstraint(
            "merchant_id",
            "reference",
            name=op.f("uq_sales_order_merchant_id_reference"),
        ),
    )
    op.create_index(
        "ix_sales_order_email",
        "sales_order",
        ["merchant_id", "buyer_email_lc", "id"],
        unique=False,
    )
    op.create_index(
        "ix_sales_order_expiry",
        "sales_order",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'open' and expires_at is not null"),
    )
    op.create_index(
        "ix_sales_order_status",
        "sales_order",
        ["merchant_id", "status", "id"],
        unique=False,
    )
    op.create_table(
        "sales_order_line",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("seller_id", sa.Uuid(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_sales_order_line_amount_is_positive")),
        sa.CheckConstraint("quantity >= 1", name=op.f("ck_sales_order_line_quantity_is_positive")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "order_id"],
            ["sales_order.merchant_id", "sales_order.id"],
            name=op.f("fk_sales_order_line_merchant_id_order_id_sales_order"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "seller_id"],
            ["seller.merchant_id", "seller.id"],
            name=op.f("fk_sales_order_line_merchant_id_seller_id_seller"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "order_id", "position", name=op.f("pk_sales_order_line")),
    )
    op.create_index(
        "ix_sales_order_line_seller",
        "sales_order_line",
        ["merchant_id", "seller_id", "order_id"],
        unique=False,
    )
    protect(op, "sales_order")
    protect(op, "sales_order_line", grants="SELECT, INSERT")
    due(
        op,
        "orders_expired",
        table="sales_order",
        where="status = 'open' and expires_at <= moment",
        order="expires_at",
    )
    run_sql(op, "orders_collected")


def downgrade() -> None:
    op.execute("DROP FUNCTION orders_record_collected")
    op.execute("DROP FUNCTION orders_expired(timestamptz, integer)")
    op.drop_table("sales_order_line")
    op.drop_table("sales_order")
