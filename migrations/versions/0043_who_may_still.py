"""Who knows the secrets and keys of OAuth clients that work now; the passwords that people had before; who stayed away."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from migrations.tools import definer

revision = "0043"
down_revision: str | None = "0042"
branch_labels = None
depends_on = None

# Who knew the client before this was written down may know any of its secrets.
KNOWN = "UPDATE api_client_secret s SET known_to = c.known_to FROM api_client c WHERE c.merchant_id = s.merchant_id AND c.id = s.client_id"
KEYS = "UPDATE api_client SET keys_known_to = known_to WHERE method = 'private_key_jwt'"

# A merchant, an enforced provider and the platform each keep somebody who opens the door: who is the only one who came lately, or one of
# several of whom nobody came, is not among these. Who works for nobody has nothing to be shut out of.
UNUSED = """
CREATE FUNCTION people_unused(p_before timestamptz, p_most integer) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT p.id FROM person p
     WHERE p.status = 'active' AND p.last_signed_in_at < p_before
       AND (EXISTS (SELECT FROM membership b WHERE b.person_id = p.id) OR EXISTS (SELECT FROM operator o WHERE o.person_id = p.id))
       AND NOT EXISTS (SELECT FROM membership b WHERE b.person_id = p.id AND b.role = 'owner' AND NOT EXISTS (
           SELECT FROM membership c JOIN person q ON q.id = c.person_id
            WHERE c.merchant_id = b.merchant_id AND c.role = 'owner' AND q.status = 'active' AND q.last_signed_in_at >= p_before))
       AND NOT EXISTS (SELECT FROM sso_provider s WHERE s.enforced AND s.break_glass_id = p.id)
       AND NOT (EXISTS (SELECT FROM operator o WHERE o.person_id = p.id) AND NOT EXISTS (
           SELECT FROM operator o JOIN person q ON q.id = o.person_id WHERE q.status = 'active' AND q.last_signed_in_at >= p_before))
     ORDER BY p.last_signed_in_at LIMIT p_most
$$
"""
SIGNATURE = "people_unused(timestamptz, integer)"


def _status(*words: str) -> None:
    listed = ", ".join(f"'{word}'" for word in words)
    op.drop_constraint(op.f("ck_person_status"), "person")
    op.create_check_constraint(op.f("ck_person_status"), "person", f"status in ({listed})")


def upgrade() -> None:
    op.add_column("api_client_secret", sa.Column("known_to", ARRAY(sa.Uuid()), server_default=sa.text("'{}'"), nullable=False))
    op.add_column("api_client", sa.Column("keys_known_to", ARRAY(sa.Uuid()), server_default=sa.text("'{}'"), nullable=False))
    op.add_column("person", sa.Column("passwords_before", ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False))
    op.create_check_constraint(op.f("ck_person_passwords_before"), "person", "cardinality(passwords_before) <= 3")
    _status("active", "unused", "disabled")
    # the count begins today for everybody: nobody is shut out by the upgrade itself
    op.add_column("person", sa.Column("last_signed_in_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False))
    op.create_index("ix_person_last_signed_in_at", "person", ["last_signed_in_at"], postgresql_where=sa.text("status = 'active'"))
    op.execute(UNUSED)
    definer(op, SIGNATURE)
    op.execute(KNOWN)
    op.execute(KEYS)


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {SIGNATURE}")
    op.drop_index("ix_person_last_signed_in_at", "person")
    op.drop_column("person", "last_signed_in_at")
    op.execute("UPDATE person SET status = 'disabled' WHERE status = 'unused'")
    _status("active", "disabled")
    op.drop_column("person", "passwords_before")
    op.drop_column("api_client", "keys_known_to")
    op.drop_column("api_client_secret", "known_to")
