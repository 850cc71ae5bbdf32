"""Tables of reconciliation: sources, files, lines, items, matches, breaks, resolutions, runs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tools import APP, append_only, due, protect, run_sql

revision = "0016"
down_revision: str | None = "0015"
branch_labels = None
depends_on = None

TABLES = (
    "recon_match",
    "recon_run",
    "recon_wanted",
    "recon_source",
    "recon_file",
    "recon_item",
    "recon_break",
    "recon_line",
    "recon_match_item",
    "recon_resolution",
    "recon_difference",
    "recon_check",
    "recon_item_payout",
    "recon_pair",
    "recon_file_part",
)
REPLACED = ("recon_wanted", "recon_difference", "recon_pair")
WRITTEN_ONCE = ("recon_line", "recon_file_part", "recon_resolution", "recon_run", "recon_check", "recon_item_payout")
KINDS = {
    "settlement.assigned": "Settlement line assigned",
    "settlement.fee_corrected": "PSP fee corrected",
    "settlement.rate_booked": "Conversion gain or loss",
    "reconciliation.resolved": "Break resolved",
}
FUNCTIONS = (
    "recon_book_plain(uuid, uuid, date, bigint, bigint, text, uuid, text)",
    "recon_collect_due(uuid, bigint, bigint, integer)",
    "recon_turned_days(uuid)",
    "recon_rates(uuid, bigint)",
    "recon_bank_breaks(uuid, date, integer, bigint)",
    "recon_rematch_payouts(uuid, timestamptz, integer)",
    "recon_payout_pairs(uuid)",
    "recon_expect_payouts(uuid, timestamptz)",
    "recon_told_payouts(uuid)",
    "recon_name_payouts(uuid)",
    "recon_wanted_breaks(uuid, date, bigint, bigint, bigint, integer, integer)",
    "recon_match_lines(uuid, timestamptz, integer)",
    "recon_keep_pairs(uuid, timestamptz, integer)",
    "recon_pass_differing(uuid)",
    "recon_leave_rest(bigint)",
    "recon_pass_reference(text)",
    "recon_pass_named(text, name, name)",
    "recon_open_lines(uuid)",
    "recon_line_keys(uuid)",
    "recon_unpaired(uuid)",
    "recon_rematch(uuid, text, timestamptz, integer, jsonb)",
    "recon_batch_pairs(uuid)",
    "recon_batches(uuid, timestamptz)",
    "recon_expect(uuid, timestamptz)",
    "recon_day_shift(timestamptz, text)",
    "numbered_id(uuid, bigint)",
    "recon_check_sources() CASCADE",
    "public_uuid(text)",
)


def upgrade() -> None:
    op.create_table(
        "recon_match",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("leg", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("rule_version", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("is_manual", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("leg in ('line', 'batch', 'payout')", name=op.f("ck_recon_match_leg")),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_recon_match")),
    )
    op.create_index(
        "uq_recon_match_live", "recon_match", ["merchant_id", "key"], unique=True, postgresql_where=sa.text("undone_at is null")
    )
    op.create_table(
        "recon_run",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("rules", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("sums", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("open_breaks", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_recon_run")),
    )
    op.create_table(
        "recon_wanted",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "key", "item_id", name=op.f("pk_recon_wanted")),
    )
    op.create_table(
        "recon_source",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=True),
        sa.Column("funding_account_id", sa.Uuid(), nullable=True),
        sa.Column("mapping", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("time_zone", sa.Text(), server_default=sa.text("'UTC'"), nullable=False),
        sa.Column("file_days", sa.BigInteger(), nullable=True),
        sa.Column("ledger_through", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(side = 'psp') = (connection_id is not null)", name=op.f("ck_recon_source_account")),
        sa.CheckConstraint("file_days between 1 and 60", name=op.f("ck_recon_source_file_days")),
        sa.CheckConstraint("side = 'bank' or funding_account_id is null", name=op.f("ck_recon_source_bank")),
        sa.CheckConstraint(
            "format in ('simulated', 'stripe', 'adyen', 'paypal', 'braintree', 'square', 'camt053', 'mt940', 'bai2', 'csv')",
            name=op.f("ck_recon_source_format"),
        ),
        sa.CheckConstraint("side in ('psp', 'bank')", name=op.f("ck_recon_source_side")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "connection_id"],
            ["psp_connection.merchant_id", "psp_connection.id"],
            name=op.f("fk_recon_source_merchant_id_connection_id_psp_connection"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "funding_account_id"],
            ["funding_account.merchant_id", "funding_account.id"],
            name=op.f("fk_recon_source_merchant_id_funding_account_id_funding_account"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_recon_source")),
        sa.UniqueConstraint("merchant_id", "name", name=op.f("uq_recon_source_merchant_id_name")),
    )
    op.create_index(
        "uq_recon_source_connection",
        "recon_source",
        ["merchant_id", "connection_id"],
        unique=True,
        postgresql_where=sa.text("connection_id is not null"),
    )
    op.create_index(
        "uq_recon_source_funding_account",
        "recon_source",
        ["merchant_id", "funding_account_id"],
        unique=True,
        postgresql_where=sa.text("funding_account_id is not null"),
    )
    op.create_table(
        "recon_file",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("reason_line", sa.BigInteger(), nullable=True),
        sa.Column("lines", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("new_lines", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("problems", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("totals", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("imported_by", sa.Text(), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status in ('imported', 'refused')", name=op.f("ck_recon_file_status")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "source_id"],
            ["recon_source.merchant_id", "recon_source.id"],
            name=op.f("fk_recon_file_merchant_id_source_id_recon_source"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_recon_file")),
    )
    op.create_index("ix_recon_file_newest", "recon_file", ["merchant_id", "source_id", "id"], unique=False)
    op.create_index(
        "uq_recon_file_content",
        "recon_file",
        ["merchant_id", "source_id", "sha256"],
        unique=True,
        postgresql_where=sa.text("status = 'imported'"),
    )
    op.create_table(
        "recon_item",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=True),
        sa.Column("ordinal", sa.BigInteger(), nullable=True),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("raw_type", sa.Text(), nullable=False),
        sa.Column("ext_id", sa.Text(collation="C"), nullable=False),
        sa.Column("object_ref", sa.Text(collation="C"), nullable=True),
        sa.Column("parent_ref", sa.Text(collation="C"), nullable=True),
        sa.Column("our_id", sa.Uuid(), nullable=True),
        sa.Column("payment_id", sa.Uuid(), nullable=True),
        sa.Column("merchant_ref", sa.Text(collation="C"), nullable=True),
        sa.Column("batch_ref", sa.Text(collation="C"), nullable=True),
        sa.Column("refs", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("gross_minor", sa.BigInteger(), nullable=False),
        sa.Column("net_currency", sa.Text(), nullable=False),
        sa.Column("fee_minor", sa.BigInteger(), nullable=False),
        sa.Column("net_minor", sa.BigInteger(), nullable=False),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("clear_key", sa.Text(), nullable=False),
        sa.Column("posted_key", sa.Text(), nullable=True),
        sa.Column("posted_fee_minor", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("posted_rate_minor", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("posted_times", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind in ('charge', 'refund', 'refund_reversal', 'dispute', 'dispute_reversal', 'fee', 'payout', 'payout_reversal', 'reserve_hold', 'reserve_release', 'conversion', 'topup', 'transfer', 'adjustment', 'bank_entry', 'unknown', 'batch')",
            name=op.f("ck_recon_item_kind"),
        ),
        sa.CheckConstraint("side in ('ledger', 'psp', 'bank')", name=op.f("ck_recon_item_side")),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_recon_item")),
        sa.UniqueConstraint(
            "merchant_id", "source_id", "side", "ext_id", "kind", name=op.f("uq_recon_item_merchant_id_source_id_side_ext_id_kind")
        ),
    )
    op.create_index(
        "ix_recon_item_payout",
        "recon_item",
        ["merchant_id", "source_id", "batch_ref"],
        unique=False,
        postgresql_where=sa.text("kind = 'payout'"),
    )
    op.create_table(
        "recon_break",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(collation="C"), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=True),
        sa.Column("other_id", sa.Uuid(), nullable=True),
        sa.Column("file_id", sa.Uuid(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("minor", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("owner_name", sa.Text(), nullable=True),
        sa.Column("requested_by", sa.Uuid(), nullable=True),
        sa.Column("requested_parts", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("opened_on", sa.Date(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind in ('missing_in_psp', 'missing_in_ledger', 'missing_in_bank', 'bank_unidentified', 'amount', 'fee', 'currency', 'rounding', 'duplicate_psp', 'duplicate_ledger', 'status', 'orphan_refund', 'orphan_dispute', 'unknown_type', 'unreadable', 'restated', 'batch_total', 'file_gap', 'payout_returned', 'duplicate_bank', 'cutoff', 'fx', 'file_missing')",
            name=op.f("ck_recon_break_kind"),
        ),
        sa.CheckConstraint("status in ('open', 'parked', 'awaiting_approval', 'resolved', 'cleared')", name=op.f("ck_recon_break_status")),
        sa.CheckConstraint("approved_by <> requested_by", name=op.f("ck_recon_break_two_people")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "file_id"],
            ["recon_file.merchant_id", "recon_file.id"],
            name=op.f("fk_recon_break_merchant_id_file_id_recon_file"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "item_id"],
            ["recon_item.merchant_id", "recon_item.id"],
            name=op.f("fk_recon_break_merchant_id_item_id_recon_item"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "other_id"],
            ["recon_item.merchant_id", "recon_item.id"],
            name=op.f("fk_recon_break_merchant_id_other_id_recon_item"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "source_id"],
            ["recon_source.merchant_id", "recon_source.id"],
            name=op.f("fk_recon_break_merchant_id_source_id_recon_source"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_recon_break")),
        sa.UniqueConstraint("merchant_id", "kind", "subject", name=op.f("uq_recon_break_merchant_id_kind_subject")),
    )
    op.create_index("ix_recon_break_item", "recon_break", ["merchant_id", "item_id"], unique=False)
    op.create_index("ix_recon_break_newest", "recon_break", ["merchant_id", "status", "id"], unique=False)
    op.create_table(
        "recon_line",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id", "file_id"],
            ["recon_file.merchant_id", "recon_file.id"],
            name=op.f("fk_recon_line_merchant_id_file_id_recon_file"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "file_id", "ordinal", name=op.f("pk_recon_line")),
    )
    op.create_table(
        "recon_match_item",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("match_id", sa.Uuid(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("is_live", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id", "item_id"],
            ["recon_item.merchant_id", "recon_item.id"],
            name=op.f("fk_recon_match_item_merchant_id_item_id_recon_item"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "match_id"],
            ["recon_match.merchant_id", "recon_match.id"],
            name=op.f("fk_recon_match_item_merchant_id_match_id_recon_match"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "match_id", "item_id", name=op.f("pk_recon_match_item")),
    )
    op.create_index(
        "uq_recon_match_item_live", "recon_match_item", ["merchant_id", "item_id"], unique=True, postgresql_where=sa.text("is_live")
    )
    op.create_table(
        "recon_resolution",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("break_id", sa.Uuid(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("minor", sa.BigInteger(), nullable=True),
        sa.Column("transaction_id", sa.BigInteger(), nullable=True),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("actor_name", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "action in ('claim', 'assign', 'link', 'unlink', 'adjust', 'split', 'write_off', 'request', 'approve', 'reject', 'park', 'unpark', 'reopen',"
            " 'settle')",
            name=op.f("ck_recon_resolution_action"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "break_id"],
            ["recon_break.merchant_id", "recon_break.id"],
            name=op.f("fk_recon_resolution_merchant_id_break_id_recon_break"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_recon_resolution")),
    )
    op.create_index("ix_recon_resolution_break", "recon_resolution", ["merchant_id", "break_id", "id"], unique=False)
    op.create_table(
        "recon_difference",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("other_id", sa.Uuid(), nullable=False),
        sa.Column("leg", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("minor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id", "item_id"],
            ["recon_item.merchant_id", "recon_item.id"],
            name=op.f("fk_recon_difference_merchant_id_item_id_recon_item"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "other_id"],
            ["recon_item.merchant_id", "recon_item.id"],
            name=op.f("fk_recon_difference_merchant_id_other_id_recon_item"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "item_id", name=op.f("pk_recon_difference")),
    )
    op.create_table(
        "recon_check",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checked_by", sa.Text(), nullable=False),
        sa.Column("proof", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_recon_check")),
    )
    _banks()
    op.create_table(
        "recon_file_part",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id", "file_id"],
            ["recon_file.merchant_id", "recon_file.id"],
            name=op.f("fk_recon_file_part_merchant_id_file_id_recon_file"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "file_id", "number", name=op.f("pk_recon_file_part")),
    )
    op.create_table(
        "recon_pair",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("psp_id", sa.Uuid(), nullable=False),
        sa.Column("ledger_id", sa.Uuid(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("rule_version", sa.BigInteger(), nullable=False),
        sa.Column("fee_off", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "psp_id", name=op.f("pk_recon_pair")),
        sa.UniqueConstraint("merchant_id", "ledger_id", name=op.f("uq_recon_pair_merchant_id_ledger_id")),
    )
    op.create_index("ix_recon_pair_fee_off", "recon_pair", ["merchant_id"], unique=False, postgresql_where=sa.text("fee_off <> 0"))
    for table in TABLES:
        protect(
            op,
            table,
            grants="SELECT, INSERT"
            if table in WRITTEN_ONCE
            else "SELECT, INSERT, UPDATE, DELETE"
            if table in REPLACED
            else "SELECT, INSERT, UPDATE",
        )
    for table in WRITTEN_ONCE:
        append_only(op, table)
    op.create_table(
        "seal",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("after_txn", sa.BigInteger(), nullable=False),
        sa.Column("through_txn", sa.BigInteger(), nullable=False),
        sa.Column("transactions", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "number", name=op.f("pk_seal")),
        schema="ledger",
    )
    protect(op, "ledger.seal", grants="SELECT, INSERT")
    append_only(op, "ledger.seal")
    run_sql(op, "ledger_seals")
    kinds = sa.table("txn_kind", sa.column("code"), sa.column("name"), schema="ledger")
    op.bulk_insert(kinds, [{"code": code, "name": name} for code, name in KINDS.items()])
    run_sql(op, "recon_match")
    run_sql(op, "recon_bank")
    run_sql(op, "recon_lines")
    run_sql(op, "recon_books")
    # files are copied into a table of the transaction, where row security, which COPY does not obey, need not stand
    op.execute(f"DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO {APP}', current_database()); END $$")
    due(op, "recon_sources_due", table="recon_source", where="t.created_at <= moment", order="t.merchant_id, t.id")


def _banks() -> None:
    """What only the bank's side and conversions need."""
    op.create_index("ix_recon_item_bank", "recon_item", ["merchant_id", "id"], unique=False, postgresql_where=sa.text("side = 'bank'"))
    op.create_index(
        "ix_recon_item_converted",
        "recon_item",
        ["merchant_id", "id"],
        unique=False,
        postgresql_where=sa.text("side = 'psp' and currency <> net_currency"),
    )
    op.create_table(
        "recon_item_payout",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("payout_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id", "item_id"],
            ["recon_item.merchant_id", "recon_item.id"],
            name=op.f("fk_recon_item_payout_merchant_id_item_id_recon_item"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "payout_id"],
            ["payout.merchant_id", "payout.id"],
            name=op.f("fk_recon_item_payout_merchant_id_payout_id_payout"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "item_id", "payout_id", name=op.f("pk_recon_item_payout")),
    )
    op.create_index("ix_recon_item_payout_payout", "recon_item_payout", ["merchant_id", "payout_id"], unique=False)


def downgrade() -> None:
    op.execute("DROP FUNCTION ledger.books_to_seal(timestamptz)")
    op.execute("DROP FUNCTION ledger.content_hash(uuid, bigint, bigint)")
    op.drop_table("seal", schema="ledger")
    op.execute("DROP FUNCTION recon_sources_due(timestamptz, integer)")
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    for table in reversed(TABLES):
        op.drop_table(table)
    op.execute(f"DELETE FROM ledger.txn_kind WHERE code IN ({', '.join(repr(code) for code in KINDS)})")
