"""Tables of payments."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tools import append_only, due, protect, run_sql

revision = "0010"
down_revision: str | None = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "payment",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("order_reference", sa.Text(collation="C"), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("capture_mode", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column(
            "authorised_minor",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "capture_reserved_minor",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "captured_minor",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "refund_reserved_minor",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "refunded_minor",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "psp_fee_minor",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "platform_fee_minor",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "rest_released",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
        ),
        sa.Column("provider_reference", sa.Text(collation="C"), nullable=True),
        sa.Column("method_kind", sa.Text(), nullable=True),
        sa.Column("method_brand", sa.Text(), nullable=True),
        sa.Column("last4", sa.Text(collation="C"), nullable=True),
        sa.Column("method_expiry", sa.Text(), nullable=True),
        sa.Column("method_fingerprint", sa.Text(), nullable=True),
        sa.Column("failure_code", sa.Text(), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=True),
        sa.Column("redirect_url", sa.Text(), nullable=True),
        sa.Column("return_url", sa.Text(), nullable=True),
        sa.Column("buyer_name", sa.Text(), nullable=False),
        sa.Column("buyer_name_lc", sa.Text(collation="C"), nullable=False),
        sa.Column("buyer_email", sa.Text(), nullable=False),
        sa.Column("buyer_email_lc", sa.Text(collation="C"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "capture_mode in ('automatic', 'manual')",
            name=op.f("ck_payment_capture_mode"),
        ),
        sa.CheckConstraint(
            "status in ('requires_method', 'processing', 'requires_action', 'in_review', 'unknown', 'authorised', 'partially_captured', 'captured', 'partially_refunded', 'refunded', 'voided', 'expired', 'failed', 'conflicted')",
            name=op.f("ck_payment_status"),
        ),
        sa.CheckConstraint(
            "0 <= captured_minor and captured_minor <= capture_reserved_minor",
            name=op.f("ck_payment_captured_within_reserved"),
        ),
        sa.CheckConstraint(
            "0 <= refunded_minor and refunded_minor <= refund_reserved_minor",
            name=op.f("ck_payment_refunded_within_reserved"),
        ),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_payment_amount_is_positive")),
        sa.CheckConstraint(
            "authorised_minor in (0, amount_minor)",
            name=op.f("ck_payment_authorised_is_whole"),
        ),
        sa.CheckConstraint(
            "capture_reserved_minor <= amount_minor",
            name=op.f("ck_payment_capture_within_amount"),
        ),
        sa.CheckConstraint(
            "refund_reserved_minor <= captured_minor",
            name=op.f("ck_payment_refund_within_captured"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "connection_id"],
            ["psp_connection.merchant_id", "psp_connection.id"],
            name=op.f("fk_payment_merchant_id_connection_id_psp_connection"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "order_id"],
            ["sales_order.merchant_id", "sales_order.id"],
            name=op.f("fk_payment_merchant_id_order_id_sales_order"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_payment")),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "ix_payment_amount",
        "payment",
        ["merchant_id", "amount_minor", "id"],
        unique=False,
    )
    op.create_index(
        "ix_payment_buyer",
        "payment",
        ["merchant_id", "buyer_name_lc", "id"],
        unique=False,
    )
    op.create_index(
        "ix_payment_connection",
        "payment",
        ["merchant_id", "connection_id", "id"],
        unique=False,
    )
    op.create_index("ix_payment_late_success", "payment", ["merchant_id", "id"], postgresql_where=sa.text("failure_code = 'late_success'"))
    op.create_index("ix_payment_currency", "payment", ["merchant_id", "currency", "id"])
    op.create_index("ix_payment_method", "payment", ["merchant_id", sa.text("coalesce(method_brand, method_kind)"), "id"])
    op.create_index(
        "ix_payment_email",
        "payment",
        ["merchant_id", "buyer_email_lc", "id"],
        unique=False,
    )
    op.create_index(
        "ix_payment_expiry",
        "payment",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text(
            "status in ('requires_method', 'requires_action', 'authorised', 'partially_captured', 'partially_refunded') and expires_at is not null"
        ),
    )
    op.create_index("ix_payment_last4", "payment", ["merchant_id", "last4", "id"], unique=False)
    op.create_index(
        "ix_payment_order_reference",
        "payment",
        ["merchant_id", "order_reference"],
        unique=False,
    )
    op.create_index(
        "ix_payment_provider_reference",
        "payment",
        ["merchant_id", "provider_reference"],
        unique=False,
    )
    op.create_index("ix_payment_status", "payment", ["merchant_id", "status", "id"], unique=False)
    op.create_index(
        "uq_payment_one_live_per_order",
        "payment",
        ["merchant_id", "order_id"],
        unique=True,
        postgresql_where=sa.text("status not in ('failed', 'voided', 'expired')"),
    )
    op.create_table(
        "payment_attempt",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("provider_reference", sa.Text(collation="C"), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("network_code", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column(
            "evidence",
            postgresql.JSONB(),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("latency_ms", sa.BigInteger(), nullable=True),
        sa.Column("asked_times", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_ask_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "operation in ('authorise', 'capture', 'void', 'refund')",
            name=op.f("ck_payment_attempt_operation"),
        ),
        sa.CheckConstraint(
            "outcome in ('succeeded', 'pending', 'declined', 'not_sent', 'unknown')",
            name=op.f("ck_payment_attempt_outcome"),
        ),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_payment_attempt_amount_is_positive")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "connection_id"],
            ["psp_connection.merchant_id", "psp_connection.id"],
            name=op.f("fk_payment_attempt_merchant_id_connection_id_psp_connection"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "payment_id"],
            ["payment.merchant_id", "payment.id"],
            name=op.f("fk_payment_attempt_merchant_id_payment_id_payment"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_payment_attempt")),
    )
    op.create_index(
        "ix_payment_attempt_due",
        "payment_attempt",
        ["next_ask_at"],
        unique=False,
        postgresql_where=sa.text("next_ask_at is not null"),
    )
    op.create_index(
        "ix_payment_attempt_payment",
        "payment_attempt",
        ["merchant_id", "payment_id", "id"],
        unique=False,
    )
    op.create_index(
        "ix_payment_attempt_provider_reference",
        "payment_attempt",
        ["merchant_id", "provider_reference"],
        unique=False,
    )
    op.create_table(
        "payment_event",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_status", sa.Text(), nullable=True),
        sa.Column("to_status", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_name", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=True),
        sa.Column("details", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id", "payment_id"],
            ["payment.merchant_id", "payment.id"],
            name=op.f("fk_payment_event_merchant_id_payment_id_payment"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_payment_event")),
    )
    op.create_index(
        "ix_payment_event_payment",
        "payment_event",
        ["merchant_id", "payment_id", "id"],
        unique=False,
    )
    op.create_table(
        "payment_part",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("seller_id", sa.Uuid(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("fee_minor", sa.BigInteger(), nullable=False),
        sa.Column(
            "captured_minor",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "fee_captured_minor",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "refunded_minor",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "fee_returned_minor",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "0 <= captured_minor and captured_minor <= amount_minor",
            name=op.f("ck_payment_part_captured_within_plan"),
        ),
        sa.CheckConstraint(
            "0 <= fee_captured_minor and fee_captured_minor <= fee_minor",
            name=op.f("ck_payment_part_fee_within_plan"),
        ),
        sa.CheckConstraint(
            "0 <= fee_returned_minor and fee_returned_minor <= fee_captured_minor",
            name=op.f("ck_payment_part_fee_returned_within_captured"),
        ),
        sa.CheckConstraint(
            "0 <= refunded_minor and refunded_minor <= captured_minor",
            name=op.f("ck_payment_part_refunded_within_captured"),
        ),
        sa.CheckConstraint(
            "amount_minor > 0 and fee_minor >= 0 and fee_minor <= amount_minor",
            name=op.f("ck_payment_part_plan"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "payment_id"],
            ["payment.merchant_id", "payment.id"],
            name=op.f("fk_payment_part_merchant_id_payment_id_payment"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "seller_id"],
            ["seller.merchant_id", "seller.id"],
            name=op.f("fk_payment_part_merchant_id_seller_id_seller"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "payment_id", "seller_id", name=op.f("pk_payment_part")),
    )
    op.create_index(
        "ix_payment_part_seller",
        "payment_part",
        ["merchant_id", "seller_id", "payment_id"],
        unique=False,
    )
    op.create_table(
        "payment_operation",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("split", postgresql.JSONB(), nullable=False),
        sa.Column("is_final", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind in ('authorise', 'capture', 'void', 'refund')",
            name=op.f("ck_payment_operation_kind"),
        ),
        sa.CheckConstraint(
            "status in ('sending', 'pending', 'unknown', 'succeeded', 'failed')",
            name=op.f("ck_payment_operation_status"),
        ),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_payment_operation_amount_is_positive")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "attempt_id"],
            ["payment_attempt.merchant_id", "payment_attempt.id"],
            name=op.f("fk_payment_operation_merchant_id_attempt_id_payment_attempt"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "payment_id"],
            ["payment.merchant_id", "payment.id"],
            name=op.f("fk_payment_operation_merchant_id_payment_id_payment"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_payment_operation")),
    )
    op.create_index(
        "uq_payment_operation_attempt",
        "payment_operation",
        ["merchant_id", "attempt_id"],
        unique=True,
    )
    op.create_index(
        "ix_payment_operation_unknown", "payment_operation", ["merchant_id", "id"], postgresql_where=sa.text("status = 'unknown'")
    )
    op.create_index(
        "uq_payment_operation_number",
        "payment_operation",
        ["merchant_id", "payment_id", "kind", "number"],
        unique=True,
    )
    protect(op, "payment", grants="SELECT, INSERT, UPDATE")
    protect(op, "payment_part", grants="SELECT, INSERT, UPDATE")
    protect(op, "payment_attempt", grants="SELECT, INSERT, UPDATE")
    protect(op, "payment_operation", grants="SELECT, INSERT, UPDATE")
    protect(op, "payment_event", grants="SELECT, INSERT")
    append_only(op, "payment_event")
    due(
        op,
        "attempts_due",
        table="payment_attempt",
        where="next_ask_at <= moment",
        order="next_ask_at",
    )
    due(
        op,
        "payments_expired",
        table="payment",
        where="status in ('requires_method', 'requires_action', 'authorised', 'partially_captured', 'partially_refunded') and expires_at <= moment",
        order="expires_at",
    )
    run_sql(op, "payments_begin")
    run_sql(op, "payments_take")


def downgrade() -> None:
    for function in ("payments_take", "payments_begin", "payments_refuse"):
        op.execute(f"DROP FUNCTION {function}")
    for row in ("payment_journal", "payment_taking", "payment_wish"):
        op.execute(f"DROP TYPE {row}")
    op.execute("DROP FUNCTION attempts_due(timestamptz, integer)")
    op.execute("DROP FUNCTION payments_expired(timestamptz, integer)")
    op.drop_table("payment_event")
    op.drop_table("payment_operation")
    op.drop_table("payment_attempt")
    op.drop_table("payment_part")
    op.drop_table("payment")
