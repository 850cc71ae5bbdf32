"""The ledger: books, accounts, transactions, entries and balances, and the functions that are their only writers."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from iso4217 import Currency

from migrations.tools import run_sql

revision = "0004"
down_revision: str | None = "0003"
branch_labels = None
depends_on = None

DEBIT, CREDIT = 1, -1
SYNC, SHARDED, DEFERRED = 0, 1, 2

# code, name, class (1 asset 2 liability 3 equity 4 revenue 5 expense 6 memo), normal side, contention, must clear, least available
CHART = [
    ("1100", "PSP receivable", 1, DEBIT, DEFERRED, True, None),
    ("1120", "Reserve held by PSP", 1, DEBIT, SYNC, True, 0),
    ("1130", "Dispute hold at PSP", 1, DEBIT, DEFERRED, True, None),
    ("1200", "Operating bank account", 1, DEBIT, DEFERRED, False, None),
    ("1201", "Safeguarded bank account", 1, DEBIT, DEFERRED, False, None),
    ("1210", "Settlement in transit", 1, DEBIT, DEFERRED, True, None),
    ("1300", "Receivable from seller", 1, DEBIT, SYNC, False, None),
    ("1900", "Reconciliation suspense", 1, DEBIT, DEFERRED, True, None),
    ("2100", "Seller wallet, pending", 2, CREDIT, SYNC, False, 0),
    ("2110", "Seller wallet, available", 2, CREDIT, SYNC, False, 0),
    ("2120", "Seller wallet, reserve", 2, CREDIT, SYNC, True, 0),
    ("2130", "Seller wallet, dispute hold", 2, CREDIT, SYNC, True, 0),
    ("2140", "Seller wallet, payout reserved", 2, CREDIT, SYNC, True, 0),
    ("2150", "Payout in transit", 2, CREDIT, DEFERRED, True, None),
    ("2160", "Refund in transit", 2, CREDIT, DEFERRED, True, None),
    ("2170", "Refund unclaimed", 2, CREDIT, SYNC, True, 0),
    ("2180", "Payout returned", 2, CREDIT, SYNC, False, 0),
    ("2200", "Gift cards", 2, CREDIT, SYNC, False, 0),
    ("2210", "Promotional gift cards", 2, CREDIT, SYNC, False, 0),
    ("2300", "Tax collected", 2, CREDIT, DEFERRED, False, None),
    ("2400", "Unidentified receipts", 2, CREDIT, DEFERRED, True, None),
    ("3900", "Currency position", 3, CREDIT, DEFERRED, False, None),
    ("4100", "Platform fees", 4, CREDIT, DEFERRED, False, None),
    ("4110", "Dispute fees", 4, CREDIT, DEFERRED, False, None),
    ("4120", "Payout fees", 4, CREDIT, DEFERRED, False, None),
    ("4200", "Currency mark-up", 4, CREDIT, DEFERRED, False, None),
    ("4210", "Currency gains", 4, CREDIT, DEFERRED, False, None),
    ("4300", "Gift card breakage", 4, CREDIT, DEFERRED, False, None),
    ("4900", "Reconciliation gains", 4, CREDIT, DEFERRED, False, None),
    ("5100", "PSP fees", 5, DEBIT, DEFERRED, False, None),
    ("5101", "Interchange", 5, DEBIT, DEFERRED, False, None),
    ("5102", "Scheme fees", 5, DEBIT, DEFERRED, False, None),
    ("5103", "PSP mark-up", 5, DEBIT, DEFERRED, False, None),
    ("5120", "Dispute costs", 5, DEBIT, DEFERRED, False, None),
    ("5130", "Chargeback losses", 5, DEBIT, DEFERRED, False, None),
    ("5140", "Bank fees", 5, DEBIT, DEFERRED, False, None),
    ("5150", "Bad debt", 5, DEBIT, DEFERRED, False, None),
    ("5200", "Currency losses", 5, DEBIT, DEFERRED, False, None),
    ("5300", "Promotions", 5, DEBIT, DEFERRED, False, None),
    ("5900", "Reconciliation write-offs", 5, DEBIT, DEFERRED, False, None),
    ("9100", "Authorised", 6, DEBIT, DEFERRED, True, None),
    ("9200", "Authorised, contra", 6, CREDIT, DEFERRED, False, None),
]

KINDS = [
    ("payment.authorised", "Authorised"),
    ("payment.authorisation_released", "Authorisation released"),
    ("payment.captured", "Captured"),
    ("payment.psp_fee", "PSP fee"),
    ("payment.platform_fee", "Platform fee"),
    ("payment.available", "Became available"),
    ("refund.requested", "Refund requested"),
    ("refund.confirmed", "Refund confirmed"),
    ("refund.failed", "Refund failed"),
    ("refund.returned", "Refund came back"),
    ("reserve.held", "Reserve held"),
    ("reserve.released", "Reserve released"),
    ("settlement.reported", "Settlement reported by PSP"),
    ("settlement.received", "Settlement received at bank"),
    ("ledger.reversed", "Reversal"),
    ("ledger.adjusted", "Manual adjustment"),
]


def upgrade() -> None:
    """Create the schema, its guards and functions, and fill in currencies, kinds and the chart of accounts."""
    run(
        "ledger_tables",
        "ledger_guards",
        "ledger_accounts",
        "ledger_post",
        "ledger_post_many",
        "ledger_holds",
        "ledger_upkeep",
        "ledger_books",
    )
    fill("currency", ["code", "name", "exponent", "numeric_iso"], currencies())
    fill("txn_kind", ["code", "name"], KINDS)
    columns = ["code", "name", "class", "normal_side", "contention", "must_clear", "min_available"]
    fill("chart", columns, CHART)


def downgrade() -> None:
    """Remove the ledger and everything in it."""
    op.execute("DROP TRIGGER open_book ON merchant")
    op.execute("DROP SCHEMA ledger CASCADE")


def run(*names: str) -> None:
    """Execute SQL files as they stand."""
    for name in names:
        run_sql(op, name)


def fill(table: str, columns: list[str], rows: Sequence[tuple[object, ...]]) -> None:
    """Insert fixed rows."""
    target = sa.table(table, *(sa.column(name) for name in columns), schema="ledger")
    op.bulk_insert(target, [dict(zip(columns, row, strict=True)) for row in rows])


def currencies() -> list[tuple[object, ...]]:
    """Every ISO 4217 currency that has minor units (gold, test codes and the like have none)."""
    return [(c.code, c.currency_name, c.exponent, c.number) for c in Currency if c.exponent is not None]
