"""What crosses the edge about what waits for an operator."""

from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

import msgspec

from app.core.money import Money
from app.core.paging import Page
from app.ops.queue.domain import Act, Kind
from app.payments.schemas.details import PaymentDetailPage

Reason = Annotated[str, msgspec.Meta(min_length=10, max_length=300)]
AGES = [("", "Any age"), ("15", "Over 15 minutes"), ("60", "Over an hour"), ("1440", "Over a day"), ("10080", "Over a week")]
BASE = "/operator/queue"


class QueueFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which of what waits is shown: by merchant (its id, or a part of its name), why, through which provider, for how long at least."""

    merchant: Annotated[str, msgspec.Meta(max_length=200)] = ""
    kind: Annotated[str, msgspec.Meta(max_length=40)] = ""
    provider: Annotated[str, msgspec.Meta(max_length=60)] = ""
    age: Annotated[str, msgspec.Meta(pattern=r"^\d{0,5}$")] = ""

    @property
    def is_empty(self) -> bool:
        """Whether everything is shown."""
        return not (self.merchant or self.kind or self.provider or self.age)

    def href(self, **changed: str | None) -> str:
        """The address of the list with some of the filter changed."""
        kept = {name: value for name, value in (msgspec.structs.asdict(self) | changed).items() if value}
        return BASE + ("?" + urlencode(kept) if kept else "")


class QueueRow(msgspec.Struct, frozen=True, kw_only=True):
    token: str
    kind: Kind
    label: str
    meaning: str
    merchant_id: str
    merchant: str
    is_sandbox: bool
    what: str
    id: str
    href: str | None
    amount: Money | None
    provider: str
    account: str
    since: datetime
    said: str


class QueuePage(msgspec.Struct, frozen=True, kw_only=True):
    """What waits, the oldest first."""

    rows: Page[QueueRow]
    filter: QueueFilter
    waiting: str
    oldest: datetime | None
    tabs: list[tuple[str, str, bool, str]]
    providers: list[tuple[str, str]]
    ages: list[tuple[str, str]]
    reason: str


class CheckedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One of those chosen, with what would come of the act, or what came of it."""

    row: QueueRow
    is_possible: bool
    said: str


class CheckPage(msgspec.Struct, frozen=True, kw_only=True):
    """A rehearsal, before; an account of what happened, after."""

    act: Act
    rows: list[CheckedRow]
    gone: int
    reason: str
    is_done: bool = False

    @property
    def possible(self) -> list[CheckedRow]:
        """Those for which the act is possible."""
        return [one for one in self.rows if one.is_possible]

    @property
    def verb(self) -> str:
        """What the button says."""
        return "Set aside" if self.act is Act.SET_ASIDE else "Go on with"


class RunForm(msgspec.Struct, frozen=True, kw_only=True):
    act: Act
    item: list[str]
    reason: Reason


class OperatorPaymentPage(msgspec.Struct, frozen=True, kw_only=True):
    """One payment of a merchant, as far as an operator needs it: nothing of the buyer but the order's reference."""

    merchant_id: str
    merchant: str
    payment: PaymentDetailPage
    reason: str

    @property
    def path(self) -> str:
        """The page's address."""
        return f"/operator/merchants/{self.merchant_id}/payments/{self.payment.id}"


class OperatorRefundForm(msgspec.Struct, frozen=True, kw_only=True):
    amount: Money
    reason: Reason
    idempotency_key: Annotated[str, msgspec.Meta(min_length=8, max_length=200)]
    keep_fee: bool = False
