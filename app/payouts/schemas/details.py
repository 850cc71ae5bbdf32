"""One payout as its page shows it, and the dialogs about it."""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec

from app.core.actors import ActorKind
from app.core.clock import now
from app.core.ids import public_id
from app.core.money import Money, total
from app.ledger.schemas import TransactionView
from app.payouts.domain import ALARM_AFTER, CONTRADICTED, EDITABLE, OUT, PAYOUT, PEOPLE_DECIDE_AFTER, RETRYABLE, PayoutStatus
from app.payouts.models import PayoutAttempt, PayoutHistory, PayoutHold
from app.payouts.schemas.lists import PayoutRow, Signature


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the timeline."""

    icon: str
    tone: str
    title: str
    text: str
    at: datetime


LOOKS: dict[str, tuple[str, str, str]] = {
    "payout.request": ("circle-dollar-sign", "", "Requested; the money was set aside"),
    "payout.hold": ("pause", "warn", "Put on hold"),
    "payout.hold_placed": ("pause", "warn", "A hold was placed"),
    "payout.release": ("check", "", "The hold was released"),
    "payout.edit": ("pencil", "", "Changed; earlier approvals are void"),
    "payout.submit": ("hourglass", "warn", "Waits for approval"),
    "approval.approved": ("check", "ok", "Approved by one person"),
    "approval.rejected": ("x", "bad", "Rejected"),
    "payout.approve": ("shield-check", "ok", "Approved in full"),
    "payout.schedule": ("calendar", "info", "Dated"),
    "payout.batch": ("layers", "info", "Put into a batch"),
    "payout.take_out": ("pause", "warn", "Taken out of its batch"),
    "payout.date": ("calendar", "info", "Dated anew"),
    "payout.claim": ("arrow-right", "info", "Given to the bank"),
    "payout.lose": ("circle-help", "warn", "The bank’s answer was lost: the outcome is unknown"),
    "payout.acknowledge": ("check", "info", "The bank has the order"),
    "payout.resend": ("refresh-cw", "warn", "The bank never got it: it is sent again under the same name"),
    "payout.accept": ("arrow-right", "info", "The bank is carrying it out"),
    "payout.pay": ("check", "ok", "Paid"),
    "payout.fail": ("x", "bad", "The bank refused it; the wallet has the money again"),
    "payout.return": ("undo-2", "bad", "The money came back and is parked"),
    "payout.retried": ("refresh-cw", "", "Paid again by another payout"),
    "payout.cancel": ("ban", "", "Cancelled; the wallet has the money again"),
    "payout.reject": ("ban", "bad", "Rejected; the wallet has the money again"),
    "payout.expire": ("clock", "", "Expired; the wallet has the money again"),
    "bank.contradicted": ("shield-alert", "bad", "The bank contradicts its earlier answer"),
}
_BY = {
    ActorKind.API_KEY: "API key “{}”",
    ActorKind.API_CLIENT: "OAuth client “{}”",
    ActorKind.PSP: "Told by {}",
    ActorKind.WORKER: "By the job “{}”",
}


def step_of(row: PayoutHistory) -> Step:
    """One step of the history in words."""
    icon, tone, title = LOOKS.get(row.kind, ("activity", "", row.kind.replace(".", " ").replace("_", " ").capitalize()))
    said = [_BY.get(ActorKind(row.actor_kind), "By {}").format(row.actor_name)]
    if row.reason:
        said.append(f"Reason: {row.reason}")
    if row.details.get("code"):
        said.append(f"Code {row.details['code']}")
    if row.details.get("value_on"):
        said.append(f"Value date {row.details['value_on']}, calendar {row.details.get('calendar', '')}")
    return Step(icon=icon, tone=tone, title=title, text=". ".join(part.rstrip(".") for part in said), at=row.at)


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """One order that was given to the bank."""

    number: int
    end_to_end_id: str
    word: str
    code: str
    reference: str | None
    asked: int
    asked_again_at: datetime | None
    evidence: list[tuple[str, str]]
    at: datetime

    @classmethod
    def of(cls, row: PayoutAttempt) -> "AttemptRow":
        """Show a row."""
        return cls(
            number=row.number,
            end_to_end_id=row.end_to_end_id,
            word=row.word or "started",
            code=row.code or "",
            reference=row.provider_reference,
            asked=row.asked_times,
            asked_again_at=row.next_ask_at,
            evidence=sorted(row.evidence.items()),
            at=row.begun_at,
        )


class HoldRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that stops a payout."""

    id: str
    scope: str
    reason: str
    placed_by: str
    placed_at: datetime
    expires_at: datetime | None
    amount: Money | None

    @classmethod
    def of(cls, row: PayoutHold) -> "HoldRow":
        """Show a row."""
        return cls(
            id=public_id("poh", row.id),
            scope=row.scope,
            reason=row.reason,
            placed_by=row.placed_by_name,
            placed_at=row.placed_at,
            expires_at=row.expires_at,
            amount=None if row.amount_minor is None or row.currency is None else Money(row.amount_minor, row.currency),
        )


class HoldListRow(msgspec.Struct, frozen=True, kw_only=True):
    """One hold in the list of all."""

    hold: HoldRow
    seller_id: str
    seller: str
    payout_id: str | None
    payment_id: str | None
    account_id: str | None


class HoldListPage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that stops payouts now."""

    holds: list[HoldListRow]
    next: str | None
    previous: str | None


class MoreHeldPage(msgspec.Struct, frozen=True, kw_only=True):
    """The question before payouts of a seller are held: all, a part, or those to one bank account."""

    seller_id: str
    seller: str
    account_id: str = ""
    account: str = ""
    currency: str = "EUR"

    @property
    def title(self) -> str:
        """What is held."""
        return f"Hold payouts to {self.account}" if self.account else f"Hold payouts of {self.seller}"

    @property
    def back(self) -> str:
        """Where the question was asked."""
        return f"/bank-accounts/{self.account_id}" if self.account_id else f"/sellers/{self.seller_id}"


class PayoutDetailPage(msgspec.Struct, frozen=True, kw_only=True):
    """One payout."""

    row: PayoutRow
    seller_id: str
    fee: Money
    holder: str
    bank_account_id: str
    funding: str
    end_to_end_id: str
    provider_reference: str | None
    statement_text: str
    requested_by: str
    batch_id: str | None
    parent_id: str | None
    child_id: str | None
    paid_at: datetime | None
    sent_at: datetime | None
    digest: str
    may_decide: bool
    signatures: list[Signature]
    steps: list[Step]
    attempts: list[AttemptRow]
    holds: list[HoldRow]
    covers: list[tuple[str, Money]]
    available: Money
    warnings: list[tuple[bool, str]]
    ledger: list[TransactionView] | None

    @property
    def path(self) -> str:
        """The page's address."""
        return f"/payouts/{self.row.id}"

    @property
    def status(self) -> PayoutStatus:
        """Where it stands."""
        return self.row.status

    @property
    def can_cancel(self) -> bool:
        """Whether it can be taken back."""
        return PAYOUT.can(self.status, "cancel") and self.sent_at is None

    @property
    def can_edit(self) -> bool:
        """Whether it can be changed."""
        return self.status in EDITABLE

    @property
    def can_hold(self) -> bool:
        """Whether holding it still stops it."""
        return self.can_cancel

    @property
    def can_retry(self) -> bool:
        """Whether it can be paid again."""
        return self.status in RETRYABLE and self.child_id is None

    @property
    def is_out(self) -> bool:
        """Whether the bank can be asked about it."""
        return self.status in OUT

    @property
    def is_alarming(self) -> bool:
        """Whether its outcome has been unknown for too long."""
        return self.status is PayoutStatus.UNKNOWN and self.sent_at is not None and now() - self.sent_at > ALARM_AFTER

    @property
    def can_decide(self) -> bool:
        """Whether asking is over, so that a person says what became of it."""
        last = self.attempts[0] if self.attempts else None
        is_over = last is not None and last.asked_again_at is None and now() - last.at >= PEOPLE_DECIDE_AFTER
        return self.status is PayoutStatus.UNKNOWN and is_over

    @property
    def contradiction(self) -> str | None:
        """What the bank says otherwise than a person found out."""
        return next((said for attempt in self.attempts for name, said in attempt.evidence if name == CONTRADICTED), None)

    @property
    def ledger_total(self) -> Money | None:
        """The sum of the debits, which is the sum of the credits."""
        debits = [line.debit for group in self.ledger or [] for line in group.lines if line.debit is not None]
        return total(debits, self.row.amount.currency) if debits else None


class PayoutFormPage(msgspec.Struct, frozen=True, kw_only=True):
    """The form of a new payout of one seller."""

    seller_id: str
    seller: str
    currencies: list[tuple[str, Money, str]]
    currency: str
    amount: str = ""

    @property
    def action(self) -> str:
        """Where the form goes."""
        return f"/payouts?seller={self.seller_id}&currency={self.currency}"

    @property
    def chosen(self) -> tuple[str, Money, str] | None:
        """The wallet and account of the chosen currency."""
        return next((each for each in self.currencies if each[0] == self.currency), None)


class ChooseSellerPage(msgspec.Struct, frozen=True, kw_only=True):
    """Whose money is paid out: the sellers with an account and money."""

    sellers: list[tuple[str, str, list[Money]]]
    query: str


def attempts_of(rows: Sequence[PayoutAttempt]) -> list[AttemptRow]:
    """The orders, newest first."""
    return [AttemptRow.of(row) for row in reversed(rows)]


class BatchPage(msgspec.Struct, frozen=True, kw_only=True):
    """One batch with its payouts."""

    id: str
    rail: str
    status: str
    total: Money
    payouts: int
    value_on: date
    funding: str
    digest: str | None
    created_at: datetime
    downloaded_at: datetime | None
    downloaded_by: str | None
    sent_at: datetime | None
    rows: list[PayoutRow]
    next: str | None
    previous: str | None

    @property
    def is_file(self) -> bool:
        """Whether it travels in a file."""
        return self.rail != "api"

    @property
    def path(self) -> str:
        """The page's address."""
        return f"/payouts/batches/{self.id}"
