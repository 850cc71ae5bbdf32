"""How long a quiet session lasts by what its person may do; where somebody works, for the words no password is made of; approvals that ended."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import definer, due

revision = "0027"
down_revision: str | None = "0026"
branch_labels = None
depends_on = None

# What counts is everything a person may do anywhere: the session can enter each of their merchants.
ACTS = """
CREATE FUNCTION person_acts(p_person uuid, p_roles text[], p_permissions text[]) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM membership b LEFT JOIN merchant_role r ON r.merchant_id = b.merchant_id AND r.id = b.role_id
                    WHERE b.person_id = p_person AND (b.role = ANY (p_roles) OR r.permissions ?| p_permissions))
        OR EXISTS (SELECT FROM operator o WHERE o.person_id = p_person)
$$
"""

# A session that was used within the shorter time is alive whoever holds it: people at work cost no second look.
IDLE = """
CREATE FUNCTION session_idle(p_digest bytea, p_now timestamptz, p_acting interval, p_reading interval, p_roles text[], p_permissions text[])
RETURNS interval
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT CASE WHEN s.last_seen_at > p_now - p_acting OR person_acts(s.person_id, p_roles, p_permissions) THEN p_acting
                ELSE greatest(p_acting, p_reading) END
      FROM web_session s WHERE s.digest = p_digest
$$
"""

WORKPLACES = """
CREATE FUNCTION workplaces(p_person uuid) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT m.name FROM membership b JOIN merchant m ON m.id = b.merchant_id WHERE b.person_id = p_person
$$
"""

WAITS = "status in ('pending', 'approved')"
FUNCTIONS = (
    "person_acts(uuid, text[], text[])",
    "session_idle(bytea, timestamptz, interval, interval, text[], text[])",
    "workplaces(uuid)",
)


def upgrade() -> None:
    for statement, signature in zip((ACTS, IDLE, WORKPLACES), FUNCTIONS, strict=True):
        op.execute(statement)
        definer(op, signature)
    op.create_index("ix_approval_due", "approval", ["expires_at"], postgresql_where=sa.text(WAITS))
    due(op, "approvals_expired", table="approval", where=f"{WAITS} and expires_at <= moment", order="expires_at")


def downgrade() -> None:
    op.execute("DROP FUNCTION approvals_expired(timestamptz, integer)")
    op.drop_index("ix_approval_due", "approval")
    for signature in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {signature}")
