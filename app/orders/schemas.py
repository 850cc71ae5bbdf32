"""What crosses the edge about orders."""

from datetime import datetime
from typing import Annotated

import msgspec

from app.core.ids import SellerId, parse_id, public_id
from app.core.money import Money
from app.core.paging import Page
from app.orders.domain import NewLine, OrderStatus
from app.orders.models import Order

Text200 = Annotated[str, msgspec.Meta(max_length=200)]


class LineRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One line of an order as an API client sends it; the amount is that of the whole line."""

    seller: str
    amount: Money
    description: Text200 = ""
    quantity: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1

    def line(self) -> NewLine:
        """The line in the words of the domain."""
        return NewLine(
            seller_id=SellerId(parse_id("sel", self.seller)), description=self.description, amount=self.amount, quantity=self.quantity
        )


class BuyerRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Who buys."""

    name: Text200 = ""
    email: Annotated[str, msgspec.Meta(max_length=254)] = ""


class OrderRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An order as an API client creates it."""

    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
    lines: list[LineRequest]
    buyer: BuyerRequest = msgspec.field(default_factory=BuyerRequest)
    description: Text200 = ""
    metadata: Annotated[dict[str, str], msgspec.Meta(max_length=20)] = {}
    expires_at: datetime | None = None


class LineView(msgspec.Struct, kw_only=True):
    """One line as the API and the pages show it."""

    seller: str
    seller_name: str
    description: str
    quantity: int
    amount: Money


class OrderView(msgspec.Struct, kw_only=True):
    """An order as the API and the pages show it."""

    id: str
    reference: str
    status: OrderStatus
    total: Money
    captured: Money
    refunded: Money
    buyer_name: str
    buyer_email: str
    description: str
    metadata: dict[str, str]
    lines: list[LineView]
    created_at: datetime
    expires_at: datetime | None

    @classmethod
    def of(cls, order: Order, lines: list[LineView]) -> "OrderView":
        """Show a row with its lines."""
        return cls(
            id=public_id("ord", order.id),
            reference=order.reference,
            status=OrderStatus(order.status),
            total=Money(order.total_minor, order.currency),
            captured=Money(order.captured_minor, order.currency),
            refunded=Money(order.refunded_minor, order.currency),
            buyer_name=order.buyer_name,
            buyer_email=order.buyer_email,
            description=order.description,
            metadata=order.details,
            lines=lines,
            created_at=order.created_at,
            expires_at=order.expires_at,
        )


class OrderRow(msgspec.Struct, kw_only=True):
    """One order in a list."""

    id: str
    reference: str
    status: OrderStatus
    total: Money
    buyer: str
    created_at: datetime

    @classmethod
    def of(cls, order: Order) -> "OrderRow":
        """Show a row."""
        return cls(
            id=public_id("ord", order.id),
            reference=order.reference,
            status=OrderStatus(order.status),
            total=Money(order.total_minor, order.currency),
            buyer=order.buyer_name or order.buyer_email,
            created_at=order.created_at,
        )


class OrderListPage(msgspec.Struct, kw_only=True):
    """The list of orders."""

    orders: Page[OrderRow]
    query: str
    status: str


class SellerPart(msgspec.Struct, kw_only=True):
    """What the order holds for one seller."""

    seller: str
    seller_name: str
    amount: Money


class OrderDetailPage(msgspec.Struct, kw_only=True):
    """One order."""

    order: OrderView
    parts: list[SellerPart]
    can_cancel: bool
