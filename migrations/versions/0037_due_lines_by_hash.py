"""What is due to be booked is found by hash joins: a file of a million lines was looked up line by line, because a function's rows are guessed as a thousand."""

from alembic import op

revision = "0037"
down_revision: str | None = "0036"
branch_labels = None
depends_on = None

COLLECT = "recon_collect_due(uuid, bigint, bigint, integer)"


def upgrade() -> None:
    op.execute(f"ALTER FUNCTION {COLLECT} SET enable_nestloop = off")
    op.execute(f"ALTER FUNCTION {COLLECT} SET work_mem = '128MB'")


def downgrade() -> None:
    op.execute(f"ALTER FUNCTION {COLLECT} RESET enable_nestloop")
    op.execute(f"ALTER FUNCTION {COLLECT} RESET work_mem")
