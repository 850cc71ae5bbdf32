"""Which connection takes a payment: versions of rules, four eyes on what becomes live, and the decision kept for each payment."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from migrations.tools import append_only, protect, run_sql

revision = "0036"
down_revision: str | None = "0035"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
BEGIN = "payments_begin(uuid, json)"
# The merchant's oldest active connection, or the one that was asked for.
WITHOUT_RULES = """      CROSS JOIN LATERAL (SELECT p.* FROM psp_connection p WHERE p.merchant_id = p_merchant AND (w.connection IS NULL OR p.id = w.connection)
        ORDER BY p.status = 'active' DESC, p.created_at, p.id LIMIT 1) c),
"""
# Who has rules has their choice first. Whether there are any is asked once for all that travel together.
BY_RULES = """      CROSS JOIN LATERAL (SELECT CASE WHEN w.connection IS NULL AND EXISTS (SELECT FROM routing_version v WHERE v.merchant_id = p_merchant AND v.status = 'live')
        THEN routing_choose(p_merchant, w.payment, o.id, o.currency, o.total_minor, w.mode, w.at) ELSE w.connection END AS wanted OFFSET 0) r
      CROSS JOIN LATERAL (SELECT p.* FROM psp_connection p WHERE p.merchant_id = p_merchant AND (r.wanted IS NULL OR p.id = r.wanted)
        ORDER BY p.status = 'active' DESC, p.created_at, p.id LIMIT 1) c),
"""
FUNCTIONS = (
    "routing_replay(uuid, uuid, uuid, bigint)",
    "routing_outcomes(uuid, uuid, uuid)",
    "routing_trace(uuid, uuid, text, bigint, text, uuid[])",
    "routing_choose(uuid, uuid, uuid, text, bigint, text, timestamptz)",
    "routing_candidates(uuid, uuid, uuid, bigint)",
    "routing_draw(uuid)",
    "routing_first(uuid, uuid, text, bigint, text, uuid[])",
    "routing_unmet(routing_rule, text, bigint, text, uuid[])",
)


def upgrade() -> None:
    _versions()
    _rules()
    _decisions()
    for table in ("routing_version", "routing_rule", "routing_target"):
        protect(op, table)
    protect(op, "routing_decision", grants="SELECT, INSERT")
    append_only(op, "routing_decision")
    run_sql(op, "routing")
    _say_otherwise(WITHOUT_RULES, BY_RULES)


def downgrade() -> None:
    _say_otherwise(BY_RULES, WITHOUT_RULES)
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    for table in ("routing_decision", "routing_target", "routing_rule", "routing_version"):
        op.drop_table(table)
    op.execute("DROP FUNCTION routing_only_drafts_change()")


def _versions() -> None:
    op.create_table(
        "routing_version",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("based_on", sa.BigInteger(), nullable=True),
        sa.Column("editors", ARRAY(sa.Uuid()), nullable=False),
        sa.Column("edited_by_name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("requested_by", sa.Uuid(), nullable=True),
        sa.Column("requested_by_name", sa.Text(), nullable=True),
        sa.Column("requested_at", TIME, nullable=True),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("approved_by_name", sa.Text(), nullable=True),
        sa.Column("approved_digest", sa.Text(), nullable=True),
        sa.Column("refused_by_name", sa.Text(), nullable=True),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("activated_at", TIME, nullable=True),
        sa.Column("retired_at", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.CheckConstraint("status in ('draft', 'pending', 'live', 'retired', 'discarded')", name=op.f("ck_routing_version_status")),
        sa.CheckConstraint(
            "status not in ('pending', 'live', 'retired') or (requested_by is not null and digest is not null)",
            name=op.f("ck_routing_version_requested"),
        ),
        sa.CheckConstraint(
            "status not in ('live', 'retired') or (approved_by is not null and approved_digest is not null and approved_digest = digest)",
            name=op.f("ck_routing_version_approved"),
        ),
        sa.CheckConstraint(
            "approved_by <> requested_by and approved_by <> all (editors)",
            name=op.f("ck_routing_version_two_people"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_routing_version")),
        sa.UniqueConstraint("merchant_id", "number", name=op.f("uq_routing_version_merchant_id_number")),
    )
    live, ours = sa.text("status = 'live'"), sa.text("status in ('draft', 'pending')")
    op.create_index("uq_routing_version_live", "routing_version", ["merchant_id"], unique=True, postgresql_where=live)
    op.create_index("uq_routing_version_open", "routing_version", ["merchant_id"], unique=True, postgresql_where=ours)


def _rules() -> None:
    op.create_table(
        "routing_rule",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("rule_key", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currencies", ARRAY(sa.Text()), nullable=True),
        sa.Column("amount_currency", sa.Text(), nullable=True),
        sa.Column("at_least_minor", sa.BigInteger(), nullable=True),
        sa.Column("below_minor", sa.BigInteger(), nullable=True),
        sa.Column("capture_mode", sa.Text(), nullable=True),
        sa.Column("seller_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "(amount_currency is null) = (at_least_minor is null and below_minor is null)", name=op.f("ck_routing_rule_amount_currency")
        ),
        sa.CheckConstraint("at_least_minor >= 0", name=op.f("ck_routing_rule_at_least")),
        sa.CheckConstraint("below_minor > coalesce(at_least_minor, 0)", name=op.f("ck_routing_rule_below")),
        sa.CheckConstraint("capture_mode in ('automatic', 'manual')", name=op.f("ck_routing_rule_capture_mode")),
        sa.CheckConstraint("cardinality(currencies) > 0", name=op.f("ck_routing_rule_currencies")),
        sa.PrimaryKeyConstraint("merchant_id", "version_id", "rule_key", name=op.f("pk_routing_rule")),
        sa.UniqueConstraint("merchant_id", "version_id", "position", name=op.f("uq_routing_rule_merchant_id_version_id_position")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "version_id"],
            ["routing_version.merchant_id", "routing_version.id"],
            name=op.f("fk_routing_rule_merchant_id_version_id_routing_version"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"], name=op.f("fk_routing_rule_merchant_id_seller_id_seller")
        ),
    )
    op.create_table(
        "routing_target",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("rule_key", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("share", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("place >= 0", name=op.f("ck_routing_target_place")),
        sa.CheckConstraint("share between 1 and 100", name=op.f("ck_routing_target_share")),
        sa.PrimaryKeyConstraint("merchant_id", "version_id", "rule_key", "connection_id", name=op.f("pk_routing_target")),
        sa.UniqueConstraint(
            "merchant_id", "version_id", "rule_key", "place", name=op.f("uq_routing_target_merchant_id_version_id_rule_key_place")
        ),
        _of_rule("routing_target"),
        _of_connection("routing_target"),
    )


def _decisions() -> None:
    op.create_table(
        "routing_decision",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("rule_key", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("draw", sa.BigInteger(), nullable=False),
        sa.Column("candidates", JSONB(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "payment_id", name=op.f("pk_routing_decision")),
        # the payment is written after the choice, in the same statement
        sa.ForeignKeyConstraint(
            ["merchant_id", "payment_id"],
            ["payment.merchant_id", "payment.id"],
            name=op.f("fk_routing_decision_merchant_id_payment_id_payment"),
            deferrable=True,
            initially="DEFERRED",
        ),
        _of_rule("routing_decision"),
        _of_connection("routing_decision"),
    )
    op.create_index("ix_routing_decision_rule", "routing_decision", ["merchant_id", "rule_key", "payment_id"])


def _of_rule(table: str) -> sa.ForeignKeyConstraint:
    rule = ["routing_rule.merchant_id", "routing_rule.version_id", "routing_rule.rule_key"]
    return sa.ForeignKeyConstraint(
        ["merchant_id", "version_id", "rule_key"], rule, name=op.f(f"fk_{table}_merchant_id_version_id_rule_key_routing_rule")
    )


def _of_connection(table: str) -> sa.ForeignKeyConstraint:
    connection = ["psp_connection.merchant_id", "psp_connection.id"]
    return sa.ForeignKeyConstraint(
        ["merchant_id", "connection_id"], connection, name=op.f(f"fk_{table}_merchant_id_connection_id_psp_connection")
    )


def _say_otherwise(before: str, after: str) -> None:
    """Say one thing in the function differently; stop when it does not say what is to be replaced."""
    op.execute(f"""
        DO $do$ DECLARE was text := pg_get_functiondef('{BEGIN}'::regprocedure); said text;
        BEGIN
          said := replace(was, $x${before}$x$, $x${after}$x$);
          IF said = was THEN RAISE EXCEPTION '{BEGIN} is not what this migration knows'; END IF;
          EXECUTE said;
        END $do$""")
