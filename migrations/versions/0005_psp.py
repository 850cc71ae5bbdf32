"""Tables of psp: connections with sealed credentials, proposed changes of them, the webhook inbox, health per minute."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from migrations.tools import definer, protect

revision = "0005"
down_revision: str | None = "0004"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
NONE = sa.text("0")

# The address of a webhook names the connection only; whose it is must be known before row security can be satisfied.
MERCHANT_OF = """
CREATE FUNCTION psp_connection_merchant(connection uuid) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT c.merchant_id FROM psp_connection c WHERE c.id = connection $$
"""


def upgrade() -> None:
    _connection()
    _credential_change()
    _event()
    _health()
    for table in ("psp_connection", "psp_policy", "psp_credential_change", "psp_event", "psp_health"):
        protect(op, table)
    op.execute(MERCHANT_OF)
    definer(op, "psp_connection_merchant(uuid)")


def _connection() -> None:
    op.create_table(
        "psp_connection",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("psp", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("config", JSONB(), nullable=False),
        sa.Column("credentials", sa.Text(), nullable=False),
        sa.Column("credentials_version", sa.BigInteger(), nullable=False),
        sa.Column("fingerprints", JSONB(), nullable=False),
        sa.Column("tested_at", TIME),
        sa.Column("tested", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_psp_connection"),
        sa.UniqueConstraint("merchant_id", "name", name="uq_psp_connection_merchant_id_name"),
        sa.CheckConstraint("status in ('draft', 'active', 'disabled')", name=op.f("ck_psp_connection_status")),
        sa.CheckConstraint("credentials_version > 0", name=op.f("ck_psp_connection_credentials_version")),
    )
    op.create_table(
        "psp_policy",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", name="pk_psp_policy"),
        sa.CheckConstraint("policy in ('single', 'four_eyes')", name=op.f("ck_psp_policy_policy")),
    )


def _of_connection(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["merchant_id", "connection_id"],
        ["psp_connection.merchant_id", "psp_connection.id"],
        name=f"fk_{table}_connection",
    )


def _credential_change() -> None:
    op.create_table(
        "psp_credential_change",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("config", JSONB(), nullable=False),
        sa.Column("credentials", sa.Text(), nullable=False),
        sa.Column("fingerprints", JSONB(), nullable=False),
        sa.Column("base_version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Uuid()),
        sa.Column("requested_by_name", sa.Text(), nullable=False),
        sa.Column("requested_at", TIME, nullable=False),
        sa.Column("approved_by", sa.Uuid()),
        sa.Column("decided_by_name", sa.Text()),
        sa.Column("decided_at", TIME),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_psp_credential_change"),
        _of_connection("psp_credential_change"),
        sa.CheckConstraint("status in ('pending', 'applied', 'rejected')", name=op.f("ck_psp_credential_change_status")),
        sa.CheckConstraint("policy in ('single', 'four_eyes')", name=op.f("ck_psp_credential_change_policy")),
        sa.CheckConstraint("approved_by <> requested_by", name=op.f("ck_psp_credential_change_two_people")),
        sa.CheckConstraint(
            "status <> 'applied' or policy = 'single' or approved_by is not null", name=op.f("ck_psp_credential_change_approved")
        ),
    )
    op.create_index(
        "uq_psp_credential_change_pending",
        "psp_credential_change",
        ["merchant_id", "connection_id"],
        unique=True,
        postgresql_where=sa.text("status = 'pending'"),
    )


def _event() -> None:
    op.create_table(
        "psp_event",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("provider_event_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("provider_reference", sa.Text(), nullable=False),
        sa.Column("our_reference", sa.Text()),
        sa.Column("amount_minor", sa.BigInteger()),
        sa.Column("currency", sa.Text()),
        sa.Column("payload", JSONB(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default=NONE, nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("decided_at", TIME),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_psp_event"),
        sa.UniqueConstraint(
            "merchant_id", "connection_id", "provider_event_id", name="uq_psp_event_merchant_id_connection_id_provider_event_id"
        ),
        _of_connection("psp_event"),
        sa.CheckConstraint("status in ('received', 'applied', 'ignored', 'failed')", name=op.f("ck_psp_event_status")),
    )
    op.create_index("ix_psp_event_reference", "psp_event", ["merchant_id", "our_reference"])
    op.create_index("ix_psp_event_received", "psp_event", ["merchant_id", "connection_id", "received_at"])


def _health() -> None:
    counters = ("calls", "succeeded", "declined", "technical", "bad_signatures")
    op.create_table(
        "psp_health",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("minute_at", TIME, nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default=NONE, nullable=False) for name in counters),
        sa.Column("latencies", ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("failed_at", TIME),
        sa.Column("succeeded_at", TIME),
        sa.PrimaryKeyConstraint("merchant_id", "connection_id", "minute_at", name="pk_psp_health"),
        _of_connection("psp_health"),
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION psp_connection_merchant(uuid)")
    for table in ("psp_health", "psp_event", "psp_credential_change", "psp_policy", "psp_connection"):
        op.drop_table(table)
