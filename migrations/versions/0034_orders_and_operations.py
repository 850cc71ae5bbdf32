"""Orders are created, and payments captured, voided and authorised, by server-side calls that travel together, as pay-ins are."""

from alembic import op

from migrations.tools import run_sql

revision = "0034"
down_revision: str | None = "0032"
branch_labels = None
depends_on = None

FUNCTIONS = (
    "payments_take_asked(uuid, json, json, json, integer)",
    "payments_step(uuid, json, json)",
    "payments_ask(uuid, json, json)",
    "payments_post(uuid, payment_journal)",
    "payments_look(uuid, uuid[], uuid[])",
    "orders_create(uuid, json)",
)
TYPES = ("payment_step", "payment_ask", "order_wish")


def upgrade() -> None:
    run_sql(op, "orders_create")
    run_sql(op, "payments_operate")


def downgrade() -> None:
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    for kind in TYPES:
        op.execute(f"DROP TYPE {kind}")
