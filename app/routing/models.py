"""Tables of routing: versions of the rules, the rules, whom they name, and what was decided for each payment."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Text, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.routing.domain import VERSION, CaptureMode

_CONNECTION = ["psp_connection.merchant_id", "psp_connection.id"]
_RULE = ["routing_rule.merchant_id", "routing_rule.version_id", "routing_rule.rule_key"]


class RoutingVersion(Base):
    """A set of rules through its life. Nobody who changed it or asked for it can be the one who approved it, whatever the service thinks."""

    __tablename__ = "routing_version"
    __table_args__ = (
        CheckConstraint(VERSION.check_sql("status"), name="status"),
        CheckConstraint(
            "status not in ('pending', 'live', 'retired') or (requested_by is not null and digest is not null)", name="requested"
        ),
        CheckConstraint(
            "status not in ('live', 'retired') or (approved_by is not null and approved_digest is not null and approved_digest = digest)",
            name="approved",
        ),
        CheckConstraint("approved_by <> requested_by and approved_by <> all (editors)", name="two_people"),
        UniqueConstraint("merchant_id", "number"),
        Index("uq_routing_version_live", "merchant_id", unique=True, postgresql_where=text("status = 'live'")),
        Index("uq_routing_version_open", "merchant_id", unique=True, postgresql_where=text("status in ('draft', 'pending')")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int]
    status: Mapped[str]
    based_on: Mapped[int | None]
    editors: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    edited_by_name: Mapped[str]
    digest: Mapped[str | None]
    requested_by: Mapped[UUID | None]
    requested_by_name: Mapped[str | None]
    requested_at: Mapped[datetime | None]
    reason: Mapped[str] = mapped_column(server_default=text("''"))
    approved_by: Mapped[UUID | None]
    approved_by_name: Mapped[str | None]
    approved_digest: Mapped[str | None]
    refused_by_name: Mapped[str | None]
    refusal: Mapped[str | None]
    activated_at: Mapped[datetime | None]
    retired_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class RoutingRule(Base):
    """One rule of a version. Its key stays the same from version to version. Never changed: a draft's rules are written anew."""

    __tablename__ = "routing_rule"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "version_id"], ["routing_version.merchant_id", "routing_version.id"]),
        ForeignKeyConstraint(["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"]),
        UniqueConstraint("merchant_id", "version_id", "position"),
        CheckConstraint("(amount_currency is null) = (at_least_minor is null and below_minor is null)", name="amount_currency"),
        CheckConstraint("at_least_minor >= 0", name="at_least"),
        CheckConstraint("below_minor > coalesce(at_least_minor, 0)", name="below"),
        CheckConstraint(f"capture_mode in ({', '.join(repr(mode.value) for mode in CaptureMode)})", name="capture_mode"),
        CheckConstraint("cardinality(currencies) > 0", name="currencies"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    rule_key: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int]
    name: Mapped[str]
    currencies: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    amount_currency: Mapped[str | None]
    at_least_minor: Mapped[int | None]
    below_minor: Mapped[int | None]
    capture_mode: Mapped[str | None]
    seller_id: Mapped[UUID | None]


class RoutingTarget(Base):
    """A connection that a rule names: with a share it is part of the split, without one it is in the fallback list at this place."""

    __tablename__ = "routing_target"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "version_id", "rule_key"], _RULE),
        ForeignKeyConstraint(["merchant_id", "connection_id"], _CONNECTION),
        UniqueConstraint("merchant_id", "version_id", "rule_key", "place"),
        CheckConstraint("share between 1 and 100", name="share"),
        CheckConstraint("place >= 0", name="place"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    rule_key: Mapped[UUID] = mapped_column(primary_key=True)
    connection_id: Mapped[UUID] = mapped_column(primary_key=True)
    place: Mapped[int]
    share: Mapped[int | None]


class RoutingDecision(Base):
    """Why a payment went where it went, as it was when it began. Append-only; none when no rules were live or a connection was asked for."""

    __tablename__ = "routing_decision"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "payment_id"], ["payment.merchant_id", "payment.id"], deferrable=True, initially="DEFERRED"),
        ForeignKeyConstraint(["merchant_id", "version_id", "rule_key"], _RULE),
        ForeignKeyConstraint(["merchant_id", "connection_id"], _CONNECTION),
        Index("ix_routing_decision_rule", "merchant_id", "rule_key", "payment_id"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    payment_id: Mapped[UUID] = mapped_column(primary_key=True)
    version_id: Mapped[UUID]
    rule_key: Mapped[UUID]
    connection_id: Mapped[UUID]
    draw: Mapped[int]
    candidates: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    at: Mapped[datetime]
