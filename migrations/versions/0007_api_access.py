"""Tables of api_access: API keys, and the one statement that says whose key a request carries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from migrations.tools import definer, protect

revision = "0007"
down_revision: str | None = "0006"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)

# Asked anew for every API request, so that a revoked key is dead at once; one round trip, and the note of its use at most one write
# a minute.
KEY_HOLDER = """
CREATE FUNCTION api_key_holder(p_digest bytea, p_now timestamptz)
RETURNS TABLE (id uuid, merchant_id uuid, name text, scopes jsonb, requests_per_minute bigint, expired boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    k record;
BEGIN
    SELECT * INTO k FROM api_key a WHERE a.digest = p_digest AND a.revoked_at IS NULL;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF k.last_used_at IS NULL OR k.last_used_at < p_now - interval '1 minute' THEN
        PERFORM set_config('synchronous_commit', 'off', true);
        UPDATE api_key a SET last_used_at = p_now WHERE a.merchant_id = k.merchant_id AND a.id = k.id;
    END IF;
    RETURN QUERY SELECT k.id, k.merchant_id, k.name, k.scopes, k.requests_per_minute, coalesce(k.expires_at <= p_now, false);
END $$
"""


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", JSONB(), nullable=False),
        sa.Column("requests_per_minute", sa.BigInteger()),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("last_used_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_api_key"),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name="fk_api_key_merchant_id_merchant"),
    )
    # looked up before the merchant is known: the hash of 192 random bits is unique in the whole house
    op.create_index("uq_api_key_digest", "api_key", ["digest"], unique=True)
    protect(op, "api_key", grants="SELECT, INSERT, UPDATE")
    op.execute(KEY_HOLDER)
    definer(op, "api_key_holder(bytea, timestamptz)")


def downgrade() -> None:
    op.execute("DROP FUNCTION api_key_holder(bytea, timestamptz)")
    op.drop_table("api_key")
