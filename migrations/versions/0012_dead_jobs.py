"""Jobs that were given up: seen by the merchant whose they are, tried again or discarded with a reason."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import APP, MERCHANT, definer, run_sql

revision = "0012"
down_revision: str | None = "0011"
branch_labels = None
depends_on = None

BEFORE = "state in ('running', 'done', 'failed', 'dead')"
AFTER = "state in ('running', 'done', 'failed', 'dead', 'discarded')"


def upgrade() -> None:
    op.add_column("job_run", sa.Column("discarded_by", sa.Text()))
    op.add_column("job_run", sa.Column("discarded_because", sa.Text()))
    op.drop_constraint(op.f("ck_job_run_state"), "job_run")
    op.create_check_constraint(op.f("ck_job_run_state"), "job_run", AFTER)
    op.create_index(
        "ix_job_run_stuck",
        "job_run",
        ["merchant_id", "last_at", "event_id", "actor"],
        postgresql_where=sa.text("state in ('failed', 'dead', 'discarded')"),
    )
    op.execute("ALTER TABLE job_run ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE job_run FORCE ROW LEVEL SECURITY")
    # The workers count tries for everybody, on connections that are open for no merchant; inside a merchant only its own are seen.
    op.execute(
        f"CREATE POLICY merchant_wall ON job_run TO {APP} USING ({MERCHANT} IS NULL OR merchant_id = {MERCHANT})"
        f" WITH CHECK ({MERCHANT} IS NULL OR merchant_id = {MERCHANT})"
    )
    op.execute("CREATE POLICY owner_door ON job_run TO current_user USING (true) WITH CHECK (true)")
    run_sql(op, "jobs_requeue")
    definer(op, "jobs_requeue(uuid, uuid[], text[], timestamptz)")


def downgrade() -> None:
    op.execute("DROP FUNCTION jobs_requeue")
    op.execute("DROP POLICY owner_door ON job_run")
    op.execute("DROP POLICY merchant_wall ON job_run")
    op.execute("ALTER TABLE job_run NO FORCE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE job_run DISABLE ROW LEVEL SECURITY")
    op.drop_index("ix_job_run_stuck", "job_run")
    op.execute("UPDATE job_run SET state = 'dead' WHERE state = 'discarded'")
    op.drop_constraint(op.f("ck_job_run_state"), "job_run")
    op.create_check_constraint(op.f("ck_job_run_state"), "job_run", BEFORE)
    op.drop_column("job_run", "discarded_because")
    op.drop_column("job_run", "discarded_by")
