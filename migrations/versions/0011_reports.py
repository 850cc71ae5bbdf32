"""Tables of reports: figures per hour and per day, and the index behind the count of webhooks that failed."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import definer, protect

revision = "0011"
down_revision: str | None = "0010"
branch_labels = None
depends_on = None

FIGURES = (
    "started",
    "succeeded",
    "failed",
    "captures",
    "captured_minor",
    "refunds",
    "refunded_minor",
    "psp_fee_minor",
    "platform_fee_minor",
)
OF_SELLER = ("sales", "sold_minor", "fee_minor", "refunded_minor", "fee_returned_minor")

# The worker that counts asks across merchants and gets ids only. One look into the index per merchant.
DUE = """
CREATE FUNCTION reports_due() RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT m.id FROM merchant m LEFT JOIN report_progress p ON p.merchant_id = m.id
   WHERE EXISTS (SELECT FROM payment_event e WHERE e.merchant_id = m.id
                    AND e.id > coalesce(p.through_id, '00000000-0000-0000-0000-000000000000')) $$
"""


def upgrade() -> None:
    op.create_table(
        "payment_hour",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("hour_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False) for name in FIGURES),
        sa.ForeignKeyConstraint(
            ["merchant_id", "connection_id"],
            ["psp_connection.merchant_id", "psp_connection.id"],
            name=op.f("fk_payment_hour_merchant_id_connection_id_psp_connection"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "hour_at", "currency", "connection_id", name=op.f("pk_payment_hour")),
    )
    op.create_table(
        "seller_day",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("day_on", sa.Date(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("seller_id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False) for name in OF_SELLER),
        sa.ForeignKeyConstraint(
            ["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"], name=op.f("fk_seller_day_merchant_id_seller_id_seller")
        ),
        sa.PrimaryKeyConstraint("merchant_id", "day_on", "currency", "seller_id", name=op.f("pk_seller_day")),
    )
    op.create_table(
        "report_progress",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("through_id", sa.Uuid(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_report_progress")),
    )
    for table in ("payment_hour", "seller_day", "report_progress"):
        protect(op, table)
    op.create_index("ix_psp_event_failed", "psp_event", ["merchant_id", "received_at"], postgresql_where=sa.text("status = 'failed'"))
    op.execute(DUE)
    definer(op, "reports_due()")


def downgrade() -> None:
    op.execute("DROP FUNCTION reports_due()")
    op.drop_index("ix_psp_event_failed", "psp_event")
    for table in ("report_progress", "seller_day", "payment_hour"):
        op.drop_table(table)
