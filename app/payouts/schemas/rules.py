"""The merchant's rules for payouts as pages show and take them."""

from typing import Annotated

import msgspec

from app.core.ids import ConnectionId, parse_id
from app.core.money import Money
from app.payouts.domain import Rail
from app.payouts.domain.approvals import MAX_APPROVALS, MAX_HOLD_DAYS, MOST_HOLD_DAYS, Limits, Threshold
from app.payouts.domain.calendars import CALENDARS
from app.payouts.schemas import minor_in
from app.sellers.schemas.bank_accounts import AccountNumber

Count = Annotated[int, msgspec.Meta(ge=0, le=100_000)]
RAIL_NAMES = {
    Rail.API: "By calls through a connection",
    Rail.SEPA: "SEPA file (pain.001.001.09)",
    Rail.ACH: "ACH file (NACHA)",
    Rail.CSV: "CSV file",
}
ROWS = 4
"""How many thresholds the form has room for."""


class LimitsForm(msgspec.Struct, kw_only=True):
    """How much may be paid out how fast, in one currency."""

    least: Money | None = None
    most: Money | None = None
    fee: Money | None = None
    day_count: Count | None = None
    day: Money | None = None
    week: Money | None = None
    first_payouts: Count = 0
    change_hours: Annotated[int, msgspec.Meta(ge=0, le=720)] = 0
    capture_percent: Annotated[int, msgspec.Meta(ge=0, le=1000)] | None = None
    max_hold_days: Annotated[int, msgspec.Meta(ge=1, le=MOST_HOLD_DAYS)] = MAX_HOLD_DAYS

    def limits(self, currency: str) -> Limits:
        """As the rules of a currency take them."""
        return Limits(
            min_minor=minor_in(currency, self.least, "least") if self.least else 1,
            max_minor=minor_in(currency, self.most, "most") if self.most else None,
            fee_minor=minor_in(currency, self.fee, "fee") if self.fee else 0,
            day_count=self.day_count,
            day_minor=minor_in(currency, self.day, "day") if self.day else None,
            week_minor=minor_in(currency, self.week, "week") if self.week else None,
            first_payouts=self.first_payouts,
            change_hours=self.change_hours,
            capture_percent=self.capture_percent,
            max_hold_days=self.max_hold_days,
        )


class ThresholdsForm(msgspec.Struct, kw_only=True):
    """From which amounts how many people must agree; rows without an amount are left out."""

    from_1: Money | None = None
    people_1: Annotated[int, msgspec.Meta(ge=0, le=MAX_APPROVALS)] = 1
    from_2: Money | None = None
    people_2: Annotated[int, msgspec.Meta(ge=0, le=MAX_APPROVALS)] = 1
    from_3: Money | None = None
    people_3: Annotated[int, msgspec.Meta(ge=0, le=MAX_APPROVALS)] = 1
    from_4: Money | None = None
    people_4: Annotated[int, msgspec.Meta(ge=0, le=MAX_APPROVALS)] = 1

    def thresholds(self, currency: str) -> list[Threshold]:
        """The rows that say something, in a currency."""
        rows = [
            (self.from_1, self.people_1),
            (self.from_2, self.people_2),
            (self.from_3, self.people_3),
            (self.from_4, self.people_4),
        ]
        return [
            Threshold(from_minor=minor_in(currency, amount, f"from_{number}"), approvals=people)
            for number, (amount, people) in enumerate(rows, start=1)
            if amount is not None
        ]


class FundingForm(msgspec.Struct, kw_only=True):
    """An account to pay from."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    rail: Rail
    connection: Annotated[str, msgspec.Meta(max_length=40)] = ""
    holder_name: Annotated[str, msgspec.Meta(max_length=70)] = ""
    number: AccountNumber | None = None
    routing: AccountNumber | None = None
    company_id: Annotated[str, msgspec.Meta(max_length=10)] = ""
    calendar: Annotated[str, msgspec.Meta(max_length=20)] = ""
    cutoff: Annotated[str, msgspec.Meta(min_length=5, max_length=5)] = "16:30"
    timezone: Annotated[str, msgspec.Meta(min_length=1, max_length=60)] = "UTC"

    def connection_id(self) -> ConnectionId | None:
        """The connection, if one was chosen."""
        return ConnectionId(parse_id("con", self.connection)) if self.connection else None


class FundingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One account to pay from."""

    currency: str
    name: str
    rail: str
    account: str
    calendar: str
    cutoff: str
    timezone: str


class RulesPage(msgspec.Struct, frozen=True, kw_only=True):
    """The rules for payouts in one currency."""

    currency: str
    currencies: list[str]
    limits: Limits
    thresholds: list[Threshold]
    funding: list[FundingRow]
    connections: list[tuple[str, str]]
    may_set: bool

    @property
    def segments(self) -> list[tuple[str, str, bool]]:
        """The currencies to choose from."""
        return [(code, f"/payouts/rules?currency={code}", code == self.currency) for code in self.currencies]

    @property
    def rails(self) -> list[tuple[str, str]]:
        """The ways to a bank."""
        return [(rail.value, name) for rail, name in RAIL_NAMES.items()]

    @property
    def calendars(self) -> list[tuple[str, str]]:
        """The calendars of bank days."""
        return list(CALENDARS.items())

    @property
    def rows(self) -> list[tuple[int, str, int]]:
        """The thresholds with empty rows for more: number, amount, people."""
        shown = [(self.amount(each.from_minor) or "0", each.approvals) for each in self.thresholds]
        return [(number, *(shown[number - 1] if number <= len(shown) else ("", 1))) for number in range(1, ROWS + 1)]

    def amount(self, minor: int | None) -> str:
        """An amount as a field shows it; none is empty."""
        return Money(minor, self.currency).decimal() if minor else ""


class BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """One batch in a list."""

    id: str
    rail: str
    status: str
    total: Money
    payouts: int
    value_on: str
    funding: str


class BatchListPage(msgspec.Struct, frozen=True, kw_only=True):
    """All batches."""

    batches: list[BatchRow]
    next: str | None
    previous: str | None
