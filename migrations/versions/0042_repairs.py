"""What a person decides about money that the books and a provider do not agree on: the transactions that say so."""

from alembic import op

from migrations.tools import run_sql

revision = "0042"
down_revision: str | None = "0041"
branch_labels = None
depends_on = None

KINDS = (
    ("conflict.taken", "Taken and not asked for"),
    ("conflict.given_back", "Given back in full"),
    ("conflict.returned", "Giving back came back"),
    ("debt.written_off", "Debt written off"),
    ("debt.restored", "Write-off undone"),
)


# the tables of what others have to agree to
TABLES = ("approval_policy", "approval_rule", "approval")


def _acts(acts: str) -> None:
    for table in TABLES:
        op.drop_constraint(f"ck_{table}_act", table)
        op.create_check_constraint(op.f(f"ck_{table}_act"), table, f"act in ({acts})")


def upgrade() -> None:
    _acts("'refund', 'write_off'")
    for code, name in KINDS:
        op.execute(f"INSERT INTO ledger.txn_kind (code, name) VALUES ('{code}', '{name}')")
    run_sql(op, "recon_expect_conflicts")


def downgrade() -> None:
    _acts("'refund'")
    run_sql(op, "recon_quick_expect")
    for code, _ in KINDS:
        op.execute(f"DELETE FROM ledger.txn_kind WHERE code = '{code}'")
