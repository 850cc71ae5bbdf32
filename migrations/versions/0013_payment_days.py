"""Figures of payments per day: the hours added up, so that a page over weeks reads a twenty-fourth of the rows."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import protect

revision = "0013"
down_revision: str | None = "0012"
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
FILL = f"""
INSERT INTO payment_day (merchant_id, day_on, currency, connection_id, {", ".join(FIGURES)})
SELECT merchant_id, (hour_at AT TIME ZONE 'UTC')::date, currency, connection_id, {", ".join(f"sum({name})" for name in FIGURES)}
  FROM payment_hour GROUP BY 1, 2, 3, 4
"""


def upgrade() -> None:
    op.create_table(
        "payment_day",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("day_on", sa.Date(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False) for name in FIGURES),
        sa.ForeignKeyConstraint(
            ["merchant_id", "connection_id"],
            ["psp_connection.merchant_id", "psp_connection.id"],
            name=op.f("fk_payment_day_merchant_id_connection_id_psp_connection"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "day_on", "currency", "connection_id", name=op.f("pk_payment_day")),
    )
    protect(op, "payment_day")
    op.execute(FILL)


def downgrade() -> None:
    op.drop_table("payment_day")
