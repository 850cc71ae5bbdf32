"""Roles that merchants make, limits of members, how fresh a factor must be, and how much one proof of it is good for."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from migrations.tools import append_only, definer, grant, protect

revision = "0023"
down_revision: str | None = "0022"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
ROLES = "'owner', 'admin', 'finance', 'approver', 'support', 'developer', 'viewer'"

# What a person may do at one merchant beyond the names of roles: read with every page, in the statement that reads the session.
STANDING = """
CREATE FUNCTION standing(p_person uuid, p_merchant uuid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT jsonb_build_object(
        'role', r.name,
        'permissions', r.permissions,
        'limits', (SELECT coalesce(jsonb_object_agg(l.permission || ':' || l.currency, l.most_minor), '{}') FROM member_limit l
                    WHERE l.merchant_id = b.merchant_id AND l.membership_id = b.id),
        'fresh', (SELECT coalesce(jsonb_object_agg(u.permission, u.minutes), '{}') FROM step_up_rule u WHERE u.merchant_id = b.merchant_id),
        'money', (SELECT coalesce(jsonb_object_agg(m.currency, m.limit_minor), '{}') FROM step_up_limit m WHERE m.merchant_id = b.merchant_id))
      FROM membership b LEFT JOIN merchant_role r ON r.merchant_id = b.merchant_id AND r.id = b.role_id
     WHERE b.merchant_id = p_merchant AND b.person_id = p_person
$$
"""


# Operators look across merchants through these doors only, and only while a visit of theirs, with its reason, is open.
OPERATOR = """
CREATE FUNCTION operator_standing(p_person uuid, p_now timestamptz) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT jsonb_build_object('visit', v.id, 'reason', v.reason, 'until', v.expires_at)
      FROM operator o
      LEFT JOIN LATERAL (SELECT x.id, x.reason, x.expires_at FROM operator_visit x
                          WHERE x.person_id = o.person_id AND x.closed_at IS NULL AND x.expires_at > p_now
                          ORDER BY x.expires_at DESC LIMIT 1) v ON true
     WHERE o.person_id = p_person
$$
"""
OPEN = """
CREATE FUNCTION operator_visit_open(p_visit uuid, p_now timestamptz) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM operator_visit v JOIN operator o ON o.person_id = v.person_id
                    WHERE v.id = p_visit AND v.closed_at IS NULL AND v.opened_at <= p_now AND v.expires_at > p_now)
$$
"""


def upgrade() -> None:
    op.add_column("web_session", sa.Column("moved", JSONB(), server_default=sa.text("'{}'"), nullable=False))
    _step_up()
    _roles()
    _approvals()
    op.execute(STANDING)
    definer(op, "standing(uuid, uuid)")
    _operators()


def _step_up() -> None:
    op.create_table(
        "step_up_rule",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("permission", sa.Text(), nullable=False),
        sa.Column("minutes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "permission", name="pk_step_up_rule"),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name="fk_step_up_rule_merchant_id_merchant"),
        sa.CheckConstraint("minutes between 1 and 60", name=op.f("ck_step_up_rule_minutes")),
    )
    op.create_table(
        "step_up_limit",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("limit_minor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "currency", name="pk_step_up_limit"),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name="fk_step_up_limit_merchant_id_merchant"),
        sa.CheckConstraint("limit_minor >= 0", name=op.f("ck_step_up_limit_limit_minor")),
    )
    protect(op, "step_up_rule")
    protect(op, "step_up_limit")


def _roles() -> None:
    op.create_table(
        "merchant_role",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_lc", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("permissions", JSONB(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_merchant_role"),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name="fk_merchant_role_merchant_id_merchant"),
        sa.UniqueConstraint("merchant_id", "name_lc", name="uq_merchant_role_merchant_id_name_lc"),
        sa.CheckConstraint(f"name_lc not in ({ROLES})", name=op.f("ck_merchant_role_name")),
    )
    protect(op, "merchant_role")
    op.add_column("membership", sa.Column("role_id", sa.Uuid()))
    op.drop_constraint("ck_membership_role", "membership")
    op.create_check_constraint(op.f("ck_membership_role"), "membership", f"role in ({ROLES}, 'custom')")
    op.create_check_constraint(op.f("ck_membership_role_id"), "membership", "(role = 'custom') = (role_id is not null)")
    op.create_foreign_key(
        "fk_membership_merchant_id_role_id_merchant_role",
        "membership",
        "merchant_role",
        ["merchant_id", "role_id"],
        ["merchant_id", "id"],
    )
    op.create_index("ix_membership_merchant_id_role_id", "membership", ["merchant_id", "role_id"])
    op.create_table(
        "member_limit",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("membership_id", sa.Uuid(), nullable=False),
        sa.Column("permission", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("most_minor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "membership_id", "permission", "currency", name="pk_member_limit"),
        sa.ForeignKeyConstraint(
            ["merchant_id", "membership_id"],
            ["membership.merchant_id", "membership.id"],
            name="fk_member_limit_merchant_id_membership_id_membership",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("most_minor >= 0", name=op.f("ck_member_limit_most_minor")),
    )
    protect(op, "member_limit")


def _approvals() -> None:
    op.create_table(
        "approval_policy",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("permission", sa.Text(), nullable=False),
        sa.Column("above_limit", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "act", name="pk_approval_policy"),
        sa.CheckConstraint("act in ('refund')", name=op.f("ck_approval_policy_act")),
        sa.CheckConstraint("above_limit in ('ask', 'refuse')", name=op.f("ck_approval_policy_above_limit")),
    )
    op.create_table(
        "approval_rule",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("from_minor", sa.BigInteger(), nullable=False),
        sa.Column("approvers", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "act", "currency", "from_minor", name="pk_approval_rule"),
        sa.CheckConstraint("act in ('refund')", name=op.f("ck_approval_rule_act")),
        sa.CheckConstraint("from_minor >= 0", name=op.f("ck_approval_rule_from_minor")),
        sa.CheckConstraint("approvers between 1 and 5", name=op.f("ck_approval_rule_approvers")),
    )
    op.create_table(
        "approval",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Uuid(), nullable=False),
        sa.Column("instruction", JSONB(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("permission", sa.Text(), nullable=False),
        sa.Column("approvers", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("requested_by_name", sa.Text(), nullable=False),
        sa.Column("requested_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("decided_at", TIME),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_approval"),
        sa.UniqueConstraint("merchant_id", "id", "requested_by", "digest", name="uq_approval_merchant_id_id_requested_by_digest"),
        sa.CheckConstraint("act in ('refund')", name=op.f("ck_approval_act")),
        sa.CheckConstraint("approvers between 1 and 5", name=op.f("ck_approval_approvers")),
        sa.CheckConstraint(
            "status in ('pending', 'approved', 'done', 'rejected', 'withdrawn', 'expired')", name=op.f("ck_approval_status")
        ),
    )
    waiting = sa.text("status in ('pending', 'approved')")
    op.create_index("ix_approval_waiting", "approval", ["merchant_id", "id"], postgresql_where=waiting)
    op.create_index("uq_approval_waiting", "approval", ["merchant_id", "object_id", "digest"], unique=True, postgresql_where=waiting)
    op.create_table(
        "approval_vote",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("approval_id", sa.Uuid(), nullable=False),
        sa.Column("approver_id", sa.Uuid(), nullable=False),
        sa.Column("approver_name", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "approval_id", "approver_id", name="pk_approval_vote"),
        sa.ForeignKeyConstraint(
            ["merchant_id", "approval_id", "requested_by", "digest"],
            ["approval.merchant_id", "approval.id", "approval.requested_by", "approval.digest"],
            name="fk_approval_vote_approval",
        ),
        sa.CheckConstraint("approver_id <> requested_by", name=op.f("ck_approval_vote_second_person")),
        sa.CheckConstraint("decision in ('approved', 'rejected')", name=op.f("ck_approval_vote_decision")),
    )
    protect(op, "approval_policy")
    protect(op, "approval_rule")
    protect(op, "approval", grants="SELECT, INSERT, UPDATE")
    protect(op, "approval_vote", grants="SELECT, INSERT")
    append_only(op, "approval_vote")


def _operators() -> None:
    op.create_table(
        "operator",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("added_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("person_id", name="pk_operator"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_operator_person_id_person"),
    )
    op.create_table(
        "operator_visit",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("closed_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_operator_visit"),
        sa.ForeignKeyConstraint(["person_id"], ["operator.person_id"], name="fk_operator_visit_person_id_operator", ondelete="CASCADE"),
        sa.CheckConstraint("length(reason) >= 10", name=op.f("ck_operator_visit_reason")),
        sa.CheckConstraint("expires_at <= opened_at + interval '1 hour'", name=op.f("ck_operator_visit_expires_at")),
    )
    op.create_index("ix_operator_visit_person_id_expires_at", "operator_visit", ["person_id", "expires_at"])
    # who is an operator is said by the owner of the database, never by the application
    grant(op, "operator", "SELECT")
    grant(op, "operator_visit", "SELECT, INSERT, UPDATE")
    unknown = sa.text("status = 'unknown'")
    op.create_index("ix_payment_unknown", "payment", ["updated_at"], postgresql_where=unknown)
    op.create_index("ix_payout_unknown", "payout", ["updated_at"], postgresql_where=unknown)
    for function, signature in (
        (OPERATOR, "operator_standing(uuid, timestamptz)"),
        (OPEN, "operator_visit_open(uuid, timestamptz)"),
    ):
        op.execute(function)
        definer(op, signature)


def downgrade() -> None:
    for signature in (
        "operator_visit_open(uuid, timestamptz)",
        "operator_standing(uuid, timestamptz)",
    ):
        op.execute(f"DROP FUNCTION {signature}")
    for index, table in (("ix_payout_unknown", "payout"), ("ix_payment_unknown", "payment")):
        op.drop_index(index, table)
    op.drop_table("operator_visit")
    op.drop_table("operator")
    op.execute("DROP FUNCTION standing(uuid, uuid)")
    for table in ("approval_vote", "approval", "approval_rule", "approval_policy"):
        op.drop_table(table)
    op.drop_table("member_limit")
    op.drop_index("ix_membership_merchant_id_role_id", "membership")
    op.drop_constraint("fk_membership_merchant_id_role_id_merchant_role", "membership")
    op.drop_constraint("ck_membership_role_id", "membership")
    op.drop_constraint("ck_membership_role", "membership")
    op.execute("UPDATE membership SET role = 'viewer' WHERE role = 'custom'")
    op.create_check_constraint(op.f("ck_membership_role"), "membership", f"role in ({ROLES})")
    op.drop_column("membership", "role_id")
    for table in ("merchant_role", "step_up_limit", "step_up_rule"):
        op.drop_table(table)
    op.drop_column("web_session", "moved")
