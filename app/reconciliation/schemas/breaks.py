"""What the inbox of breaks is made of, and what is done about several at once."""

from urllib.parse import urlencode

import msgspec

from app.core.money import Money
from app.core.paging import Page
from app.reconciliation.domain.breaks import MONEY_ACTIONS, BreakStatus, BulkAction
from app.reconciliation.schemas import TARGET_NAMES, BreakRow

OWNERS = [("me", "Mine"), ("nobody", "Nobody’s")]
DUE = [("overdue", "Overdue"), ("today", "Due today")]
WORDS = {
    BulkAction.CLAIM: ("Take", "You look after them from now on."),
    BulkAction.ASSIGN: ("Assign", "Somebody looks after them from now on."),
    BulkAction.PARK: ("Park", "They are put aside until somebody outside has answered."),
    BulkAction.UNPARK: ("Take up again", "They are open again."),
    BulkAction.WRITE_OFF: ("Write off", "What is left over becomes a loss or a gain; above the limit somebody else has to approve it."),
    BulkAction.MOVE: ("Move", "All that is left over of each goes to one account."),
}


class BreakFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What narrows the list, as it stands in its address."""

    status: str = ""
    kind: str = ""
    source: str = ""
    owner: str = ""
    due: str = ""

    def query(self, **change: str | None) -> str:
        """The same list with something changed, as the end of an address."""
        asked = {**msgspec.structs.asdict(self), **change}
        found = urlencode({name: value for name, value in asked.items() if value})
        return f"?{found}" if found else ""


class BreakListPage(msgspec.Struct, kw_only=True):
    """The inbox."""

    rows: Page[BreakRow]
    filter: BreakFilter
    counts: list[tuple[str, str, int]]
    kinds: list[tuple[str, str]]
    sources: list[tuple[str, str]]
    matching: int
    totals: list[Money]

    @property
    def is_filtered(self) -> bool:
        """Whether something narrows the list beyond its tab."""
        return any((self.filter.kind, self.filter.source, self.filter.owner, self.filter.due))

    @property
    def selects(self) -> list[tuple[str, str, str, list[tuple[str, str]], str]]:
        """The filters: name, label, what no choice is called, choices, value."""
        chosen = self.filter
        return [
            ("kind", "Kind of break", "Every kind", self.kinds, chosen.kind),
            ("source", "Source", "Every source", self.sources, chosen.source),
            ("owner", "Owner", "Everybody’s", OWNERS, chosen.owner),
            ("due", "Due", "Due whenever", DUE, chosen.due),
        ]

    def href(self, **change: str | None) -> str:
        """This list with something changed in its address."""
        return f"/reconciliation/breaks{self.filter.query(**change)}"

    @property
    def export_href(self) -> str:
        """The same list as a file."""
        return f"/reconciliation/breaks.csv{self.filter.query()}"

    @property
    def actions(self) -> list[tuple[str, str]]:
        """What may be done about the chosen ones; nothing any more about those that are settled."""
        if self.filter.status in {BreakStatus.RESOLVED, BreakStatus.CLEARED}:
            return []
        owning = [BulkAction.CLAIM, BulkAction.ASSIGN]
        aside = BulkAction.UNPARK if self.filter.status == BreakStatus.PARKED else BulkAction.PARK
        waits = self.filter.status == BreakStatus.AWAITING_APPROVAL
        return [
            (action.value, WORDS[action][0]) for action in (owning if waits else [*owning, aside, *sorted(MONEY_ACTIONS, reverse=True)])
        ]


class ChosenRow(msgspec.Struct, frozen=True, kw_only=True):
    """One of several breaks, and what was or would be done about it."""

    row: BreakRow
    is_possible: bool
    said: str
    money: Money | None = None


class ChosenPage(msgspec.Struct, kw_only=True):
    """Several breaks before something is done about them, or after."""

    action: BulkAction
    rows: list[ChosenRow]
    is_done: bool
    people: list[tuple[str, str]]

    @property
    def name(self) -> str:
        """What is done, in a word."""
        return WORDS[self.action][0]

    @property
    def meaning(self) -> str:
        """What that means."""
        return WORDS[self.action][1]

    @property
    def path(self) -> str:
        """Where it is done; what moves money asks for a second factor."""
        return "/reconciliation/breaks/chosen/" + ("book" if self.action in MONEY_ACTIONS else "do")

    @property
    def possible(self) -> list[ChosenRow]:
        """Those about which it can be done."""
        return [row for row in self.rows if row.is_possible]

    @property
    def totals(self) -> list[Money]:
        """What is moved in all, a sum per currency; never added up across currencies."""
        sums: dict[str, Money] = {}
        for row in self.possible:
            if row.money is not None:
                sums[row.money.currency] = sums.get(row.money.currency, Money.zero(row.money.currency)) + row.money
        return [sums[currency] for currency in sorted(sums)]

    @property
    def targets(self) -> list[tuple[str, str]]:
        """Where what is left over may go."""
        return TARGET_NAMES
