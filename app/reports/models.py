"""Tables of reports: what happened per hour and per day, counted from the history of payments. They can be thrown away and counted again."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

_NONE = text("0")


class _Figures:
    """What happened to payments in some time, as counts and as sums in minor units."""

    started: Mapped[int] = mapped_column(server_default=_NONE)
    succeeded: Mapped[int] = mapped_column(server_default=_NONE)
    failed: Mapped[int] = mapped_column(server_default=_NONE)
    captures: Mapped[int] = mapped_column(server_default=_NONE)
    captured_minor: Mapped[int] = mapped_column(server_default=_NONE)
    refunds: Mapped[int] = mapped_column(server_default=_NONE)
    refunded_minor: Mapped[int] = mapped_column(server_default=_NONE)
    psp_fee_minor: Mapped[int] = mapped_column(server_default=_NONE)
    platform_fee_minor: Mapped[int] = mapped_column(server_default=_NONE)


class PaymentHour(_Figures, Base):
    """What happened to the payments of one connection in one currency in one hour."""

    __tablename__ = "payment_hour"
    __table_args__ = (ForeignKeyConstraint(["merchant_id", "connection_id"], ["psp_connection.merchant_id", "psp_connection.id"]),)

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    hour_at: Mapped[datetime] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    connection_id: Mapped[UUID] = mapped_column(primary_key=True)


class PaymentDay(_Figures, Base):
    """The hours of a day in UTC, added up."""

    __tablename__ = "payment_day"
    __table_args__ = (ForeignKeyConstraint(["merchant_id", "connection_id"], ["psp_connection.merchant_id", "psp_connection.id"]),)

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    day_on: Mapped[date] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    connection_id: Mapped[UUID] = mapped_column(primary_key=True)


class SellerDay(Base):
    """What one seller sold in one currency on one day, and what the platform kept of it."""

    __tablename__ = "seller_day"
    __table_args__ = (ForeignKeyConstraint(["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"]),)

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    day_on: Mapped[date] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    seller_id: Mapped[UUID] = mapped_column(primary_key=True)
    sales: Mapped[int] = mapped_column(server_default=_NONE)
    sold_minor: Mapped[int] = mapped_column(server_default=_NONE)
    fee_minor: Mapped[int] = mapped_column(server_default=_NONE)
    refunded_minor: Mapped[int] = mapped_column(server_default=_NONE)
    fee_returned_minor: Mapped[int] = mapped_column(server_default=_NONE)


class ReportProgress(Base):
    """Up to which event of the history of payments a merchant's figures are counted."""

    __tablename__ = "report_progress"

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    through_id: Mapped[UUID]
    counted_at: Mapped[datetime]
