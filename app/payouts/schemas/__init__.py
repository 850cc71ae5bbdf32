"""What crosses the edge about payouts."""

from datetime import date, datetime
from typing import Annotated

import msgspec

from app.core.errors import Invalid
from app.core.ids import PaymentId, SellerId, parse_id, public_id
from app.core.money import CurrencyMismatch, Money
from app.payouts.domain import PayoutStatus, PolicyInvalid, Source, Verdict
from app.payouts.models import Payout
from app.sellers.domain.bank_accounts import BankAccountKind, Destination

Text = Annotated[str, msgspec.Meta(max_length=140)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Key = Annotated[str, msgspec.Meta(max_length=200)]
Digest = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


def minor_in(currency: str, amount: Money, field: str) -> int:
    """An amount of a form in minor units; one in another currency than the form is about would be another amount, and is refused."""
    if amount.currency != currency:
        detail = f"Enter an amount in {currency}."
        raise CurrencyMismatch(detail, fields={field: detail})
    return amount.minor


class PayoutRequestBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A payout as an API client requests it."""

    seller: Annotated[str, msgspec.Meta(min_length=5, max_length=40)]
    amount: Money
    text: Text = ""

    def seller_id(self) -> SellerId:
        """The seller whose money it is."""
        return SellerId(parse_id("sel", self.seller))


class CancelBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why a payout is taken back."""

    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""


class PayoutForm(msgspec.Struct, kw_only=True):
    """A payout as a person requests it; the currency is the amount's."""

    amount: Money
    statement_text: Text = ""
    idempotency_key: Key = ""


class EditForm(msgspec.Struct, kw_only=True):
    """What may be changed about a payout that is not approved in full."""

    amount: Money
    statement_text: Text = ""


class DecisionForm(msgspec.Struct, kw_only=True):
    """A yes to exactly what was shown."""

    digest: Digest
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""


class RejectForm(msgspec.Struct, kw_only=True):
    """A no, and why."""

    digest: Digest
    reason: Reason


class ReasonForm(msgspec.Struct, kw_only=True):
    """Why something is stopped or let go on."""

    reason: Reason


class DecideForm(msgspec.Struct, kw_only=True):
    """What a person found out about a payout that the bank never settled."""

    verdict: Verdict
    reason: Annotated[str, msgspec.Meta(min_length=10, max_length=200)]
    reference: Annotated[str, msgspec.Meta(max_length=100)] = ""


class HoldForm(msgspec.Struct, kw_only=True):
    """Why a payout is held, and until when; without a day, until somebody releases it."""

    reason: Reason
    expires_on: date | None = None


class PartHoldForm(HoldForm, kw_only=True):
    """Why a seller's payouts are held: all of them, or an amount, or what a payment brought."""

    amount: Money | None = None
    payment: Annotated[str, msgspec.Meta(max_length=40)] = ""

    def payment_id(self) -> PaymentId | None:
        """The payment, if one is named."""
        if not self.payment.strip():
            return None
        try:
            return PaymentId(parse_id("pay", self.payment.strip()))
        except Invalid as error:
            raise PolicyInvalid("There is no such payment.", fields={"payment": "Copy the payment’s ID; it begins with pay_."}) from error


class BulkForm(msgspec.Struct, kw_only=True):
    """Several payouts, each with the hash of what was shown: ``po_…:digest``."""

    payout: Annotated[list[Annotated[str, msgspec.Meta(max_length=120)]], msgspec.Meta(min_length=1, max_length=50)]


class PayoutView(msgspec.Struct, kw_only=True):
    """A payout as the API shows it."""

    id: str
    seller: str
    amount: Money
    fee: Money
    status: PayoutStatus
    source: Source
    bank_account: str
    account_last4: str
    end_to_end_id: str
    text: str
    approvals_required: int
    value_on: date | None
    failure_code: str | None
    failure_message: str | None
    parent: str | None
    created_at: datetime
    sent_at: datetime | None
    paid_at: datetime | None

    @classmethod
    def of(cls, row: Payout, last4: str) -> "PayoutView":
        """Show a row."""
        return cls(
            id=public_id("po", row.id),
            seller=public_id("sel", row.seller_id),
            amount=Money(row.amount_minor, row.currency),
            fee=Money(row.fee_minor, row.currency),
            status=PayoutStatus(row.status),
            source=Source(row.source),
            bank_account=public_id("ba", row.bank_account_id),
            account_last4=last4,
            end_to_end_id=row.end_to_end_id,
            text=row.statement_text,
            approvals_required=row.approvals_required,
            value_on=row.value_on,
            failure_code=row.failure_code,
            failure_message=row.failure_message,
            parent=public_id("po", row.parent_id) if row.parent_id else None,
            created_at=row.created_at,
            sent_at=row.sent_at,
            paid_at=row.paid_at,
        )


def masked(account: Destination) -> str:
    """An account number as far as it may be shown."""
    start = account.country if account.kind is BankAccountKind.IBAN else account.routing
    return f"{start} •••• {account.last4}"


def bank_of(account: Destination) -> str:
    """The bank by its name, else by its code, else by its country."""
    return account.bank_name or account.bic or account.country
