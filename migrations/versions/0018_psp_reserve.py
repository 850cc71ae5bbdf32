"""What a provider keeps back has no limit of its own: its release may be reported in a file that comes before the one with the hold."""

from alembic import op

revision = "0018"
down_revision: str | None = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _set("NULL")


def downgrade() -> None:
    _set("0")


def _set(least: str) -> None:
    op.execute(f"UPDATE ledger.chart SET min_available = {least} WHERE code = '1120'")
    op.execute(
        f"UPDATE ledger.balance b SET min_available = {least} FROM ledger.account a"
        " WHERE a.merchant_id = b.merchant_id AND a.id = b.account_id AND a.code = '1120'"
    )
