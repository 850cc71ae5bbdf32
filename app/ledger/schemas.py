"""What the ledger's pages and exports are made of."""

from datetime import date, datetime
from itertools import groupby
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec

from app.core.ids import public_id
from app.core.money import Money
from app.core.paging import Page
from app.ledger.domain import AccountClass, AccountId, AccountStatus, Side, TransactionId

# How owners and sources, opaque to the ledger, are written for people and where their pages are.
PUBLIC_PREFIXES = {
    "seller": "sel",
    "connection": "con",
    "payment": "pay",
    "order": "ord",
    "refund": "ref",
    "capture": "cap",
    "attempt": "att",
    "payout": "po",
    "run": "rrn",
    "break": "brk",
    "source": "rsc",
    "bank": "bnk",
}
PAGES = {
    "seller": "/sellers",
    "connection": "/connections",
    "payment": "/payments",
    "order": "/orders",
    "payout": "/payouts",
    "run": "/reconciliation/runs",
    "break": "/reconciliation/breaks",
    "source": "/reconciliation/sources",
}

CLASS_NAMES = {
    AccountClass.ASSET: "Assets",
    AccountClass.LIABILITY: "Liabilities",
    AccountClass.EQUITY: "Equity",
    AccountClass.REVENUE: "Revenue",
    AccountClass.EXPENSE: "Expenses",
    AccountClass.MEMO: "Memorandum",
}


class Party(msgspec.Struct, frozen=True):
    """An owner or a source: its kind, its id as people see it, and its page if it has one."""

    type: str
    id: UUID

    @property
    def text(self) -> str:
        """The public id, or the plain uuid of a kind without one."""
        prefix = PUBLIC_PREFIXES.get(self.type)
        return public_id(prefix, self.id) if prefix else str(self.id)

    @property
    def short(self) -> str:
        """The id with its middle left out, for narrow places; time-ordered ids differ at the end."""
        return f"{self.text[:8]}…{self.text[-6:]}"

    @property
    def href(self) -> str | None:
        """The page of the party."""
        base = PAGES.get(self.type)
        return f"{base}/{self.text}" if base else None


class AccountRow(msgspec.Struct, frozen=True, kw_only=True):
    """An account with its exact balance."""

    id: AccountId
    code: str
    name: str
    owner: Party | None
    currency: str
    class_: AccountClass
    normal_side: int
    status: AccountStatus
    debits: Money
    credits: Money
    pending: Money
    balance: Money
    least: int | None

    @property
    def number(self) -> str:
        """The account's id as people see it."""
        return f"acc_{self.id}"

    @property
    def href(self) -> str:
        """The account's statement."""
        return f"/ledger/accounts/{self.number}"


class AccountListPage(msgspec.Struct, frozen=True, kw_only=True):
    """The accounts of a book."""

    accounts: Page[AccountRow]
    query: str
    currency: str
    currencies: list[str]
    waiting: int
    closed_through: date | None

    @property
    def currency_choices(self) -> list[tuple[str, str]]:
        """The currencies as choices of a field."""
        return [(currency, currency) for currency in self.currencies]

    @property
    def is_filtered(self) -> bool:
        """Whether some accounts may be left out."""
        return bool(self.query or self.currency)

    def href(self, **changes: str | None) -> str:
        """This page with something changed."""
        return address("/ledger/accounts", {"q": self.query, "currency": self.currency}, changes)


class EntryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a transaction."""

    line: int
    account_id: AccountId
    account: str
    code: str
    owner: Party | None
    debit: Money | None
    credit: Money | None
    clear_key: str | None

    @property
    def note(self) -> str:
        """What stands beside the account's name."""
        return self.owner.short if self.owner else self.code

    @property
    def href(self) -> str:
        """The account's statement."""
        return f"/ledger/accounts/acc_{self.account_id}"


class TransactionView(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction with its lines."""

    id: TransactionId
    kind_code: str
    kind: str
    source: Party
    event_key: str
    phase: int
    effective_on: date
    at: datetime
    actor_kind: str | None
    actor_id: UUID | None
    request_id: str | None
    description: str | None
    reverses: TransactionId | None
    reversed_by: TransactionId | None
    lines: list[EntryRow]

    @property
    def number(self) -> str:
        """The transaction's id as people see it."""
        return f"txn_{self.id}"

    @property
    def href(self) -> str:
        """The transaction's page."""
        return f"/ledger/transactions/{self.number}"

    @property
    def totals(self) -> list[Money]:
        """The sum of each column, per currency: the debits, which are the credits."""
        return sum_debits(self.lines)

    @property
    def amounts(self) -> list[Money]:
        """How much it is about, per currency: a memorandum counts only where there is nothing else."""
        return sum_debits([line for line in self.lines if not line.code.startswith("9")]) or self.totals

    @property
    def state(self) -> str:
        """Whether it counts as posted, waits as a hold, or was undone."""
        if self.reversed_by is not None:
            return "Reversed"
        return {1: "Held", 3: "Hold released"}.get(self.phase, "Posted")


class TransactionPage(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction."""

    transaction: TransactionView
    related: list[TransactionView]


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal is narrowed to."""

    since: date | None = None
    until: date | None = None
    kind: str = ""
    source: str = ""

    @property
    def query(self) -> dict[str, str]:
        """The filters as they stand in an address."""
        days = {"since": self.since.isoformat() if self.since else "", "until": self.until.isoformat() if self.until else ""}
        return {key: value for key, value in {**days, "kind": self.kind, "source": self.source}.items() if value}


class JournalPage(msgspec.Struct, frozen=True, kw_only=True):
    """The transactions of a book, newest first."""

    transactions: Page[TransactionView]
    filters: Filters
    kinds: list[tuple[str, str]]

    @property
    def days(self) -> list[tuple[date, list[TransactionView]]]:
        """The transactions by the day they were posted."""
        return [(day, list(those)) for day, those in groupby(self.transactions.items, key=lambda view: view.at.date())]

    @property
    def kind_name(self) -> str:
        """The chosen kind as people call it."""
        return dict(self.kinds).get(self.filters.kind, self.filters.kind)

    def href(self, **changes: str | None) -> str:
        """This page with something changed."""
        return address("/ledger/transactions", self.filters.query, changes)

    def keep(self, *names: str) -> dict[str, str]:
        """The filters other than the named ones, for a form that changes those."""
        return {key: value for key, value in self.filters.query.items() if key not in names}


class StatementRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an account with the balance after it."""

    transaction_id: TransactionId
    line: int
    at: datetime
    effective_on: date
    kind: str
    description: str | None
    source: Party
    clear_key: str | None
    debit: Money | None
    credit: Money | None
    balance: Money

    @property
    def href(self) -> str:
        """The transaction's page."""
        return f"/ledger/transactions/txn_{self.transaction_id}"


class StatementPage(msgspec.Struct, frozen=True, kw_only=True):
    """An account's lines, newest first, each with the balance after it."""

    account: AccountRow
    rows: list[StatementRow]
    next: str | None
    is_first: bool

    @property
    def opening(self) -> Money:
        """The balance before the oldest line shown."""
        if not self.rows:
            return self.account.balance
        oldest = self.rows[-1]
        nothing = Money.zero(self.account.currency)
        raised = (oldest.debit or nothing) - (oldest.credit or nothing)
        return oldest.balance - (raised if self.account.normal_side == Side.DEBIT else -raised)

    @property
    def older(self) -> str | None:
        """The address of the next page."""
        return address(self.account.href, {}, {"after": self.next}) if self.next else None


class TrialBalanceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One code of the chart, all its accounts together: the balance stands on one side."""

    code: str
    name: str
    class_: AccountClass
    accounts: int
    debit: Money | None
    credit: Money | None


class TrialBalance(msgspec.Struct, frozen=True, kw_only=True):
    """Every account's balance in one currency; both sides come to the same sum, or something is wrong."""

    currency: str
    rows: list[TrialBalanceRow]
    debits: Money
    credits: Money

    @property
    def is_balanced(self) -> bool:
        """Whether both sides are equal."""
        return self.debits == self.credits

    @property
    def groups(self) -> list[tuple[str, list[TrialBalanceRow]]]:
        """The rows by class."""
        by_class: dict[AccountClass, list[TrialBalanceRow]] = {}
        for row in self.rows:
            by_class.setdefault(row.class_, []).append(row)
        return [(CLASS_NAMES[class_], rows) for class_, rows in by_class.items()]


class TrialBalancePage(msgspec.Struct, frozen=True, kw_only=True):
    """The trial balance of every currency, now or at the end of a day."""

    balances: list[TrialBalance]
    as_of: date | None
    closed_through: date | None

    @property
    def csv_href(self) -> str:
        """The same figures as a file."""
        return address("/ledger/trial-balance.csv", {"as_of": self.as_of.isoformat() if self.as_of else ""}, {})


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that must never be true and is."""

    invariant: str
    merchant_id: UUID
    subject: str
    detail: str


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What checking the books found."""

    books: int
    accounts: int
    transactions: int
    entries: int
    violations: list[Violation]

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.violations


def sum_debits(lines: list[EntryRow]) -> list[Money]:
    """The debits per currency."""
    sums: dict[str, Money] = {}
    for line in lines:
        if line.debit is not None:
            sums[line.debit.currency] = sums.get(line.debit.currency, Money.zero(line.debit.currency)) + line.debit
    return list(sums.values())


def address(path: str, query: dict[str, str], changes: dict[str, str | None]) -> str:
    """A path with the query's parameters, some of them changed or (None) left out."""
    parameters = {key: value for key, value in {**query, **changes}.items() if value}
    return f"{path}?{urlencode(parameters, quote_via=quote)}" if parameters else path
