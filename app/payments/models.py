"""Tables of payments."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.payments.domain import OPERATION, PAYMENT, CaptureMode, Operation
from app.psp.domain import Outcome

# with the line breaks that PostgreSQL gives it back with, so that the two can be compared
_METHOD = "\ncase\nwhen method_brand is null then method_kind\nelse method_brand\nend"
_OF_PAYMENT = (["merchant_id", "payment_id"], ["payment.merchant_id", "payment.id"])


def _one_of(column: str, values: type[CaptureMode] | type[Operation] | type[Outcome]) -> str:
    return f"{column} in ({', '.join(repr(value.value) for value in values)})"


class Payment(Base):
    """``*_reserved_minor`` counts operations that may still succeed, so that two at once cannot exceed the amount."""

    __tablename__ = "payment"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "order_id"], ["sales_order.merchant_id", "sales_order.id"]),
        ForeignKeyConstraint(["merchant_id", "connection_id"], ["psp_connection.merchant_id", "psp_connection.id"]),
        CheckConstraint(PAYMENT.check_sql("status"), name="status"),
        CheckConstraint(_one_of("capture_mode", CaptureMode), name="capture_mode"),
        CheckConstraint("amount_minor > 0", name="amount_is_positive"),
        CheckConstraint("authorised_minor in (0, amount_minor)", name="authorised_is_whole"),
        CheckConstraint("0 <= captured_minor and captured_minor <= capture_reserved_minor", name="captured_within_reserved"),
        CheckConstraint("capture_reserved_minor <= amount_minor", name="capture_within_amount"),
        CheckConstraint("0 <= refunded_minor and refunded_minor <= refund_reserved_minor", name="refunded_within_reserved"),
        CheckConstraint("refund_reserved_minor <= captured_minor", name="refund_within_captured"),
        Index(
            "uq_payment_one_live_per_order",
            "merchant_id",
            "order_id",
            unique=True,
            postgresql_where=text("status not in ('failed', 'voided', 'expired')"),
        ),
        Index("ix_payment_status", "merchant_id", "status", "id"),
        Index("ix_payment_amount", "merchant_id", "amount_minor", "id"),
        Index("ix_payment_connection", "merchant_id", "connection_id", "id"),
        Index("ix_payment_currency", "merchant_id", "currency", "id"),
        Index("ix_payment_method", "merchant_id", text(f"({_METHOD})"), "id", postgresql_where=text(f"{_METHOD} is not null")),
        Index("ix_payment_email", "merchant_id", "buyer_email_lc", "id"),
        Index("ix_payment_buyer", "merchant_id", "buyer_name_lc", "id"),
        Index("ix_payment_order_reference", "merchant_id", "order_reference"),
        Index(
            "ix_payment_provider_reference", "merchant_id", "provider_reference", postgresql_where=text("provider_reference is not null")
        ),
        Index("ix_payment_last4", "merchant_id", "last4", "id", postgresql_where=text("last4 is not null")),
        Index("ix_payment_unknown", "updated_at", postgresql_where=text("status = 'unknown'")),
        Index("ix_payment_conflicted", "updated_at", postgresql_where=text("status = 'conflicted'")),
        Index("ix_payment_late_success", "merchant_id", "id", postgresql_where=text("failure_code = 'late_success'")),
        Index(
            "ix_payment_expiry",
            "expires_at",
            postgresql_where=text(
                "status in ('requires_method', 'requires_action', 'authorised', 'partially_captured', 'partially_refunded') and expires_at is not null"
            ),
        ),
        {"postgresql_with": {"fillfactor": "80"}},
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    order_id: Mapped[UUID]
    order_reference: Mapped[str] = mapped_column(Text(collation="C"))
    connection_id: Mapped[UUID]
    status: Mapped[str]
    capture_mode: Mapped[str]
    currency: Mapped[str]
    amount_minor: Mapped[int]
    authorised_minor: Mapped[int] = mapped_column(server_default=text("0"))
    capture_reserved_minor: Mapped[int] = mapped_column(server_default=text("0"))
    captured_minor: Mapped[int] = mapped_column(server_default=text("0"))
    refund_reserved_minor: Mapped[int] = mapped_column(server_default=text("0"))
    refunded_minor: Mapped[int] = mapped_column(server_default=text("0"))
    psp_fee_minor: Mapped[int] = mapped_column(server_default=text("0"))
    platform_fee_minor: Mapped[int] = mapped_column(server_default=text("0"))
    rest_released: Mapped[bool] = mapped_column(server_default=text("false"))
    provider_reference: Mapped[str | None] = mapped_column(Text(collation="C"))
    method_kind: Mapped[str | None]
    method_brand: Mapped[str | None]
    last4: Mapped[str | None] = mapped_column(Text(collation="C"))
    method_expiry: Mapped[str | None]
    method_fingerprint: Mapped[str | None]
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    redirect_url: Mapped[str | None]
    return_url: Mapped[str | None]
    buyer_name: Mapped[str]
    buyer_name_lc: Mapped[str] = mapped_column(Text(collation="C"))
    buyer_email: Mapped[str]
    buyer_email_lc: Mapped[str] = mapped_column(Text(collation="C"))
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]


class PaymentPart(Base):
    """One seller's part: the plan made when the payment started, and what became of it."""

    __tablename__ = "payment_part"
    __table_args__ = (
        ForeignKeyConstraint(*_OF_PAYMENT),
        ForeignKeyConstraint(["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"]),
        CheckConstraint("amount_minor > 0 and fee_minor >= 0 and fee_minor <= amount_minor", name="plan"),
        CheckConstraint("0 <= captured_minor and captured_minor <= amount_minor", name="captured_within_plan"),
        CheckConstraint("0 <= refunded_minor and refunded_minor <= captured_minor", name="refunded_within_captured"),
        CheckConstraint("0 <= fee_captured_minor and fee_captured_minor <= fee_minor", name="fee_within_plan"),
        CheckConstraint("0 <= fee_returned_minor and fee_returned_minor <= fee_captured_minor", name="fee_returned_within_captured"),
        Index("ix_payment_part_seller", "merchant_id", "seller_id", "payment_id"),
        {"postgresql_with": {"fillfactor": "60"}},
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    payment_id: Mapped[UUID] = mapped_column(primary_key=True)
    seller_id: Mapped[UUID] = mapped_column(primary_key=True)
    amount_minor: Mapped[int]
    fee_minor: Mapped[int]
    captured_minor: Mapped[int] = mapped_column(server_default=text("0"))
    fee_captured_minor: Mapped[int] = mapped_column(server_default=text("0"))
    refunded_minor: Mapped[int] = mapped_column(server_default=text("0"))
    fee_returned_minor: Mapped[int] = mapped_column(server_default=text("0"))


class PaymentAttempt(Base):
    """One operation through the PSP. Its id is our reference and the PSP's idempotency key, and is committed before the call."""

    __tablename__ = "payment_attempt"
    __table_args__ = (
        ForeignKeyConstraint(*_OF_PAYMENT),
        ForeignKeyConstraint(["merchant_id", "connection_id"], ["psp_connection.merchant_id", "psp_connection.id"]),
        CheckConstraint(_one_of("operation", Operation), name="operation"),
        CheckConstraint(_one_of("outcome", Outcome), name="outcome"),
        CheckConstraint("amount_minor > 0", name="amount_is_positive"),
        Index("ix_payment_attempt_payment", "merchant_id", "payment_id", "id"),
        Index(
            "ix_payment_attempt_provider_reference",
            "merchant_id",
            "provider_reference",
            postgresql_where=text("provider_reference is not null"),
        ),
        Index("ix_payment_attempt_due", "next_ask_at", postgresql_where=text("next_ask_at is not null")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    payment_id: Mapped[UUID]
    connection_id: Mapped[UUID]
    operation: Mapped[str]
    amount_minor: Mapped[int]
    outcome: Mapped[str | None]
    provider_reference: Mapped[str | None] = mapped_column(Text(collation="C"))
    code: Mapped[str | None]
    network_code: Mapped[str | None]
    message: Mapped[str | None]
    evidence: Mapped[dict[str, str]] = mapped_column(server_default=text("'{}'"))
    latency_ms: Mapped[int | None]
    asked_times: Mapped[int] = mapped_column(server_default=text("0"))
    next_ask_at: Mapped[datetime | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class PaymentOperation(Base):
    """A capture, void or refund of a payment; ``split`` keeps what it moves for each seller, as decided when it was asked for."""

    __tablename__ = "payment_operation"
    __table_args__ = (
        ForeignKeyConstraint(*_OF_PAYMENT),
        ForeignKeyConstraint(["merchant_id", "attempt_id"], ["payment_attempt.merchant_id", "payment_attempt.id"]),
        CheckConstraint(_one_of("kind", Operation), name="kind"),
        CheckConstraint(OPERATION.check_sql("status"), name="status"),
        CheckConstraint("amount_minor > 0", name="amount_is_positive"),
        Index("ix_payment_operation_unknown", "merchant_id", "id", postgresql_where=text("status = 'unknown'")),
        Index("ix_payment_operation_failed", "updated_at", "id", postgresql_where=text("status = 'failed'")),
        Index("uq_payment_operation_number", "merchant_id", "payment_id", "kind", "number", unique=True),
        Index("uq_payment_operation_attempt", "merchant_id", "attempt_id", unique=True),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    payment_id: Mapped[UUID]
    attempt_id: Mapped[UUID]
    kind: Mapped[str]
    number: Mapped[int]
    status: Mapped[str]
    amount_minor: Mapped[int]
    split: Mapped[dict[str, Any]]
    is_final: Mapped[bool] = mapped_column(server_default=text("false"))
    reason: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PaymentEvent(Base):
    """The history of a payment: every step with its cause. Append-only."""

    __tablename__ = "payment_event"
    __table_args__ = (ForeignKeyConstraint(*_OF_PAYMENT), Index("ix_payment_event_payment", "merchant_id", "payment_id", "id"))

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    payment_id: Mapped[UUID]
    at: Mapped[datetime]
    kind: Mapped[str]
    from_status: Mapped[str | None]
    to_status: Mapped[str]
    amount_minor: Mapped[int | None]
    actor_kind: Mapped[str]
    actor_name: Mapped[str]
    attempt_id: Mapped[UUID | None]
    details: Mapped[dict[str, Any]]
