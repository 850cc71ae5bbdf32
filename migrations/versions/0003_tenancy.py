"""Tables of tenancy: merchants with their sandboxes, memberships; and the one statement that says who a session cookie belongs to."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import APP, MERCHANT, PERSON, definer, grant

revision = "0003"
down_revision: str | None = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)

ROLES = "'owner', 'admin', 'finance', 'approver', 'support', 'developer', 'viewer'"

# One round trip for every page: is the session alive, who is it, which merchants are open to that person. Touches the session at
# most once a second, so that a busy page does not write on every request.
VISITOR = """
CREATE FUNCTION visitor(p_digest bytea, p_now timestamptz, p_idle interval)
RETURNS TABLE (session_id uuid, csrf_seed bytea, merchant_id uuid, factor_at timestamptz, person_id uuid, name text, email text,
               enrolled boolean, theme text, density text, memberships jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    s record;
BEGIN
    SELECT * INTO s FROM web_session w WHERE w.digest = p_digest AND w.expires_at > p_now AND w.last_seen_at > p_now - p_idle;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF s.last_seen_at < p_now - interval '1 second' THEN
        -- losing this in a crash ends a session a little early, nothing more
        PERFORM set_config('synchronous_commit', 'off', true);
        UPDATE web_session w SET last_seen_at = p_now WHERE w.id = s.id AND w.last_seen_at < p_now;
    END IF;
    RETURN QUERY
    SELECT s.id, s.csrf_seed, s.merchant_id, s.factor_at, p.id, p.name, p.email, p.totp_enrolled_at IS NOT NULL, p.theme, p.density,
           coalesce((SELECT jsonb_agg(jsonb_build_object('id', m.id, 'name', m.name, 'role', b.role, 'sandbox_of', m.sandbox_of)
                                      ORDER BY b.last_entered_at DESC NULLS LAST, m.sandbox_of IS NOT NULL, m.name, m.id)
                     FROM membership b JOIN merchant m ON m.id = b.merchant_id
                     WHERE b.person_id = p.id AND m.status = 'active'), '[]'::jsonb)
    FROM person p WHERE p.id = s.person_id AND p.status = 'active';
END $$
"""


def upgrade() -> None:
    _merchant()
    _membership()
    op.execute(VISITOR)
    definer(op, "visitor(bytea, timestamptz, interval)")


def _merchant() -> None:
    op.create_table(
        "merchant",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sandbox_of", sa.Uuid()),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("legal_name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("website", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("support_email", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("timezone", sa.Text(), server_default=sa.text("'UTC'"), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_merchant"),
        sa.ForeignKeyConstraint(["sandbox_of"], ["merchant.id"], name="fk_merchant_sandbox_of_merchant"),
        sa.UniqueConstraint("sandbox_of", name="uq_merchant_sandbox_of"),
        sa.CheckConstraint("status in ('active', 'closed')", name=op.f("ck_merchant_status")),
        sa.CheckConstraint("sandbox_of <> id", name=op.f("ck_merchant_sandbox")),
    )
    op.execute("ALTER TABLE merchant ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE merchant FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY merchant_wall ON merchant TO {APP} USING (id = {MERCHANT}) WITH CHECK (id = {MERCHANT})")
    op.execute("CREATE POLICY owner_door ON merchant TO current_user USING (true) WITH CHECK (true)")
    grant(op, "merchant", "SELECT, INSERT, UPDATE")


def _membership() -> None:
    op.create_table(
        "membership",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_entered_at", TIME),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_membership"),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name="fk_membership_merchant_id_merchant"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_membership_person_id_person"),
        sa.UniqueConstraint("merchant_id", "person_id", name="uq_membership_merchant_id_person_id"),
        sa.CheckConstraint(f"role in ({ROLES})", name=op.f("ck_membership_role")),
    )
    op.create_index("ix_membership_person_id", "membership", ["person_id"])
    op.execute("ALTER TABLE membership ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE membership FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY merchant_wall ON membership TO {APP} USING (merchant_id = {MERCHANT}) WITH CHECK (merchant_id = {MERCHANT})")
    # a person sees which merchants they belong to, whichever one they are in
    op.execute(f"CREATE POLICY own_memberships ON membership FOR SELECT TO {APP} USING (person_id = {PERSON})")
    op.execute("CREATE POLICY owner_door ON membership TO current_user USING (true) WITH CHECK (true)")
    grant(op, "membership")
    # and the names of those merchants
    op.execute(
        f"CREATE POLICY own_merchants ON merchant FOR SELECT TO {APP}"
        f" USING (EXISTS (SELECT FROM membership b WHERE b.merchant_id = merchant.id AND b.person_id = {PERSON}))"
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION visitor(bytea, timestamptz, interval)")
    op.execute("DROP POLICY own_merchants ON merchant")
    for table in ("membership", "merchant"):
        op.drop_table(table)
