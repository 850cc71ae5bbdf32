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

# Asked anew for every API request, so that a revoked key is dead at once; one round trip for all that come at the same moment, and the note
# of a key's use at most one write a minute.
KEY_HOLDERS = """
CREATE FUNCTION api_key_holders(p_digests bytea[], p_now timestamptz)
RETURNS TABLE (digest bytea, id uuid, merchant_id uuid, name text, scopes jsonb, requests_per_minute bigint, expired boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT a.digest, a.id, a.merchant_id, a.name, a.scopes, a.requests_per_minute, coalesce(a.expires_at <= p_now, false)
        FROM api_key a WHERE a.digest = ANY (p_digests) AND a.revoked_at IS NULL;
    IF EXISTS (SELECT FROM api_key a WHERE a.digest = ANY (p_digests) AND a.revoked_at IS NULL
                  AND (a.last_used_at IS NULL OR a.last_used_at < p_now - interval '1 minute')) THEN
        PERFORM set_config('synchronous_commit', 'off', true);
        UPDATE api_key a SET last_used_at = p_now FROM (
            SELECT k.merchant_id, k.id FROM api_key k WHERE k.digest = ANY (p_digests) AND k.revoked_at IS NULL
               AND (k.last_used_at IS NULL OR k.last_used_at < p_now - interval '1 minute') ORDER BY k.merchant_id, k.id FOR UPDATE) used
          WHERE a.merchant_id = used.merchant_id AND a.id = used.id;
    END IF;
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
    op.execute(KEY_HOLDERS)
    definer(op, "api_key_holders(bytea[], timestamptz)")


def downgrade() -> None:
    op.execute("DROP FUNCTION api_key_holders(bytea[], timestamptz)")
    op.drop_table("api_key")
