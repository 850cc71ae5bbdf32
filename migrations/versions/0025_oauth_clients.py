"""OAuth clients with their secrets, tokens and used assertions; where a key may be used from; whose key or token a request carries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from migrations.tools import definer, protect

revision = "0025"
down_revision: str | None = "0023"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)

# Asked anew for every API request, so that a revoked key or token is dead at once; one round trip for all that come at the same moment, and
# the note of a use at most one write a minute. Tokens are looked for only when something is not a key.
HOLDERS = """
CREATE FUNCTION api_key_holders(p_digests bytea[], p_now timestamptz)
RETURNS TABLE (digest bytea, kind text, id uuid, merchant_id uuid, name text, scopes jsonb, networks jsonb, requests_per_minute bigint,
               expired boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_found integer;
BEGIN
    RETURN QUERY SELECT a.digest, 'api_key', a.id, a.merchant_id, a.name, a.scopes, a.networks, a.requests_per_minute,
                        coalesce(a.expires_at <= p_now, false)
        FROM api_key a WHERE a.digest = ANY (p_digests) AND a.revoked_at IS NULL;
    GET DIAGNOSTICS v_found = ROW_COUNT;
    IF EXISTS (SELECT FROM api_key a WHERE a.digest = ANY (p_digests) AND a.revoked_at IS NULL
                  AND (a.last_used_at IS NULL OR a.last_used_at < p_now - interval '1 minute')) THEN
        PERFORM set_config('synchronous_commit', 'off', true);
        UPDATE api_key a SET last_used_at = p_now FROM (
            SELECT k.merchant_id, k.id FROM api_key k WHERE k.digest = ANY (p_digests) AND k.revoked_at IS NULL
               AND (k.last_used_at IS NULL OR k.last_used_at < p_now - interval '1 minute') ORDER BY k.merchant_id, k.id FOR UPDATE) used
          WHERE a.merchant_id = used.merchant_id AND a.id = used.id;
    END IF;
    IF v_found = cardinality(p_digests) THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT t.digest, 'api_client', c.id, c.merchant_id, c.name, t.scopes, c.networks, c.requests_per_minute,
                        least(t.expires_at, c.expires_at) <= p_now
        FROM api_token t JOIN api_client c ON c.merchant_id = t.merchant_id AND c.id = t.client_id
        WHERE t.digest = ANY (p_digests) AND t.revoked_at IS NULL AND c.disabled_at IS NULL AND c.revoked_at IS NULL AND t.scopes <@ c.scopes;
    IF EXISTS (SELECT FROM api_token t JOIN api_client c ON c.merchant_id = t.merchant_id AND c.id = t.client_id
                WHERE t.digest = ANY (p_digests) AND t.revoked_at IS NULL AND c.disabled_at IS NULL AND c.revoked_at IS NULL
                  AND (c.last_used_at IS NULL OR c.last_used_at < p_now - interval '1 minute')) THEN
        PERFORM set_config('synchronous_commit', 'off', true);
        UPDATE api_client c SET last_used_at = p_now FROM (
            SELECT k.merchant_id, k.id FROM api_client k
             WHERE (k.merchant_id, k.id) IN (SELECT t.merchant_id, t.client_id FROM api_token t
                                              WHERE t.digest = ANY (p_digests) AND t.revoked_at IS NULL)
               AND k.disabled_at IS NULL AND k.revoked_at IS NULL AND (k.last_used_at IS NULL OR k.last_used_at < p_now - interval '1 minute') ORDER BY k.merchant_id, k.id FOR UPDATE) used
          WHERE c.merchant_id = used.merchant_id AND c.id = used.id;
    END IF;
END $$
"""

# A client that asks for a token names itself only: whose it is must be known before anything of it can be read.
CLIENT_MERCHANT = """
CREATE FUNCTION api_client_merchant(p_client uuid) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT c.merchant_id FROM api_client c WHERE c.id = p_client LIMIT 1 $$
"""

KEYS_ONLY = """
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


def _clients() -> None:
    op.create_table(
        "api_client",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("scopes", JSONB(), nullable=False),
        sa.Column("networks", JSONB(), nullable=False),
        sa.Column("requests_per_minute", sa.BigInteger()),
        sa.Column("jwks", JSONB()),
        sa.Column("jwks_url", sa.Text()),
        sa.Column("jwks_fetched_at", TIME),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("last_used_at", TIME),
        sa.Column("disabled_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_api_client"),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name="fk_api_client_merchant_id_merchant"),
        sa.CheckConstraint("method IN ('client_secret_basic', 'private_key_jwt')", name="ck_api_client_method"),
    )
    op.create_index("ix_api_client_id", "api_client", ["id"])
    op.create_table(
        "api_client_secret",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_api_client_secret"),
        sa.ForeignKeyConstraint(
            ["merchant_id", "client_id"], ["api_client.merchant_id", "api_client.id"], name="fk_api_client_secret_merchant_id_api_client"
        ),
    )
    op.create_index("ix_api_client_secret_client_id", "api_client_secret", ["merchant_id", "client_id"])


def _tokens() -> None:
    op.create_table(
        "api_token",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", JSONB(), nullable=False),
        sa.Column("issued_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("revoked_at", TIME),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_api_token"),
        sa.ForeignKeyConstraint(
            ["merchant_id", "client_id"], ["api_client.merchant_id", "api_client.id"], name="fk_api_token_merchant_id_api_client"
        ),
    )
    # looked up before the merchant is known: the hash of 256 random bits is unique in the whole house
    op.create_index("uq_api_token_digest", "api_token", ["digest"], unique=True)
    op.create_index("ix_api_token_client_id", "api_token", ["merchant_id", "client_id", "expires_at"])
    op.create_table(
        "api_assertion",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "client_id", "digest", name="pk_api_assertion"),
        sa.ForeignKeyConstraint(
            ["merchant_id", "client_id"], ["api_client.merchant_id", "api_client.id"], name="fk_api_assertion_merchant_id_api_client"
        ),
    )


def upgrade() -> None:
    op.add_column("api_key", sa.Column("networks", JSONB(), nullable=False, server_default=sa.text("'[]'")))
    op.alter_column("api_key", "networks", server_default=None)
    _clients()
    _tokens()
    for table, grants in (
        ("api_client", "SELECT, INSERT, UPDATE"),
        ("api_client_secret", "SELECT, INSERT, UPDATE, DELETE"),
        ("api_token", "SELECT, INSERT, UPDATE, DELETE"),
        ("api_assertion", "SELECT, INSERT, DELETE"),
    ):
        protect(op, table, grants=grants)
    op.execute("DROP FUNCTION api_key_holders(bytea[], timestamptz)")
    op.execute(HOLDERS)
    op.execute(CLIENT_MERCHANT)
    definer(op, "api_key_holders(bytea[], timestamptz)")
    definer(op, "api_client_merchant(uuid)")


def downgrade() -> None:
    op.execute("DROP FUNCTION api_key_holders(bytea[], timestamptz)")
    op.execute("DROP FUNCTION api_client_merchant(uuid)")
    for table in ("api_assertion", "api_token", "api_client_secret", "api_client"):
        op.drop_table(table)
    op.drop_column("api_key", "networks")
    op.execute(KEYS_ONLY)
    definer(op, "api_key_holders(bytea[], timestamptz)")
