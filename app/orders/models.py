"""Tables of orders. ``order`` is a word of SQL, so the table is ``sales_order``."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.orders.domain import ORDER


class Order(Base):
    __tablename__ = "sales_order"
    __table_args__ = (
        UniqueConstraint("merchant_id", "reference"),
        CheckConstraint(ORDER.check_sql("status"), name="status"),
        CheckConstraint("total_minor > 0", name="total_is_positive"),
        CheckConstraint("0 <= captured_minor and captured_minor <= total_minor", name="captured_within_total"),
        CheckConstraint("0 <= refunded_minor and refunded_minor <= captured_minor", name="refunded_within_captured"),
        Index("ix_sales_order_status", "merchant_id", "status", "id"),
        Index("ix_sales_order_email", "merchant_id", "buyer_email_lc", "id"),
        Index("ix_sales_order_expiry", "expires_at", postgresql_where=text("status = 'open' and expires_at is not null")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(Text(collation="C"))
    status: Mapped[str]
    currency: Mapped[str]
    total_minor: Mapped[int]
    captured_minor: Mapped[int] = mapped_column(server_default=text("0"))
    refunded_minor: Mapped[int] = mapped_column(server_default=text("0"))
    buyer_name: Mapped[str]
    buyer_email: Mapped[str]
    buyer_email_lc: Mapped[str] = mapped_column(Text(collation="C"))
    description: Mapped[str]
    details: Mapped[dict[str, str]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]


class OrderLine(Base):
    __tablename__ = "sales_order_line"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "order_id"], ["sales_order.merchant_id", "sales_order.id"]),
        ForeignKeyConstraint(["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"]),
        CheckConstraint("amount_minor > 0", name="amount_is_positive"),
        CheckConstraint("quantity >= 1", name="quantity_is_positive"),
        Index("ix_sales_order_line_seller", "merchant_id", "seller_id", "order_id"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    order_id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    seller_id: Mapped[UUID]
    description: Mapped[str]
    quantity: Mapped[int]
    amount_minor: Mapped[int]
