"""Tables of people's own security: mails."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import grant

revision = "0021"
down_revision: str | None = "0016"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _mail()


def _mail() -> None:
    op.create_table(
        "mail",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("sealed_body", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("retry_at", TIME, nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("sent_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_mail"),
        sa.CheckConstraint("state in ('waiting', 'sent', 'given_up')", name=op.f("ck_mail_state")),
    )
    op.create_index("ix_mail_due", "mail", ["retry_at"], postgresql_where=sa.text("state = 'waiting'"))
    grant(op, "mail")


def downgrade() -> None:
    op.drop_table("mail")
