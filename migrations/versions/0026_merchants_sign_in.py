"""Sign-in providers of merchants: settings, domains with their proof, connected accounts; and sessions that are good for one merchant."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from migrations.tools import definer, protect

revision = "0026"
down_revision: str | None = "0025"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)

# A session that a merchant's provider opened is good for that merchant and its sandbox. Where single sign-on is enforced, people of its
# proven domains come in that way only; but for one owner, who gets in when the provider does not. Asked with every page, so its plan is kept.
ADMITS = """
CREATE FUNCTION session_admits(p_bound_merchant uuid, p_bound_provider uuid, p_person uuid, p_email text, p_merchant uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (p_bound_merchant IS NULL OR p_bound_merchant = p_merchant)
       AND NOT EXISTS (SELECT FROM sso_provider e
                         JOIN sso_domain d ON d.merchant_id = e.merchant_id AND d.provider_id = e.id AND d.proven_at IS NOT NULL
                        WHERE e.merchant_id = p_merchant AND e.enforced AND d.domain = split_part(p_email, '@', 2)
                          AND e.id IS DISTINCT FROM p_bound_provider AND e.break_glass_id IS DISTINCT FROM p_person);
END $$
"""

# Somebody who is about to sign in names a provider or an e-mail domain: whose it is must be known before anything of it can be read.
PROVIDER_MERCHANT = """
CREATE FUNCTION sso_provider_merchant(p_provider uuid) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT e.merchant_id FROM sso_provider e WHERE e.id = p_provider AND e.status = 'active' $$
"""
PROVIDER_OF_DOMAIN = """
CREATE FUNCTION sso_provider_of_domain(p_domain text) RETURNS TABLE (id uuid, name text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT e.id, e.name FROM sso_domain d JOIN sso_provider e ON e.merchant_id = d.merchant_id AND e.id = d.provider_id
     WHERE d.domain = p_domain AND d.proven_at IS NOT NULL AND e.status = 'active'
$$
"""

VISITOR = "visitor(bytea, timestamptz, interval)"
OPEN = "b.person_id = p.id AND m.status = ''active''"
ADMITTED = f"{OPEN} AND session_admits(s.bound_merchant_id, s.bound_provider_id, p.id, p.email_lc, coalesce(m.sandbox_of, m.id))"
TOLD, ALSO_TOLD = "memberships jsonb)", "memberships jsonb, factor text, bound boolean)"
GIVEN, ALSO_GIVEN = "''[]''::jsonb)", "''[]''::jsonb), s.factor, s.bound_merchant_id IS NOT NULL"


def upgrade() -> None:
    _providers()
    _domains()
    _identities()
    op.add_column("web_session", sa.Column("bound_merchant_id", sa.Uuid()))
    op.add_column("web_session", sa.Column("bound_provider_id", sa.Uuid()))
    op.create_index("ix_web_session_bound_provider_id", "web_session", ["bound_provider_id"])
    for statement in (ADMITS, PROVIDER_MERCHANT, PROVIDER_OF_DOMAIN):
        op.execute(statement)
    definer(op, "sso_provider_merchant(uuid)")
    definer(op, "sso_provider_of_domain(text)")
    _say_otherwise((OPEN, ADMITTED), (TOLD, ALSO_TOLD), (GIVEN, ALSO_GIVEN))


def _say_otherwise(*changes: tuple[str, str]) -> None:
    """Say some things in the visitor's function differently and leave the rest as earlier migrations wrote it; each must be there to be said."""
    steps = "".join(
        f" IF position('{before}' in said) = 0 THEN RAISE EXCEPTION 'the visitor does not say what it should'; END IF;"
        f" said := replace(said, '{before}', '{after}');"
        for before, after in changes
    )
    found = f"pg_get_functiondef('{VISITOR}'::regprocedure)"
    op.execute(f"DO $do$ DECLARE said text := {found}; BEGIN{steps} DROP FUNCTION {VISITOR}; EXECUTE said; END $do$")
    definer(op, VISITOR)


def _providers() -> None:
    op.create_table(
        "sso_provider",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("secret_in_body", sa.Boolean(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("accept_mfa", sa.Boolean(), nullable=False),
        sa.Column("mfa_acr", JSONB(), nullable=False),
        sa.Column("default_role", sa.Text()),
        sa.Column("role_rules", JSONB(), nullable=False),
        sa.Column("enforced", sa.Boolean(), nullable=False),
        sa.Column("break_glass_id", sa.Uuid()),
        sa.Column("tested_at", TIME),
        sa.Column("test_problem", sa.Text()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_sso_provider"),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name="fk_sso_provider_merchant_id_merchant"),
        # whoever gets in when the provider does not cannot leave the team before another one is named
        sa.ForeignKeyConstraint(
            ["merchant_id", "break_glass_id"],
            ["membership.merchant_id", "membership.person_id"],
            name="fk_sso_provider_merchant_id_break_glass_id_membership",
        ),
        sa.UniqueConstraint("merchant_id", "name", name="uq_sso_provider_merchant_id_name"),
        sa.CheckConstraint("status in ('draft', 'active', 'disabled')", name=op.f("ck_sso_provider_status")),
        sa.CheckConstraint("default_role <> 'owner'", name=op.f("ck_sso_provider_default_role")),
        sa.CheckConstraint("not enforced or (status = 'active' and break_glass_id is not null)", name=op.f("ck_sso_provider_enforced")),
    )
    op.create_index("ix_sso_provider_id", "sso_provider", ["id"])
    protect(op, "sso_provider")


def _domains() -> None:
    op.create_table(
        "sso_domain",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("proven_at", TIME),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_sso_domain"),
        sa.ForeignKeyConstraint(
            ["merchant_id", "provider_id"],
            ["sso_provider.merchant_id", "sso_provider.id"],
            name="fk_sso_domain_merchant_id_provider_id_sso_provider",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("merchant_id", "domain", name="uq_sso_domain_merchant_id_domain"),
    )
    # across merchants: a proven domain is one merchant's, and only who has just proven it learns that it is another's
    op.create_index("uq_sso_domain_proven", "sso_domain", ["domain"], unique=True, postgresql_where=sa.text("proven_at is not null"))
    op.create_index("ix_sso_domain_provider_id", "sso_domain", ["merchant_id", "provider_id"])
    protect(op, "sso_domain")


def _identities() -> None:
    op.create_table(
        "sso_identity",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("joined_at", TIME),
        sa.Column("last_used_at", TIME),
        sa.PrimaryKeyConstraint("merchant_id", "provider_id", "subject", name="pk_sso_identity"),
        sa.ForeignKeyConstraint(
            ["merchant_id", "provider_id"],
            ["sso_provider.merchant_id", "sso_provider.id"],
            name="fk_sso_identity_merchant_id_provider_id_sso_provider",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_sso_identity_person_id_person", ondelete="CASCADE"),
    )
    op.create_index("ix_sso_identity_person_id", "sso_identity", ["person_id"])
    protect(op, "sso_identity")


def downgrade() -> None:
    _say_otherwise((ADMITTED, OPEN), (ALSO_TOLD, TOLD), (ALSO_GIVEN, GIVEN))
    op.execute("DROP FUNCTION sso_provider_of_domain(text)")
    op.execute("DROP FUNCTION sso_provider_merchant(uuid)")
    op.execute("DROP FUNCTION session_admits(uuid, uuid, uuid, text, uuid)")
    op.drop_column("web_session", "bound_provider_id")
    op.drop_column("web_session", "bound_merchant_id")
    for table in ("sso_identity", "sso_domain", "sso_provider"):
        op.drop_table(table)
