"""What payments write into the ledger: the journals of a pay-in, filled in from a payment and posted under the event they explain."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import today
from app.core.ids import CaptureId, MerchantId, PaymentId, RefundId, SellerId, public_id
from app.core.money import Money
from app.ledger import service as ledger
from app.ledger.domain import Kind, Line, Owner, Posting, inverse, journals
from app.payments.domain import Share
from app.payments.instructions.domain import is_given_back
from app.payments.models import Payment, PaymentAttempt, PaymentOperation
from app.wallets import service as wallets
from app.wallets.service import SELLER, Taken

CONNECTION = "connection"
"""How the ledger knows the owner of what a PSP owes us."""


def _psp(payment: Payment) -> Owner:
    return Owner(CONNECTION, payment.connection_id)


def _seller(seller_id: UUID) -> Owner:
    return Owner(SELLER, seller_id)


def _buyer(payment: Payment) -> Owner:
    """How the ledger knows whose money it is that came back from a refund, or was taken and not asked for."""
    return Owner("payment", payment.id)


def _key(payment: Payment) -> str:
    return public_id("pay", payment.id)


Entry = tuple[Kind, str, list[Line]]


def postings_of(actor: Actor, payment: Payment, entries: Sequence[Entry]) -> list[Posting]:
    """Entries of a payment as the ledger takes them."""
    return [
        Posting(
            kind=kind,
            source_type="payment",
            source_id=payment.id,
            event_key=event_key,
            effective_on=today(),
            lines=lines,
            description=payment.order_reference,
            actor=actor,
        )
        for kind, event_key, lines in entries
    ]


async def post(session: AsyncSession, actor: Actor, payment: Payment, *entries: Entry) -> None:
    """All postings of one step in one call, so that balances are locked in one order."""
    await ledger.post(session, merchant_id=MerchantId(payment.merchant_id), postings=postings_of(actor, payment, entries))


def authorised(payment: Payment) -> Entry:
    """The bank promised the amount; it may do so again after a promise that we believed to be over."""
    event_key = f"auth:{payment.updated_at.isoformat()}" if payment.authorised_minor else "auth"
    return Kind.AUTHORISED, event_key, journals.authorise(payment=_key(payment), amount=Money(payment.amount_minor, payment.currency))


def released(payment: Payment, *, amount: Money, how: str) -> Entry:
    """The promise, or what is left of it, ended unused: ``how`` is void, or expired with the moment until which it stood."""
    lines = journals.release_authorisation(payment=_key(payment), amount=amount)
    return Kind.AUTHORISATION_RELEASED, f"auth:{how}", lines


def capture_entries(
    actor: Actor, *, payment: Payment, capture_id: CaptureId, shares: Sequence[Share], released: Money, psp_fee: Money | None
) -> list[Posting]:
    """The PSP collected the amount: each seller's part goes to its wallet, the fees to the platform and the PSP."""
    key, currency = public_id("cap", capture_id), payment.currency
    parts = [
        journals.Share(
            journals.wallet_pending(_seller(share.seller_id)), Money(share.amount_minor, currency), Money(share.fee_minor, currency)
        )
        for share in shares
    ]
    entries = [
        (Kind.CAPTURED, f"capture:{key}", journals.capture(payment=_key(payment), psp=_psp(payment), shares=parts, released=released))
    ]
    if psp_fee is not None and psp_fee.is_positive:
        fee = journals.psp_fee(payment=_key(payment), psp=_psp(payment), fee=psp_fee)
        entries.append((Kind.PSP_FEE, f"pspfee:{key}", fee))
    return postings_of(actor, payment, entries)


async def request_refund(
    session: AsyncSession, actor: Actor, *, payment: Payment, refund_id: RefundId, shares: Sequence[Share]
) -> dict[str, dict[str, object]]:
    """Set the sellers' money for a refund aside; returns from where it was taken, so that a failed refund puts it back there."""
    taken: dict[SellerId, Taken] = {}
    for share in sorted(shares, key=lambda share: share.seller_id):
        taken[share.seller_id] = await wallets.take_for_refund(
            session,
            merchant_id=MerchantId(payment.merchant_id),
            payment_id=PaymentId(payment.id),
            seller_id=share.seller_id,
            amount=Money(share.net_minor, payment.currency),
        )
    await post(session, actor, payment, refund_requested(payment, refund_id, shares, taken))
    return {str(seller_id): msgspec.to_builtins(part) for seller_id, part in taken.items()}


def refund_requested(payment: Payment, refund_id: RefundId, shares: Sequence[Share], taken: Mapping[SellerId, Taken]) -> Entry:
    """The sellers' money for a refund is set aside, from where it was found."""
    key = public_id("ref", refund_id)
    return Kind.REFUND_REQUESTED, f"refund:{key}:requested", _refund_lines(payment, key, shares, taken)


def taken_of(split: Mapping[str, Mapping[str, object]]) -> dict[SellerId, Taken]:
    """From where a refund took the sellers' money, as it was kept with the refund."""
    return {SellerId(UUID(seller)): msgspec.convert(part, Taken) for seller, part in split.items()}


def _refund_lines(payment: Payment, key: str, shares: Sequence[Share], taken: Mapping[SellerId, Taken]) -> list[Line]:
    parts = []
    for share in shares:
        parts += _refund_parts(share, taken[share.seller_id], payment.currency)
    return journals.request_refund(refund=key, psp=_psp(payment), parts=parts)


def _refund_parts(share: Share, taken: Taken, currency: str) -> list[journals.RefundPart]:
    """A seller's share as the ledger wants it: the pending part, and the available part which carries the fee and any debt."""
    nothing, seller = Money.zero(currency), _seller(share.seller_id)
    pending, rest = Money(taken.pending_minor, currency), share.amount_minor - taken.pending_minor
    parts = [journals.RefundPart(journals.wallet_pending(seller), pending, nothing, nothing)] if pending.is_positive else []
    if rest:
        fee, debt = Money(share.fee_minor, currency), Money(taken.receivable_minor, currency)
        parts.append(journals.RefundPart(journals.wallet_available(seller), Money(rest, currency), fee, debt))
    return parts


def refund_confirmed(payment: Payment, refund: PaymentOperation) -> Entry:
    """The PSP paid the buyer back."""
    key = public_id("ref", refund.id)
    lines = journals.confirm_refund(refund=key, psp=_psp(payment), amount=Money(refund.amount_minor, payment.currency))
    return Kind.REFUND_CONFIRMED, f"refund:{key}:confirmed", lines


async def fail_refund(session: AsyncSession, actor: Actor, *, payment: Payment, refund: PaymentOperation, was_confirmed: bool) -> None:
    """A refund did not reach the buyer. Before it was confirmed everybody gets back what was taken; afterwards the money waits for the buyer."""
    key, amount = public_id("ref", refund.id), Money(refund.amount_minor, payment.currency)
    unasked = is_given_back(refund.split)
    if was_confirmed:
        lines = journals.return_refund(refund=key, psp=_psp(payment), customer=_buyer(payment), amount=amount)
        kind = Kind.CONFLICT_RETURNED if unasked else Kind.REFUND_RETURNED
        await post(session, actor, payment, (kind, f"refund:{key}:returned", lines))
        return
    if unasked:
        _, _, lines = give_back_requested(payment, RefundId(refund.id), amount)
        await post(session, actor, payment, (Kind.REFUND_FAILED, f"refund:{key}:failed", inverse(lines)))
        return
    shares = shares_of(refund)
    before = taken_of(refund.split["taken"])
    back = {}
    for seller_id in sorted(before):
        back[seller_id] = await wallets.give_back(
            session,
            merchant_id=MerchantId(payment.merchant_id),
            seller_id=seller_id,
            currency=payment.currency,
            taken=before[seller_id],
        )
    lines = inverse(_refund_lines(payment, key, shares, back))
    await post(session, actor, payment, (Kind.REFUND_FAILED, f"refund:{key}:failed", lines))


def taken_unasked(payment: Payment, attempt: PaymentAttempt, *, amount: Money, fee: Money | None) -> list[Entry]:
    """The PSP took another amount than was asked for: it owes us that, and we owe it the buyer."""
    key, lines = (
        public_id("att", attempt.id),
        journals.take_unasked(payment=_key(payment), psp=_psp(payment), customer=_buyer(payment), amount=amount),
    )
    entries = [(Kind.CONFLICT_TAKEN, f"conflict:{key}", lines)]
    if fee is not None and fee.is_positive:
        entries.append((Kind.PSP_FEE, f"pspfee:{key}", journals.psp_fee(payment=_key(payment), psp=_psp(payment), fee=fee)))
    return entries


def give_back_requested(payment: Payment, refund_id: RefundId, amount: Money) -> Entry:
    """What was taken and not asked for is on its way back to the buyer."""
    key = public_id("ref", refund_id)
    lines = journals.give_back(payment=_key(payment), refund=key, psp=_psp(payment), customer=_buyer(payment), amount=amount)
    return Kind.REFUND_REQUESTED, f"refund:{key}:requested", lines


def given_back(payment: Payment, refund: PaymentOperation) -> Entry:
    """The PSP paid back what was taken and not asked for."""
    _, event_key, lines = refund_confirmed(payment, refund)
    return Kind.CONFLICT_GIVEN_BACK, event_key, lines


def given_back_elsewhere(payment: Payment, refund: PaymentOperation) -> Entry:
    """The buyer got it back by another way than the refund that failed: at the PSP, by hand."""
    key, amount = public_id("ref", refund.id), Money(refund.amount_minor, payment.currency)
    lines = journals.give_back_elsewhere(payment=_key(payment), refund=key, psp=_psp(payment), customer=_buyer(payment), amount=amount)
    return Kind.CONFLICT_GIVEN_BACK, f"refund:{key}:elsewhere", lines


def shares_of(operation: PaymentOperation) -> list[Share]:
    """What the operation moves for each seller, as decided when it was asked for."""
    return msgspec.convert(operation.split["shares"], list[Share])
