"""Sign-in through providers: begun attempts, connected accounts, sessions that came from one, logout tokens that were used."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import grant

revision = "0022"
down_revision: str | None = "0021"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
TABLES = ("provider_attempt", "person_identity", "provider_session", "logout_token_use")


def upgrade() -> None:
    op.create_table(
        "provider_attempt",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("state_digest", sa.LargeBinary(), nullable=False),
        sa.Column("browser_digest", sa.LargeBinary(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("verifier", sa.Text(), nullable=False),
        sa.Column("next_path", sa.Text(), nullable=False),
        sa.Column("connecting", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("used_at", TIME),
        sa.Column("issuer", sa.Text()),
        sa.Column("subject", sa.Text()),
        sa.Column("email", sa.Text()),
        sa.Column("linked_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_provider_attempt"),
        sa.UniqueConstraint("state_digest", name="uq_provider_attempt_state_digest"),
    )
    op.create_index("ix_provider_attempt_browser_digest", "provider_attempt", ["browser_digest"])
    op.create_index("ix_provider_attempt_expires_at", "provider_attempt", ["expires_at"])
    op.create_table(
        "person_identity",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_used_at", TIME),
        sa.PrimaryKeyConstraint("issuer", "subject", name="pk_person_identity"),
        sa.UniqueConstraint("id", name="uq_person_identity_id"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_person_identity_person_id_person", ondelete="CASCADE"),
    )
    op.create_index("ix_person_identity_person_id", "person_identity", ["person_id"])
    op.create_table(
        "provider_session",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("sid", sa.Text(), nullable=False),
        sa.Column("id_token", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_provider_session"),
        sa.ForeignKeyConstraint(["session_id"], ["web_session.id"], name="fk_provider_session_session_id_web_session", ondelete="CASCADE"),
    )
    op.create_index("ix_provider_session_issuer_subject", "provider_session", ["issuer", "subject"])
    op.create_table(
        "logout_token_use",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("used_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("issuer", "jti", name="pk_logout_token_use"),
    )
    for table in TABLES:
        grant(op, table)


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
