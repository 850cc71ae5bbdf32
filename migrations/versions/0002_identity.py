"""Tables of identity: people, recovery codes, sign-in throttling; and of web: login sessions, rate limits."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import APP, grant

revision = "0002"
down_revision: str | None = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    # /readyz compares it with what the program needs
    op.execute(f"GRANT SELECT ON alembic_version TO {APP}")
    _person()
    _recovery_code()
    _throttle()
    _web_session()
    _rate_limit()


def _person() -> None:
    op.create_table(
        "person",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_lc", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("password_changed_at", TIME, nullable=False),
        sa.Column("totp_secret", sa.Text()),
        sa.Column("totp_enrolled_at", TIME),
        sa.Column("totp_last_step", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("theme", sa.Text(), server_default=sa.text("'auto'"), nullable=False),
        sa.Column("density", sa.Text(), server_default=sa.text("'compact'"), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_person"),
        sa.UniqueConstraint("email_lc", name="uq_person_email_lc"),
        sa.CheckConstraint("status in ('active', 'disabled')", name=op.f("ck_person_status")),
        sa.CheckConstraint("theme in ('auto', 'light', 'dark')", name=op.f("ck_person_theme")),
        sa.CheckConstraint("density in ('compact', 'comfortable')", name=op.f("ck_person_density")),
        sa.CheckConstraint("totp_enrolled_at is null or totp_secret is not null", name=op.f("ck_person_totp")),
    )
    grant(op, "person", "SELECT, INSERT, UPDATE")


def _recovery_code() -> None:
    op.create_table(
        "recovery_code",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("used_at", TIME),
        sa.PrimaryKeyConstraint("person_id", "digest", name="pk_recovery_code"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_recovery_code_person_id_person", ondelete="CASCADE"),
    )
    grant(op, "recovery_code")


def _throttle() -> None:
    op.create_table(
        "sign_in_throttle",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("retry_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_sign_in_throttle"),
    )
    grant(op, "sign_in_throttle")


def _web_session() -> None:
    op.create_table(
        "web_session",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("csrf_seed", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("merchant_id", sa.Uuid()),
        sa.Column("factor", sa.Text()),
        sa.Column("factor_at", TIME),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_seen_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("address", sa.Text()),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_web_session"),
        sa.UniqueConstraint("digest", name="uq_web_session_digest"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_web_session_person_id_person", ondelete="CASCADE"),
    )
    op.create_index("ix_web_session_person_id", "web_session", ["person_id"])
    grant(op, "web_session")


def _rate_limit() -> None:
    op.create_table(
        "rate_limit",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("window_at", TIME, nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_rate_limit"),
        prefixes=["UNLOGGED"],
    )
    grant(op, "rate_limit")


def downgrade() -> None:
    for table in ("rate_limit", "web_session", "sign_in_throttle", "recovery_code", "person"):
        op.drop_table(table)
    op.execute(f"REVOKE SELECT ON alembic_version FROM {APP}")
