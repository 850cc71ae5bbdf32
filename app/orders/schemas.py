"""What crosses the edge about orders."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

import msgspec

from app.core.errors import Invalid
from app.core.ids import SellerId, parse_id, public_id
from app.core.money import Money
from app.core.paging import Page
from app.orders.domain import NewLine, NewOrder, OrderLinesInvalid, OrderStatus
from app.orders.models import Order

MAX_QUANTITY = 1_000_000
Text200 = Annotated[str, msgspec.Meta(max_length=200)]


class LineRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One line of an order as an API client sends it; the amount is that of the whole line."""

    seller: str
    amount: Money
    description: Text200 = ""
    quantity: Annotated[int, msgspec.Meta(ge=1, le=MAX_QUANTITY)] = 1

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

    def order(self) -> NewOrder:
        """The order in the words of the domain."""
        return NewOrder(
            reference=self.reference,
            currency=self.currency,
            lines=[line.line() for line in self.lines],
            buyer_name=self.buyer.name,
            buyer_email=self.buyer.email,
            description=self.description,
            details=self.metadata,
            expires_at=self.expires_at,
        )


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


ORDER_VIEWS: tuple[tuple[str, str], ...] = (
    ("All", ""),
    ("Awaiting payment", OrderStatus.OPEN),
    ("Paid", OrderStatus.PAID),
    ("Partially paid", OrderStatus.PARTIALLY_PAID),
    ("Partially refunded", OrderStatus.PARTIALLY_REFUNDED),
    ("Refunded", OrderStatus.REFUNDED),
    ("Cancelled", OrderStatus.CANCELLED),
    ("Expired", OrderStatus.EXPIRED),
)


class OrderListPage(msgspec.Struct, kw_only=True):
    """The list of orders."""

    orders: Page[OrderRow]
    query: str
    status: str
    after: str = ""

    def href(self, path: str = "/orders", **changes: str) -> str:
        """The address of this list with something changed; any change leads back to the first page."""
        wanted = {"q": self.query, "status": self.status, **changes}
        query = urlencode({name: value for name, value in wanted.items() if value})
        return f"{path}?{query}" if query else path

    @property
    def views(self) -> list[tuple[str, str, bool, None]]:
        """The saved views."""
        return [(label, self.href(status=status), self.status == status, None) for label, status in ORDER_VIEWS]

    @property
    def is_first_run(self) -> bool:
        """Whether there is nothing to see because nothing has happened yet."""
        return not (self.orders.items or self.query or self.status or self.after)

    @property
    def summary(self) -> str:
        """How much of the list this page is."""
        count = len(self.orders.items)
        everything = not self.after and self.orders.next is None
        return f"{'All ' if everything else ''}{count} order{'' if count == 1 else 's'}{'' if everything else ' on this page'}"


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

    @property
    def path(self) -> str:
        """The page's address."""
        return f"/orders/{self.order.id}"

    @property
    def who(self) -> str:
        """Who buys."""
        return self.order.buyer_name or self.order.buyer_email or "a buyer without a name"

    @property
    def initials(self) -> str:
        """The buyer's initials."""
        return "".join(word[:1] for word in self.who.split()[:2]).upper()

    @property
    def is_payable(self) -> bool:
        """Whether it waits for its payment."""
        return self.order.status == OrderStatus.OPEN

    @property
    def bar(self) -> list[tuple[float, str]]:
        """The money bar: paid and kept, given back, still owed."""
        order = self.order
        kept, owed = order.captured.minor - order.refunded.minor, order.total.minor - order.captured.minor
        return [
            (minor * 100 / order.total.minor, shade)
            for minor, shade in ((kept, "c-f1"), (order.refunded.minor, "c-f4"), (owed, "c-mut"))
            if minor > 0
        ]


class LineForm(msgspec.Struct, kw_only=True):
    """One line of the form of a new order, as it was typed."""

    number: int
    seller: str = ""
    description: str = ""
    quantity: str = "1"
    amount: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was typed into it."""
        return not (self.amount.strip() or self.description.strip())


class OrderForm(msgspec.Struct, kw_only=True):
    """The form of a new order, apart from its lines."""

    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    currency: Annotated[str, msgspec.Meta(min_length=3, max_length=3)]
    buyer_name: Text200 = ""
    buyer_email: Annotated[str, msgspec.Meta(max_length=254)] = ""
    description: Text200 = ""


class OrderFormPage(msgspec.Struct, kw_only=True):
    """The form of a new order."""

    sellers: list[tuple[str, str]]
    lines: list[LineForm]
    currencies: list[tuple[str, str]]
    values: dict[str, str]


MOST_FORM_LINES = 50
FIRST_CURRENCIES = ("EUR", "USD", "GBP", "CHF", "JPY", "SEK", "DKK", "NOK", "PLN", "KWD")


def lines_typed(values: Mapping[str, Sequence[str]]) -> list[LineForm]:
    """The lines of the form as they were typed."""

    def last(name: str) -> str:
        return (values.get(name) or [""])[-1]

    numbers = [number for number in range(MOST_FORM_LINES) if f"amount_{number}" in values]
    return [
        LineForm(
            number=number,
            seller=last(f"seller_{number}"),
            description=last(f"description_{number}"),
            quantity=last(f"quantity_{number}"),
            amount=last(f"amount_{number}"),
        )
        for number in numbers
    ]


def lines_of(typed: Sequence[LineForm], currency: str) -> list[NewLine]:
    """The typed lines in the words of the domain; each field that is wrong is named."""
    lines: list[NewLine] = []
    wrong: dict[str, str] = {}
    for line in typed:
        if line.is_empty:
            continue
        try:
            lines.append(_line(line, currency))
        except Invalid as problem:
            wrong |= {f"{field}_{line.number}": said for field, said in problem.fields.items()}
    if not lines and not wrong:
        wrong = {f"amount_{typed[0].number if typed else 0}": "Enter at least one line."}
    if wrong:
        raise OrderLinesInvalid("Some lines cannot be accepted.", fields=wrong)
    return lines


def _line(line: LineForm, currency: str) -> NewLine:
    wrong: dict[str, str] = {}
    amount, quantity, seller = Money.zero(currency), 0, None
    try:
        amount = Money.parse(line.amount, currency)
    except Invalid as problem:
        wrong["amount"] = problem.detail
    if not wrong and not amount.is_positive:
        wrong["amount"] = "Enter an amount of more than zero."
    if line.quantity.strip().isdecimal() and 1 <= int(line.quantity) <= MAX_QUANTITY:
        quantity = int(line.quantity)
    else:
        wrong["quantity"] = "Enter a whole number of at least one."
    try:
        seller = SellerId(parse_id("sel", line.seller))
    except Invalid:
        wrong["seller"] = "Choose a seller."
    if wrong or seller is None:
        raise OrderLinesInvalid("A line cannot be accepted.", fields=wrong)
    return NewLine(seller_id=seller, description=line.description.strip()[:200], amount=amount, quantity=quantity)
