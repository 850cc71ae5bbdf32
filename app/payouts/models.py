"""Tables of payouts."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.payouts.domain import BATCH, PAYOUT, STOPPABLE, HoldKind, HoldScope, Rail, Source
from app.payouts.domain.calendars import BusinessDayRule
from app.payouts.domain.port import BankWord
from app.payouts.domain.schedules import SCHEDULE, Interval

_OF_PAYOUT = (["merchant_id", "payout_id"], ["payout.merchant_id", "payout.id"])
_WAITING = ", ".join(repr(status.value) for status in STOPPABLE)


def _one_of(column: str, values: type[Rail | Source | HoldScope | HoldKind | BankWord]) -> str:
    return f"{column} in ({', '.join(repr(value.value) for value in values)})"


class FundingAccount(Base):
    """An account of the merchant's own from which payouts are made, and the way their orders reach its bank."""

    __tablename__ = "funding_account"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "connection_id"], ["psp_connection.merchant_id", "psp_connection.id"]),
        CheckConstraint(_one_of("rail", Rail), name="rail"),
        CheckConstraint("(rail = 'api') = (connection_id is not null)", name="api_has_connection"),
        Index("uq_funding_account_used", "merchant_id", "currency", unique=True, postgresql_where=text("is_used")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    currency: Mapped[str]
    rail: Mapped[str]
    connection_id: Mapped[UUID | None]
    holder_name: Mapped[str]
    bic: Mapped[str]
    routing: Mapped[str]
    number: Mapped[str]
    last4: Mapped[str]
    company_id: Mapped[str]
    calendar: Mapped[str]
    cutoff: Mapped[str]
    timezone: Mapped[str]
    is_used: Mapped[bool]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PayoutPolicy(Base):
    """The merchant's limits in one currency."""

    __tablename__ = "payout_policy"

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    min_minor: Mapped[int] = mapped_column(server_default=text("1"))
    max_minor: Mapped[int | None]
    fee_minor: Mapped[int] = mapped_column(server_default=text("0"))
    day_count: Mapped[int | None]
    day_minor: Mapped[int | None]
    week_minor: Mapped[int | None]
    first_payouts: Mapped[int] = mapped_column(server_default=text("0"))
    change_hours: Mapped[int] = mapped_column(server_default=text("0"))
    capture_percent: Mapped[int | None]
    max_hold_days: Mapped[int] = mapped_column(server_default=text("90"))
    updated_at: Mapped[datetime]


class ApprovalThreshold(Base):
    """From this amount on so many people must agree."""

    __tablename__ = "approval_threshold"
    __table_args__ = (
        CheckConstraint("from_minor >= 0", name="from_minor"),
        CheckConstraint("approvals between 0 and 5", name="approvals"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    from_minor: Mapped[int] = mapped_column(primary_key=True)
    approvals: Mapped[int]


class Payout(Base):
    """``requested_by`` and ``destination_by`` are part of a key, so that an approval can prove that it is neither's.

    Nor can anybody approve who is among ``edited_by``: whoever changed the amount, or knows the key of the program
    that asked, would approve an own wish. Triggers mind that.
    """

    __tablename__ = "payout"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"]),
        ForeignKeyConstraint(["merchant_id", "bank_account_id"], ["bank_account.merchant_id", "bank_account.id"]),
        ForeignKeyConstraint(["merchant_id", "funding_account_id"], ["funding_account.merchant_id", "funding_account.id"]),
        ForeignKeyConstraint(["merchant_id", "batch_id"], ["payout_batch.merchant_id", "payout_batch.id"]),
        ForeignKeyConstraint(["merchant_id", "parent_id"], ["payout.merchant_id", "payout.id"]),
        CheckConstraint(PAYOUT.check_sql("status"), name="status"),
        CheckConstraint(_one_of("source", Source), name="source"),
        CheckConstraint("amount_minor > 0 and fee_minor >= 0", name="amount_is_positive"),
        CheckConstraint("length(end_to_end_id) between 1 and 35", name="end_to_end_id"),
        UniqueConstraint("merchant_id", "end_to_end_id"),
        UniqueConstraint("merchant_id", "parent_id"),
        UniqueConstraint("merchant_id", "schedule_id", "run_on"),
        UniqueConstraint("merchant_id", "id", "end_to_end_id"),
        UniqueConstraint("merchant_id", "id", "requested_by", "destination_by", name="uq_payout_two_persons"),
        Index("ix_payout_status", "merchant_id", "status", "id"),
        Index("ix_payout_seller", "merchant_id", "seller_id", "id"),
        Index("ix_payout_destination", "merchant_id", "bank_account_id", "id"),
        Index("ix_payout_fingerprint", "merchant_id", "destination_fingerprint", "id"),
        Index("ix_payout_batch", "merchant_id", "batch_id", "id"),
        Index("ix_payout_unknown", "updated_at", postgresql_where=text("status = 'unknown'")),
        Index("ix_payout_due", "send_at", postgresql_where=text("status in ('scheduled', 'batched')")),
        Index("ix_payout_expiring", "expires_at", postgresql_where=text(f"status in ({_WAITING})")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    seller_id: Mapped[UUID]
    bank_account_id: Mapped[UUID]
    funding_account_id: Mapped[UUID]
    currency: Mapped[str]
    amount_minor: Mapped[int]
    fee_minor: Mapped[int]
    status: Mapped[str]
    source: Mapped[str]
    version: Mapped[int]
    end_to_end_id: Mapped[str]
    statement_text: Mapped[str]
    destination_fingerprint: Mapped[str]
    destination_by: Mapped[UUID]
    requested_by: Mapped[UUID]
    requested_by_name: Mapped[str]
    edited_by: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default=text("'{}'"))
    approvals_required: Mapped[int]
    schedule_id: Mapped[UUID | None]
    run_on: Mapped[date | None]
    parent_id: Mapped[UUID | None]
    batch_id: Mapped[UUID | None]
    value_on: Mapped[date | None]
    calendar_version: Mapped[str | None]
    send_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    provider_reference: Mapped[str | None]
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    paid_at: Mapped[datetime | None]


class PayoutApproval(Base):
    """One person's yes or no to exactly what was seen. That it is neither the requester's nor the one's who set the destination is a rule of the table."""

    __tablename__ = "payout_approval"
    __table_args__ = (
        ForeignKeyConstraint(
            ["merchant_id", "payout_id", "requested_by", "destination_by"],
            ["payout.merchant_id", "payout.id", "payout.requested_by", "payout.destination_by"],
            name="fk_payout_approval_two_persons",
        ),
        CheckConstraint("approver_id <> requested_by and approver_id <> destination_by", name="second_person"),
        CheckConstraint("decision in ('approved', 'rejected')", name="decision"),
        UniqueConstraint("merchant_id", "payout_id", "version", "approver_id", name="uq_payout_approval_once"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    payout_id: Mapped[UUID]
    requested_by: Mapped[UUID]
    destination_by: Mapped[UUID]
    version: Mapped[int]
    digest: Mapped[str]
    decision: Mapped[str]
    approver_id: Mapped[UUID]
    approver_name: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime]


class PayoutHold(Base):
    """Something that stops payouts of a seller, to a destination, or one of them, until it is released or its time is over.

    One with an amount stops none: it keeps so much of the seller's money from being paid out, as what one payment brought.
    ``kept_at`` is when somebody last said that it has to stand.
    """

    __tablename__ = "payout_hold"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"]),
        ForeignKeyConstraint(*_OF_PAYOUT),
        CheckConstraint(_one_of("scope", HoldScope), name="scope"),
        CheckConstraint(_one_of("kind", HoldKind), name="kind"),
        CheckConstraint("(scope = 'payout') = (payout_id is not null)", name="of_payout"),
        CheckConstraint("(scope = 'destination') = (bank_account_id is not null)", name="of_destination"),
        CheckConstraint("(scope = 'payment') = (payment_id is not null)", name="of_payment"),
        CheckConstraint("(amount_minor is null) = (currency is null) and coalesce(amount_minor, 1) > 0", name="amount"),
        CheckConstraint(
            "case scope when 'payment' then amount_minor is not null when 'seller' then true else amount_minor is null end", name="part"
        ),
        Index("ix_payout_hold_seller", "merchant_id", "seller_id", postgresql_where=text("released_at is null")),
        Index("ix_payout_hold_payout", "merchant_id", "payout_id"),
        Index("ix_payout_hold_expiring", "expires_at", postgresql_where=text("released_at is null")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    scope: Mapped[str]
    seller_id: Mapped[UUID]
    payout_id: Mapped[UUID | None]
    bank_account_id: Mapped[UUID | None]
    payment_id: Mapped[UUID | None]
    currency: Mapped[str | None]
    amount_minor: Mapped[int | None]
    kind: Mapped[str]
    reason: Mapped[str]
    placed_by_name: Mapped[str]
    placed_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    kept_at: Mapped[datetime | None]
    released_by_name: Mapped[str | None]
    released_at: Mapped[datetime | None]


class PayoutBatch(Base):
    """Payouts that leave together: by calls, or in one file."""

    __tablename__ = "payout_batch"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "funding_account_id"], ["funding_account.merchant_id", "funding_account.id"]),
        CheckConstraint(BATCH.check_sql("status"), name="status"),
        CheckConstraint(_one_of("rail", Rail), name="rail"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    funding_account_id: Mapped[UUID]
    rail: Mapped[str]
    status: Mapped[str]
    currency: Mapped[str]
    payouts: Mapped[int]
    total_minor: Mapped[int]
    value_on: Mapped[date]
    digest: Mapped[str | None]
    created_at: Mapped[datetime]
    downloaded_at: Mapped[datetime | None]
    downloaded_by_name: Mapped[str | None]
    sent_at: Mapped[datetime | None]


class PayoutAttempt(Base):
    """One order given to the bank. Its end-to-end id is the payout's, by a foreign key: no try can be made under another name."""

    __tablename__ = "payout_attempt"
    __table_args__ = (
        ForeignKeyConstraint(
            ["merchant_id", "payout_id", "end_to_end_id"],
            ["payout.merchant_id", "payout.id", "payout.end_to_end_id"],
            name="fk_payout_attempt_one_name",
        ),
        CheckConstraint(f"word is null or {_one_of('word', BankWord)}", name="word"),
        UniqueConstraint("merchant_id", "payout_id", "number"),
        Index("ix_payout_attempt_due", "next_ask_at", postgresql_where=text("next_ask_at is not null")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    payout_id: Mapped[UUID]
    number: Mapped[int]
    end_to_end_id: Mapped[str]
    word: Mapped[str | None]
    provider_reference: Mapped[str | None]
    code: Mapped[str | None]
    message: Mapped[str | None]
    evidence: Mapped[dict[str, str]]
    latency_ms: Mapped[int | None]
    asked_times: Mapped[int] = mapped_column(server_default=text("0"))
    next_ask_at: Mapped[datetime | None]
    begun_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class PayoutHistory(Base):
    """Every step of a payout with its cause."""

    __tablename__ = "payout_history"
    __table_args__ = (ForeignKeyConstraint(*_OF_PAYOUT), Index("ix_payout_history_payout", "merchant_id", "payout_id", "id"))

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    payout_id: Mapped[UUID]
    at: Mapped[datetime]
    kind: Mapped[str]
    from_status: Mapped[str | None]
    to_status: Mapped[str]
    actor_kind: Mapped[str]
    actor_name: Mapped[str]
    reason: Mapped[str | None]
    details: Mapped[dict[str, Any]]


class CalendarDay(Base):
    """What the house knows of bank days: the highest version of a day counts. The same for every merchant."""

    __tablename__ = "calendar_day"

    calendar: Mapped[str] = mapped_column(primary_key=True)
    on_date: Mapped[date] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    is_open: Mapped[bool]
    name: Mapped[str]
    origin: Mapped[str]


class CalendarOverride(Base):
    """A merchant's own word on a day; the newest counts, none is ever changed."""

    __tablename__ = "calendar_override"
    __table_args__ = (Index("ix_calendar_override_day", "merchant_id", "calendar", "on_date", "id"),)

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    calendar: Mapped[str]
    on_date: Mapped[date]
    is_open: Mapped[bool]
    reason: Mapped[str]
    set_by_name: Mapped[str]
    set_at: Mapped[datetime]


class PayoutSchedule(Base):
    """When a seller is paid out by itself, in one currency. With a bank account of its own it pays to that one or not at all."""

    __tablename__ = "payout_schedule"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"]),
        ForeignKeyConstraint(["merchant_id", "bank_account_id"], ["bank_account.merchant_id", "bank_account.id"]),
        CheckConstraint(SCHEDULE.check_sql("status"), name="status"),
        CheckConstraint(f"interval in ({', '.join(repr(value.value) for value in Interval)})", name="interval"),
        CheckConstraint(f"rule in ({', '.join(repr(value.value) for value in BusinessDayRule)})", name="rule"),
        CheckConstraint("min_minor >= 1 and keep_minor >= 0 and coalesce(max_minor, min_minor) >= min_minor", name="amounts"),
        UniqueConstraint("merchant_id", "seller_id", "currency"),
        Index("ix_payout_schedule_due", "next_run_at", postgresql_where=text("status = 'active'")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    seller_id: Mapped[UUID]
    currency: Mapped[str]
    bank_account_id: Mapped[UUID | None]
    interval: Mapped[str]
    weekly_days: Mapped[list[str]]
    monthly_days: Mapped[list[str]]
    delay_days: Mapped[int]
    min_minor: Mapped[int]
    keep_minor: Mapped[int]
    max_minor: Mapped[int | None]
    cutoff: Mapped[str]
    timezone: Mapped[str]
    calendars: Mapped[list[str]]
    rule: Mapped[str]
    status: Mapped[str]
    next_run_on: Mapped[date | None]
    next_run_at: Mapped[datetime | None]
    edited_by: Mapped[UUID]
    edited_by_name: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PayoutScheduleRun(Base):
    """What became of one run of a schedule; a day is run once, whoever runs it, unless the schedule is instant."""

    __tablename__ = "payout_schedule_run"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "schedule_id"], ["payout_schedule.merchant_id", "payout_schedule.id"]),
        UniqueConstraint(
            "merchant_id", "schedule_id", "run_on", "payout_id", name="uq_payout_schedule_run_once", postgresql_nulls_not_distinct=True
        ),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    schedule_id: Mapped[UUID]
    run_on: Mapped[date]
    payout_id: Mapped[UUID | None]
    outcome: Mapped[str]
    at: Mapped[datetime]
