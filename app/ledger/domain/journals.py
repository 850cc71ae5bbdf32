"""The journals: which lines each event of a pay-in writes. Pure; every journal balances in each currency.

The event key to post each under is part of the journal's contract and stands in its docstring: it is what makes the event count once.
"""

from collections.abc import Sequence

import msgspec

from app.core.money import MalformedAmount, Money
from app.ledger.domain import AccountRef, Code, Line, Owner, credit, debit, inverse, sum_of, without_zeroes

AUTHORISED = AccountRef(Code.AUTHORISED)
AUTHORISED_CONTRA = AccountRef(Code.AUTHORISED_CONTRA)
PLATFORM_FEE = AccountRef(Code.PLATFORM_FEE)
PSP_FEE = AccountRef(Code.PSP_FEE)
BASIS_POINTS = 10_000


class Share(msgspec.Struct, frozen=True):
    """One part of a capture: who it is for, how much, and the platform fee taken from it. Tax goes to its own account without a fee."""

    account: AccountRef
    amount: Money
    fee: Money

    @property
    def net(self) -> Money:
        """What the account receives."""
        return self.amount - self.fee


class RefundPart(msgspec.Struct, frozen=True):
    """What one share gives back. ``account`` is the account it is taken from now: pending before availability, available after it."""

    account: AccountRef
    amount: Money
    fee_returned: Money
    shortfall: Money
    """How much of it the account cannot cover, to be owed by the same owner instead (1300); nothing when the policy refuses that."""


class Undone(msgspec.Struct, frozen=True):
    """What earlier refunds took from one share."""

    amount: Money
    fee: Money


def wallet_pending(seller: Owner) -> AccountRef:
    """Where a seller's captured money waits."""
    return seller.account(Code.SELLER_PENDING)


def wallet_available(seller: Owner) -> AccountRef:
    """Where a seller's money can be paid out from."""
    return seller.account(Code.SELLER_AVAILABLE)


def authorise(*, payment: str, amount: Money) -> list[Line]:
    """The bank promised the amount: a memo, no money moved. Key ``auth``, or ``auth:<moment>`` when it promised again."""
    return without_zeroes([debit(AUTHORISED, amount, payment), credit(AUTHORISED_CONTRA, amount)])


def release_authorisation(*, payment: str, amount: Money) -> list[Line]:
    """The promise ended unused, by void or expiry. Key ``auth:void`` or ``auth:expired:<moment>``."""
    return inverse(authorise(payment=payment, amount=amount))


def capture(*, payment: str, psp: Owner, shares: Sequence[Share], released: Money) -> list[Line]:
    """The PSP collected the shares' sum for us. ``released`` is the part of the promise this uses up. Key ``capture:<id>``."""
    amount = sum_of((share.amount for share in shares), released)
    fees = sum_of((share.fee for share in shares), released)
    if any(share.fee.is_negative or share.fee > share.amount for share in shares):
        raise MalformedAmount("A platform fee lies between nothing and the whole of its share.")
    promise = release_authorisation(payment=payment, amount=released) if released.is_positive else []
    taken = [
        debit(psp.account(Code.PSP_RECEIVABLE), amount, payment),
        *(credit(s.account, s.net) for s in shares),
        credit(PLATFORM_FEE, fees),
    ]
    return without_zeroes([*taken, *promise])


def psp_fee(*, payment: str, psp: Owner, fee: Money, charged: Sequence[tuple[AccountRef, Money]] = ()) -> list[Line]:
    """The PSP keeps its fee from what it owes us: our expense, or taken from the named accounts in these parts. Key ``pspfee:<line>``."""
    passed = [debit(account, part) for account, part in charged]
    absorbed = fee - sum_of((part for _, part in charged), fee)
    return without_zeroes([*passed, debit(PSP_FEE, absorbed), credit(psp.account(Code.PSP_RECEIVABLE), fee, payment)])


def platform_fee(*, seller: Owner, fee: Money) -> list[Line]:
    """A platform fee charged apart from the capture. Key ``platformfee:<id>``."""
    return without_zeroes([debit(wallet_pending(seller), fee), credit(PLATFORM_FEE, fee)])


def become_available(*, seller: Owner, amount: Money, reserve_bps: int = 0, reserve: str | None = None) -> list[Line]:
    """The waiting time is over: pending money can be paid out, less a rolling reserve if one is agreed. Key ``available:<capture>``."""
    kept = amount.percent(reserve_bps)
    return without_zeroes(
        [
            debit(wallet_pending(seller), amount),
            credit(wallet_available(seller), amount - kept),
            credit(seller.account(Code.SELLER_RESERVE), kept, reserve),
        ]
    )


def hold_reserve(*, seller: Owner, amount: Money, reserve: str) -> list[Line]:
    """Keep part of the available money back. Key ``reserve:<id>``; released by the inverse under ``reserve:<id>:released``."""
    return without_zeroes([debit(wallet_available(seller), amount), credit(seller.account(Code.SELLER_RESERVE), amount, reserve)])


def release_reserve(*, seller: Owner, amount: Money, reserve: str) -> list[Line]:
    """Give a kept-back part free again. Key ``reserve:<id>:released``."""
    return inverse(hold_reserve(seller=seller, amount=amount, reserve=reserve))


def fee_returned(*, share: Share, refunded: Money, returned: Money) -> Money:
    """The fee to give back now that ``refunded`` in all has been refunded of the share and ``returned`` of its fee went back before.

    Rounding the cumulative figure makes partial refunds return exactly the whole fee in the end.
    """
    if share.amount.is_zero:
        return Money.zero(share.fee.currency)
    return share.fee.portion(refunded.minor, share.amount.minor) - returned


def unwind(plan: Sequence[Share], undone: Sequence[Undone], amount: Money, *, return_fees: bool = True) -> list[RefundPart]:
    """Spread a refund over the shares by what is left of each, so that no share gives back more than it got and the parts sum exactly."""
    left = [share.amount - before.amount for share, before in zip(plan, undone, strict=True)]
    if not amount.is_positive or amount > sum_of(left, amount):
        raise MalformedAmount(f"At most {sum_of(left, amount).decimal()} {amount.currency} can be refunded.")
    nothing = Money.zero(amount.currency)
    parts = []
    for share, before, part in zip(plan, undone, amount.allocate([rest.minor for rest in left]), strict=True):
        fee = fee_returned(share=share, refunded=before.amount + part, returned=before.fee) if return_fees else nothing
        parts.append(RefundPart(share.account, part, fee, nothing))
    return [part for part in parts if not part.amount.is_zero]


def request_refund(*, refund: str, psp: Owner, parts: Sequence[RefundPart]) -> list[Line]:
    """A refund is on its way: the sellers and our fee give it back. Key ``refund:<id>:requested``."""
    like = parts[0].amount
    taken = []
    for part in parts:
        owed = AccountRef(Code.SELLER_RECEIVABLE, part.account.owner_type, part.account.owner_id)
        taken += [debit(part.account, part.amount - part.fee_returned - part.shortfall), debit(owed, part.shortfall)]
    fees = sum_of((part.fee_returned for part in parts), like)
    whole = sum_of((part.amount for part in parts), like)
    return without_zeroes([*taken, debit(PLATFORM_FEE, fees), credit(psp.account(Code.REFUND_IN_TRANSIT), whole, refund)])


def recover_debt(*, seller: Owner, amount: Money) -> list[Line]:
    """What a seller owes is taken from what became available. Key ``debt:<id>``."""
    return [debit(wallet_available(seller), amount), credit(seller.account(Code.SELLER_RECEIVABLE), amount)]


def write_off_debt(*, seller: Owner, amount: Money) -> list[Line]:
    """What a seller owes and will not repay is the platform's loss; undone by the inverse when the debt turns out to be none. Key ``writeoff:<id>``."""
    return [debit(AccountRef(Code.BAD_DEBT), amount), credit(seller.account(Code.SELLER_RECEIVABLE), amount)]


def confirm_refund(*, refund: str, psp: Owner, amount: Money) -> list[Line]:
    """The PSP paid the buyer back; it owes us that much less. Key ``refund:<id>:confirmed``."""
    return without_zeroes(
        [debit(psp.account(Code.REFUND_IN_TRANSIT), amount, refund), credit(psp.account(Code.PSP_RECEIVABLE), amount, refund)]
    )


def fail_refund(*, refund: str, psp: Owner, parts: Sequence[RefundPart]) -> list[Line]:
    """The refund failed before it was confirmed: everybody gets back what was taken. Key ``refund:<id>:failed``."""
    return inverse(request_refund(refund=refund, psp=psp, parts=parts))


def return_refund(*, refund: str, psp: Owner, customer: Owner, amount: Money) -> list[Line]:
    """A confirmed refund came back: the money is still the buyer's, until it is paid another way. Key ``refund:<id>:returned``."""
    parked = [debit(psp.account(Code.REFUND_IN_TRANSIT), amount, refund), credit(customer.account(Code.REFUND_UNCLAIMED), amount, refund)]
    return [*inverse(confirm_refund(refund=refund, psp=psp, amount=amount)), *without_zeroes(parked)]


def take_unasked(*, payment: str, psp: Owner, customer: Owner, amount: Money) -> list[Line]:
    """The PSP took another amount than was asked for: it owes us that, and it is the buyer's. Key ``conflict:<attempt>``."""
    return [debit(psp.account(Code.PSP_RECEIVABLE), amount, payment), credit(customer.account(Code.REFUND_UNCLAIMED), amount, payment)]


def give_back(*, payment: str, refund: str, psp: Owner, customer: Owner, amount: Money) -> list[Line]:
    """What is the buyer's is on its way back; undone by the inverse when that fails. Key ``refund:<id>:requested``."""
    return [debit(customer.account(Code.REFUND_UNCLAIMED), amount, payment), credit(psp.account(Code.REFUND_IN_TRANSIT), amount, refund)]


def give_back_elsewhere(*, payment: str, refund: str, psp: Owner, customer: Owner, amount: Money) -> list[Line]:
    """The PSP gave the buyer what is theirs without being asked by us. Key ``refund:<id>:elsewhere``."""
    return [debit(customer.account(Code.REFUND_UNCLAIMED), amount, payment), credit(psp.account(Code.PSP_RECEIVABLE), amount, refund)]


def report_settlement(*, batch: str, psp: Owner, lines: Sequence[tuple[str, Money]]) -> list[Line]:
    """The PSP settles a batch: each line clears what it pays (positive) or takes back (negative). Key ``batch:<id>``."""
    receivable = psp.account(Code.PSP_RECEIVABLE)
    cleared = [signed(receivable, -amount, key) for key, amount in lines]
    whole = sum_of((amount for _, amount in lines), lines[0][1])
    return without_zeroes([signed(psp.account(Code.SETTLEMENT_IN_TRANSIT), whole, batch), *cleared])


def receive_settlement(*, batch: str, psp: Owner, bank: Owner, amount: Money) -> list[Line]:
    """The batch's money reached the bank, or left it when negative. Key ``bank:<statement line>``."""
    return without_zeroes(
        [signed(bank.account(Code.BANK_SAFEGUARDED), amount), signed(psp.account(Code.SETTLEMENT_IN_TRANSIT), -amount, batch)]
    )


def signed(account: AccountRef, amount: Money, clear_key: str | None = None) -> Line:
    """A debit for a positive amount, a credit for a negative one."""
    return credit(account, -amount, clear_key) if amount.is_negative else debit(account, amount, clear_key)
