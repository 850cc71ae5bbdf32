"""The list of payouts: what waits for people first, then everything."""

from datetime import date, datetime
from urllib.parse import urlencode

import msgspec

from app.core.money import Money
from app.core.paging import Page
from app.payouts.domain import PayoutStatus, Source
from app.payouts.schemas.schedules import CalendarMonth, ScheduleRow

PATH = "/payouts"
P = PayoutStatus
VIEWS: dict[str, tuple[str, tuple[PayoutStatus, ...]]] = {
    "": ("All", ()),
    "waiting": ("Needs approval", (P.PENDING_APPROVAL,)),
    "held": ("On hold", (P.ON_HOLD,)),
    "moving": ("On its way", (P.APPROVED, P.SCHEDULED, P.BATCHED, P.SENDING, P.SUBMITTED, P.IN_TRANSIT)),
    "unknown": ("Unknown", (P.UNKNOWN,)),
    "paid": ("Paid", (P.PAID,)),
    "wrong": ("Failed or returned", (P.FAILED, P.RETURNED)),
    "over": ("Stopped", (P.CANCELLED, P.REJECTED, P.EXPIRED)),
}
SOURCE_NAMES = {Source.PERSON: "By hand", Source.PROGRAM: "By API", Source.SCHEDULE: "By schedule", Source.RETRY: "Again"}


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """Who did something about a payout, or still has to."""

    text: str
    at: datetime | None
    is_done: bool


class PayoutRow(msgspec.Struct, frozen=True, kw_only=True):
    """One payout in a list."""

    id: str
    amount: Money
    status: PayoutStatus
    seller: str
    bank: str
    account: str
    source: str
    why: str
    value_on: date | None
    created_at: datetime


class WaitingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One payout that waits for people."""

    row: PayoutRow
    digest: str
    signatures: list[Signature]
    may_decide: bool


class PayoutListPage(msgspec.Struct, frozen=True, kw_only=True):
    """The list of payouts, with schedules and the month beside it."""

    rows: Page[PayoutRow]
    waiting: list[WaitingRow]
    view: str
    query: str
    schedules: list[ScheduleRow]
    month: CalendarMonth

    @property
    def tabs(self) -> list[tuple[str, str, bool, int | None]]:
        """The saved views."""
        count = {"waiting": len(self.waiting) or None}
        return [(name, self.href(view=key, after=None), key == self.view, count.get(key)) for key, (name, _) in VIEWS.items()]

    @property
    def is_filtered(self) -> bool:
        """Whether something narrows the list."""
        return bool(self.view or self.query)

    @property
    def export_href(self) -> str:
        """The same rows as a file."""
        return f"{PATH}/export{self.href().removeprefix(PATH)}"

    def href(self, **change: str | None) -> str:
        """This list with something changed in its address."""
        text = urlencode({name: value for name, value in {"view": self.view, "q": self.query, **change}.items() if value})
        return f"{PATH}?{text}" if text else PATH


class InboxPage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that waits for a yes or no, with what came of the last bulk decision."""

    waiting: list[WaitingRow]
    results: list[tuple[str, bool, str]] = []

    @property
    def totals(self) -> list[Money]:
        """What waits in all, per currency."""
        sums: dict[str, Money] = {}
        for each in self.waiting:
            amount = each.row.amount
            sums[amount.currency] = sums.get(amount.currency, Money.zero(amount.currency)) + amount
        return list(sums.values())
