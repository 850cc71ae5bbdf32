"""The hot writes with less to set up: the ledger's lines are checked together instead of one by one, and its writers ask for rows one at a time."""

from alembic import op

from migrations.tools import run_sql

revision = "0030"
down_revision: str | None = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(op, "ledger_quick_guards")
    run_sql(op, "ledger_quick_post")


def downgrade() -> None:
    run_sql(op, "ledger_quick_undo")
