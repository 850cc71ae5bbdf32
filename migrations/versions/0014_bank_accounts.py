"""Where sellers' money goes and when: bank accounts, bank days, schedules."""

from datetime import date, timedelta

import holidays
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from migrations.tools import append_only, due, grant, protect

revision = "0014"
down_revision: str | None = "0013"
branch_labels = None
depends_on = None

YEARS = range(2024, 2036)


def upgrade() -> None:
    op.create_table(
        "bank_account",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seller_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("verification", sa.Text(), nullable=False),
        sa.Column("verified_by", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("holder_name", sa.Text(), nullable=False),
        sa.Column("bank_name", sa.Text(), nullable=False),
        sa.Column("bic", sa.Text(), nullable=False),
        sa.Column("routing", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("requested_by_name", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("decided_by_name", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("usable_from", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind in ('iban', 'us', 'uk')", name=op.f("ck_bank_account_kind")),
        sa.CheckConstraint("status in ('proposed', 'active', 'rejected', 'retired')", name=op.f("ck_bank_account_status")),
        sa.CheckConstraint(
            "status not in ('active', 'retired') or (approved_by is not null and usable_from is not null)",
            name=op.f("ck_bank_account_approved"),
        ),
        sa.CheckConstraint("verification in ('unverified', 'verified', 'failed')", name=op.f("ck_bank_account_verification")),
        sa.CheckConstraint("approved_by <> requested_by", name=op.f("ck_bank_account_second_person")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"], name=op.f("fk_bank_account_merchant_id_seller_id_seller")
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_bank_account")),
    )
    op.create_index("ix_bank_account_fingerprint", "bank_account", ["merchant_id", "fingerprint"], unique=False)
    op.create_index("ix_bank_account_status", "bank_account", ["merchant_id", "status", "id"], unique=False)
    op.create_index(
        "uq_bank_account_active",
        "bank_account",
        ["merchant_id", "seller_id", "currency"],
        unique=True,
        postgresql_where=sa.text("status = 'active'"),
    )
    op.create_index(
        "uq_bank_account_proposed",
        "bank_account",
        ["merchant_id", "seller_id", "currency"],
        unique=True,
        postgresql_where=sa.text("status = 'proposed'"),
    )
    op.create_table(
        "calendar_day",
        sa.Column("calendar", sa.Text(), nullable=False),
        sa.Column("on_date", sa.Date(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("calendar", "on_date", "version", name=op.f("pk_calendar_day")),
    )
    op.create_table(
        "calendar_override",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("calendar", sa.Text(), nullable=False),
        sa.Column("on_date", sa.Date(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_by_name", sa.Text(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_calendar_override")),
    )
    op.create_index("ix_calendar_override_day", "calendar_override", ["merchant_id", "calendar", "on_date", "id"], unique=False)
    op.create_table(
        "payout_schedule",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seller_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("bank_account_id", sa.Uuid(), nullable=True),
        sa.Column("interval", sa.Text(), nullable=False),
        sa.Column("weekly_days", JSONB(), nullable=False),
        sa.Column("monthly_days", JSONB(), nullable=False),
        sa.Column("delay_days", sa.BigInteger(), nullable=False),
        sa.Column("min_minor", sa.BigInteger(), nullable=False),
        sa.Column("keep_minor", sa.BigInteger(), nullable=False),
        sa.Column("max_minor", sa.BigInteger(), nullable=True),
        sa.Column("cutoff", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("calendars", JSONB(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("next_run_on", sa.Date(), nullable=True),
        sa.Column("next_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("edited_by", sa.Uuid(), nullable=False),
        sa.Column("edited_by_name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "interval in ('manual', 'daily', 'weekly', 'monthly', 'threshold', 'instant')", name=op.f("ck_payout_schedule_interval")
        ),
        sa.CheckConstraint("rule in ('following', 'modified_following', 'preceding')", name=op.f("ck_payout_schedule_rule")),
        sa.CheckConstraint("status in ('active', 'paused')", name=op.f("ck_payout_schedule_status")),
        sa.CheckConstraint(
            "min_minor >= 1 and keep_minor >= 0 and coalesce(max_minor, min_minor) >= min_minor", name=op.f("ck_payout_schedule_amounts")
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "bank_account_id"],
            ["bank_account.merchant_id", "bank_account.id"],
            name=op.f("fk_payout_schedule_merchant_id_bank_account_id_bank_account"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"], name=op.f("fk_payout_schedule_merchant_id_seller_id_seller")
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_payout_schedule")),
        sa.UniqueConstraint("merchant_id", "seller_id", "currency", name=op.f("uq_payout_schedule_merchant_id_seller_id_currency")),
    )
    op.create_index(
        "ix_payout_schedule_due", "payout_schedule", ["next_run_at"], unique=False, postgresql_where=sa.text("status = 'active'")
    )
    op.create_table(
        "payout_schedule_run",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("run_on", sa.Date(), nullable=False),
        sa.Column("payout_id", sa.Uuid(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id", "schedule_id"],
            ["payout_schedule.merchant_id", "payout_schedule.id"],
            name=op.f("fk_payout_schedule_run_merchant_id_schedule_id_payout_schedule"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_payout_schedule_run")),
        sa.UniqueConstraint(
            "merchant_id", "schedule_id", "run_on", "payout_id", name="uq_payout_schedule_run_once", postgresql_nulls_not_distinct=True
        ),
    )
    protect(op, "bank_account", grants="SELECT, INSERT, UPDATE")
    grant(op, "calendar_day", "SELECT")
    protect(op, "calendar_override", grants="SELECT, INSERT")
    append_only(op, "calendar_override")
    protect(op, "payout_schedule")
    protect(op, "payout_schedule_run", grants="SELECT, INSERT")
    append_only(op, "payout_schedule_run")
    due(op, "payout_schedules_due", table="payout_schedule", where="status = 'active' and next_run_at <= moment", order="next_run_at")
    _seed()


def _seed() -> None:
    table = sa.table(
        "calendar_day",
        sa.column("calendar", sa.Text()),
        sa.column("on_date", sa.Date()),
        sa.column("version", sa.BigInteger()),
        sa.column("is_open", sa.Boolean()),
        sa.column("name", sa.Text()),
        sa.column("origin", sa.Text()),
    )
    rows = [
        {"calendar": code, "on_date": day, "version": 1, "is_open": False, "name": name, "origin": "holidays"}
        for code, days in _library().items()
        for day, name in sorted(days.items())
        if day.weekday() < 5
    ]
    op.bulk_insert(table, rows + _corrections())


def _library() -> dict[str, dict[date, str]]:
    """The days on which banks are closed, as the library has them."""
    return {
        "TARGET": dict(holidays.financial_holidays("XECB", years=YEARS)),
        "FED": dict(holidays.country_holidays("US", years=YEARS)),
        "UK": dict(holidays.country_holidays("GB", subdiv="ENG", years=YEARS)),
    }


def _corrections() -> list[dict[str, object]]:
    """The Federal Reserve does not close on the Friday before a holiday that falls on a Saturday; the library says it does."""
    days = holidays.country_holidays("US", years=YEARS)
    return [
        {
            "calendar": "FED",
            "on_date": day - timedelta(days=1),
            "version": 2,
            "is_open": True,
            "name": f"{name} falls on a Saturday; Reserve Banks open on the Friday before it",
            "origin": "correction",
        }
        for day, name in sorted(days.items())
        if day.weekday() == 5 and day - timedelta(days=1) in days
    ]


def downgrade() -> None:
    op.execute("DROP FUNCTION payout_schedules_due(timestamptz, integer)")
    op.drop_table("payout_schedule_run")
    op.drop_table("payout_schedule")
    op.drop_table("calendar_override")
    op.drop_table("calendar_day")
    op.drop_table("bank_account")
