"""Payouts: limits, approvals, holds, batches, attempts, history, and their words in the ledger."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from migrations.tools import append_only, due, protect, run_sql

revision = "0015"
down_revision: str | None = "0014"
branch_labels = None
depends_on = None

KINDS = (
    ("payout.requested", "Payout requested"),
    ("payout.released", "Payout released"),
    ("payout.sent", "Payout sent"),
    ("payout.paid", "Payout paid"),
    ("payout.failed", "Payout failed"),
    ("payout.returned", "Payout came back"),
    ("payout.freed", "Returned payout freed"),
)
WAITS_LONGEST = (
    "(select distinct on (p.merchant_id) p.merchant_id, p.id, p.send_at from payout p"
    " where p.status in ('scheduled', 'batched') and p.send_at <= moment order by p.merchant_id, p.send_at)"
)
BATCH_LEFT_OPEN = (
    "(select distinct on (b.merchant_id) b.merchant_id, b.id, b.created_at from payout_batch b where b.status = 'ready' and b.rail = 'api'"
    " and not exists (select from payout p where p.merchant_id = b.merchant_id and p.batch_id = b.id and p.status in ('batched', 'sending')))"
)
"""A batch whose last order was answered while nobody was there to close it: its worker had been killed."""
WAITING = "('requested', 'on_hold', 'pending_approval', 'approved', 'scheduled')"


def upgrade() -> None:
    op.create_table(
        "approval_threshold",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("from_minor", sa.BigInteger(), nullable=False),
        sa.Column("approvals", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("approvals between 0 and 5", name=op.f("ck_approval_threshold_approvals")),
        sa.CheckConstraint("from_minor >= 0", name=op.f("ck_approval_threshold_from_minor")),
        sa.PrimaryKeyConstraint("merchant_id", "currency", "from_minor", name=op.f("pk_approval_threshold")),
    )
    op.create_table(
        "payout_policy",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("min_minor", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("max_minor", sa.BigInteger(), nullable=True),
        sa.Column("fee_minor", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("day_count", sa.BigInteger(), nullable=True),
        sa.Column("day_minor", sa.BigInteger(), nullable=True),
        sa.Column("week_minor", sa.BigInteger(), nullable=True),
        sa.Column("first_payouts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("change_hours", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("capture_percent", sa.BigInteger(), nullable=True),
        sa.Column("max_hold_days", sa.BigInteger(), server_default=sa.text("90"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "currency", name=op.f("pk_payout_policy")),
    )
    op.create_table(
        "funding_account",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("rail", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=True),
        sa.Column("holder_name", sa.Text(), nullable=False),
        sa.Column("bic", sa.Text(), nullable=False),
        sa.Column("routing", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("company_id", sa.Text(), nullable=False),
        sa.Column("calendar", sa.Text(), nullable=False),
        sa.Column("cutoff", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("is_used", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(rail = 'api') = (connection_id is not null)", name=op.f("ck_funding_account_api_has_connection")),
        sa.CheckConstraint("rail in ('api', 'sepa', 'ach', 'csv')", name=op.f("ck_funding_account_rail")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "connection_id"],
            ["psp_connection.merchant_id", "psp_connection.id"],
            name=op.f("fk_funding_account_merchant_id_connection_id_psp_connection"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_funding_account")),
    )
    op.create_index(
        "uq_funding_account_used", "funding_account", ["merchant_id", "currency"], unique=True, postgresql_where=sa.text("is_used")
    )
    op.create_table(
        "payout_batch",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("funding_account_id", sa.Uuid(), nullable=False),
        sa.Column("rail", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("payouts", sa.BigInteger(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("value_on", sa.Date(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("downloaded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("downloaded_by_name", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("rail in ('api', 'sepa', 'ach', 'csv')", name=op.f("ck_payout_batch_rail")),
        sa.CheckConstraint("status in ('open', 'ready', 'sent')", name=op.f("ck_payout_batch_status")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "funding_account_id"],
            ["funding_account.merchant_id", "funding_account.id"],
            name=op.f("fk_payout_batch_merchant_id_funding_account_id_funding_account"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_payout_batch")),
    )
    op.create_table(
        "payout",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seller_id", sa.Uuid(), nullable=False),
        sa.Column("bank_account_id", sa.Uuid(), nullable=False),
        sa.Column("funding_account_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("fee_minor", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("end_to_end_id", sa.Text(), nullable=False),
        sa.Column("statement_text", sa.Text(), nullable=False),
        sa.Column("destination_fingerprint", sa.Text(), nullable=False),
        sa.Column("destination_by", sa.Uuid(), nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("requested_by_name", sa.Text(), nullable=False),
        sa.Column("approvals_required", sa.BigInteger(), nullable=False),
        sa.Column("schedule_id", sa.Uuid(), nullable=True),
        sa.Column("run_on", sa.Date(), nullable=True),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("value_on", sa.Date(), nullable=True),
        sa.Column("calendar_version", sa.Text(), nullable=True),
        sa.Column("send_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("provider_reference", sa.Text(), nullable=True),
        sa.Column("failure_code", sa.Text(), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("source in ('person', 'program', 'schedule', 'retry')", name=op.f("ck_payout_source")),
        sa.CheckConstraint(
            "status in ('draft', 'requested', 'on_hold', 'pending_approval', 'approved', 'scheduled', 'batched', 'sending', 'unknown', 'submitted', 'in_transit', 'paid', 'failed', 'returned', 'cancelled', 'rejected', 'expired')",
            name=op.f("ck_payout_status"),
        ),
        sa.CheckConstraint("amount_minor > 0 and fee_minor >= 0", name=op.f("ck_payout_amount_is_positive")),
        sa.CheckConstraint("length(end_to_end_id) between 1 and 35", name=op.f("ck_payout_end_to_end_id")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "bank_account_id"],
            ["bank_account.merchant_id", "bank_account.id"],
            name=op.f("fk_payout_merchant_id_bank_account_id_bank_account"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "batch_id"],
            ["payout_batch.merchant_id", "payout_batch.id"],
            name=op.f("fk_payout_merchant_id_batch_id_payout_batch"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "funding_account_id"],
            ["funding_account.merchant_id", "funding_account.id"],
            name=op.f("fk_payout_merchant_id_funding_account_id_funding_account"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "parent_id"], ["payout.merchant_id", "payout.id"], name=op.f("fk_payout_merchant_id_parent_id_payout")
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"], name=op.f("fk_payout_merchant_id_seller_id_seller")
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_payout")),
        sa.UniqueConstraint("merchant_id", "end_to_end_id", name=op.f("uq_payout_merchant_id_end_to_end_id")),
        sa.UniqueConstraint("merchant_id", "id", "end_to_end_id", name=op.f("uq_payout_merchant_id_id_end_to_end_id")),
        sa.UniqueConstraint("merchant_id", "id", "requested_by", "destination_by", name="uq_payout_two_persons"),
        sa.UniqueConstraint("merchant_id", "parent_id", name=op.f("uq_payout_merchant_id_parent_id")),
        sa.UniqueConstraint("merchant_id", "schedule_id", "run_on", name=op.f("uq_payout_merchant_id_schedule_id_run_on")),
    )
    op.create_index("ix_payout_batch", "payout", ["merchant_id", "batch_id", "id"], unique=False)
    op.create_index("ix_payout_destination", "payout", ["merchant_id", "bank_account_id", "id"], unique=False)
    op.create_index("ix_payout_fingerprint", "payout", ["merchant_id", "destination_fingerprint", "id"], unique=False)
    op.create_index("ix_payout_due", "payout", ["send_at"], unique=False, postgresql_where=sa.text("status in ('scheduled', 'batched')"))
    op.create_index(
        "ix_payout_expiring",
        "payout",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("status in ('requested', 'on_hold', 'pending_approval', 'approved', 'scheduled')"),
    )
    op.create_index("ix_payout_seller", "payout", ["merchant_id", "seller_id", "id"], unique=False)
    op.create_index("ix_payout_status", "payout", ["merchant_id", "status", "id"], unique=False)
    op.create_table(
        "payout_approval",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("payout_id", sa.Uuid(), nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("destination_by", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("approver_id", sa.Uuid(), nullable=False),
        sa.Column("approver_name", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("decision in ('approved', 'rejected')", name=op.f("ck_payout_approval_decision")),
        sa.CheckConstraint("approver_id <> requested_by and approver_id <> destination_by", name=op.f("ck_payout_approval_second_person")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "payout_id", "requested_by", "destination_by"],
            ["payout.merchant_id", "payout.id", "payout.requested_by", "payout.destination_by"],
            name="fk_payout_approval_two_persons",
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_payout_approval")),
        sa.UniqueConstraint("merchant_id", "payout_id", "version", "approver_id", name="uq_payout_approval_once"),
    )
    op.create_table(
        "payout_attempt",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("payout_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("end_to_end_id", sa.Text(), nullable=False),
        sa.Column("word", sa.Text(), nullable=True),
        sa.Column("provider_reference", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("evidence", JSONB(), nullable=False),
        sa.Column("latency_ms", sa.BigInteger(), nullable=True),
        sa.Column("asked_times", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_ask_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "word is null or word in ('accepted', 'in_transit', 'paid', 'refused', 'returned', 'not_found', 'unknown')",
            name=op.f("ck_payout_attempt_word"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "payout_id", "end_to_end_id"],
            ["payout.merchant_id", "payout.id", "payout.end_to_end_id"],
            name="fk_payout_attempt_one_name",
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_payout_attempt")),
        sa.UniqueConstraint("merchant_id", "payout_id", "number", name=op.f("uq_payout_attempt_merchant_id_payout_id_number")),
    )
    op.create_index(
        "ix_payout_attempt_due", "payout_attempt", ["next_ask_at"], unique=False, postgresql_where=sa.text("next_ask_at is not null")
    )
    op.create_table(
        "payout_history",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("payout_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_status", sa.Text(), nullable=True),
        sa.Column("to_status", sa.Text(), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_name", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("details", JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id", "payout_id"], ["payout.merchant_id", "payout.id"], name=op.f("fk_payout_history_merchant_id_payout_id_payout")
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_payout_history")),
    )
    op.create_index("ix_payout_history_payout", "payout_history", ["merchant_id", "payout_id", "id"], unique=False)
    op.create_table(
        "payout_hold",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("seller_id", sa.Uuid(), nullable=False),
        sa.Column("payout_id", sa.Uuid(), nullable=True),
        sa.Column("bank_account_id", sa.Uuid(), nullable=True),
        sa.Column("payment_id", sa.Uuid(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("placed_by_name", sa.Text(), nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_by_name", sa.Text(), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(scope = 'destination') = (bank_account_id is not null)", name=op.f("ck_payout_hold_of_destination")),
        sa.CheckConstraint("(scope = 'payout') = (payout_id is not null)", name=op.f("ck_payout_hold_of_payout")),
        sa.CheckConstraint(
            "kind in ('manual', 'velocity', 'first_payout', 'recent_change', 'seller_blocked', 'compliance')",
            name=op.f("ck_payout_hold_kind"),
        ),
        sa.CheckConstraint("scope in ('seller', 'payout', 'destination', 'payment')", name=op.f("ck_payout_hold_scope")),
        sa.CheckConstraint("(scope = 'payment') = (payment_id is not null)", name=op.f("ck_payout_hold_of_payment")),
        sa.CheckConstraint(
            "(amount_minor is null) = (currency is null) and coalesce(amount_minor, 1) > 0", name=op.f("ck_payout_hold_amount")
        ),
        sa.CheckConstraint(
            "case scope when 'payment' then amount_minor is not null when 'seller' then true else amount_minor is null end",
            name=op.f("ck_payout_hold_part"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "payout_id"], ["payout.merchant_id", "payout.id"], name=op.f("fk_payout_hold_merchant_id_payout_id_payout")
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"], name=op.f("fk_payout_hold_merchant_id_seller_id_seller")
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_payout_hold")),
    )
    op.create_index("ix_payout_hold_expiring", "payout_hold", ["expires_at"], unique=False, postgresql_where=sa.text("released_at is null"))
    op.create_index("ix_payout_hold_payout", "payout_hold", ["merchant_id", "payout_id"], unique=False)
    op.create_index(
        "ix_payout_hold_seller", "payout_hold", ["merchant_id", "seller_id"], unique=False, postgresql_where=sa.text("released_at is null")
    )
    op.create_index(
        "ix_funds_release_released",
        "funds_release",
        ["merchant_id", "seller_id", "released_at"],
        postgresql_where=sa.text("status = 'released'"),
    )
    for code, name in KINDS:
        op.execute(f"INSERT INTO ledger.txn_kind (code, name) VALUES ('{code}', '{name}')")
    protect(op, "funding_account", grants="SELECT, INSERT, UPDATE")
    protect(op, "payout_policy")
    protect(op, "approval_threshold")
    for table in ("payout", "payout_hold", "payout_batch", "payout_attempt"):
        protect(op, table, grants="SELECT, INSERT, UPDATE")
    for table in ("payout_approval", "payout_history"):
        protect(op, table, grants="SELECT, INSERT")
        append_only(op, table)
    due(op, "payouts_due", table=f"({WAITS_LONGEST} union all {BATCH_LEFT_OPEN})", where="true", order="t.send_at")
    due(op, "payouts_expiring", table="payout", where=f"status in {WAITING} and expires_at <= moment", order="expires_at")
    due(op, "payout_attempts_due", table="payout_attempt", where="next_ask_at <= moment", order="next_ask_at")
    due(op, "payout_holds_expiring", table="payout_hold", where="released_at is null and expires_at <= moment", order="expires_at")
    run_sql(op, "payout_wallets")


def downgrade() -> None:
    op.execute("DROP FUNCTION ledger.lock_available_many")
    op.drop_index("ix_funds_release_released", "funds_release")
    for name in ("payouts_due", "payouts_expiring", "payout_attempts_due", "payout_holds_expiring"):
        op.execute(f"DROP FUNCTION {name}(timestamptz, integer)")
    for table in (
        "payout_history",
        "payout_attempt",
        "payout_hold",
        "payout_approval",
        "payout",
        "payout_batch",
        "approval_threshold",
        "payout_policy",
        "funding_account",
    ):
        op.drop_table(table)
    op.execute(f"DELETE FROM ledger.txn_kind WHERE code IN ({', '.join(repr(code) for code, _ in KINDS)})")
