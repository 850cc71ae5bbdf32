"""What a seller owes is taken from what becomes available: the transaction that says so."""

from alembic import op

revision = "0041"
down_revision: str | None = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("INSERT INTO ledger.txn_kind (code, name) VALUES ('debt.recovered', 'Debt repaid')")


def downgrade() -> None:
    op.execute("DELETE FROM ledger.txn_kind WHERE code = 'debt.recovered'")
