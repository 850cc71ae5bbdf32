"""Tables of core: outbox, jobs, idempotency keys, the audit trail."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from migrations.tools import APP, MERCHANT, RELAY, append_only, grant, protect, run_sql

revision = "0001"
down_revision: str | None = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = '42501'; END $$"
    )
    op.execute(f"GRANT USAGE ON SCHEMA public TO {APP}, {RELAY}")
    _outbox()
    _jobs()
    _idempotency()
    _audit()
    for name in ("core_ids", "core_idempotency"):
        run_sql(op, name)


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("merchant_id", sa.Uuid()),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("payload", JSONB(), nullable=False),
        sa.Column("object_id", sa.Uuid()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("published_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )
    op.create_index("ix_outbox_due", "outbox", ["due_at"], postgresql_where=sa.text("published_at is null"))
    op.create_index("ix_outbox_object", "outbox", ["object_id"])
    op.execute("ALTER TABLE outbox ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE outbox FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY merchant_wall ON outbox TO {APP} USING (merchant_id = {MERCHANT}) WITH CHECK (merchant_id IS NULL OR merchant_id = {MERCHANT})"
    )
    op.execute("CREATE POLICY owner_door ON outbox TO current_user USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY relay_door ON outbox TO {RELAY} USING (true) WITH CHECK (true)")
    grant(op, "outbox", "SELECT, INSERT")
    grant(op, "outbox", "SELECT, INSERT, UPDATE, DELETE", role=RELAY)


def _jobs() -> None:
    op.create_table(
        "job_run",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Uuid()),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("payload", JSONB(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("first_at", TIME, nullable=False),
        sa.Column("last_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("event_id", "actor", name="pk_job_run"),
        sa.CheckConstraint("state in ('running', 'done', 'failed', 'dead')", name=op.f("ck_job_run_state")),
    )
    op.create_index("ix_job_run_unfinished", "job_run", ["state", "last_at"], postgresql_where=sa.text("state <> 'done'"))
    grant(op, "job_run")
    op.create_table(
        "recurring_job",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("next_at", TIME, nullable=False),
        sa.Column("last_at", TIME),
        sa.PrimaryKeyConstraint("name", name="pk_recurring_job"),
    )
    grant(op, "recurring_job", "SELECT, INSERT, UPDATE, DELETE", role=RELAY)
    grant(op, "recurring_job", "SELECT")


def _idempotency() -> None:
    op.create_table(
        "idempotency_key",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("resource_id", sa.Uuid()),
        sa.Column("lease_until", TIME, nullable=False),
        sa.Column("status", sa.BigInteger()),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.PrimaryKeyConstraint("merchant_id", "key", name="pk_idempotency_key"),
    )
    protect(op, "idempotency_key")


def _audit() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid()),
        sa.Column("actor_name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text()),
        sa.Column("factor_at", TIME),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object_type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Uuid()),
        sa.Column("before", JSONB()),
        sa.Column("after", JSONB()),
        sa.Column("reason", sa.Text()),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_audit_entry"),
    )
    op.create_index("ix_audit_entry_object", "audit_entry", ["merchant_id", "object_type", "object_id"])
    op.create_index("ix_audit_entry_action", "audit_entry", ["merchant_id", "action", "id"])
    protect(op, "audit_entry", grants="SELECT, INSERT")
    append_only(op, "audit_entry")


def downgrade() -> None:
    op.execute("DROP FUNCTION idempotency_take_over")
    op.execute("DROP FUNCTION new_id")
    for table in ("audit_entry", "idempotency_key", "recurring_job", "job_run", "outbox"):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_change()")
