"""The journals of payouts: which lines each step from a wallet to a bank account writes. Pure; every journal balances.

The event key to post each under is part of the journal's contract and stands in its docstring: it is what makes the event count once.
"""

from app.core.money import Money
from app.ledger.domain import AccountRef, Code, Line, Owner, credit, debit, inverse, without_zeroes
from app.ledger.domain.journals import wallet_available

PAYOUT_FEE = AccountRef(Code.PAYOUT_FEE)


def request_payout(*, payout: str, seller: Owner, reserved: Money) -> list[Line]:
    """The seller's available money is set aside; the database refuses more than there is. Key ``payout:<id>:requested``."""
    return without_zeroes([debit(wallet_available(seller), reserved), credit(seller.account(Code.PAYOUT_RESERVED), reserved, payout)])


def release_payout(*, payout: str, seller: Owner, reserved: Money) -> list[Line]:
    """The payout ended before the bank heard of it. Key ``payout:<id>:released``."""
    return inverse(request_payout(payout=payout, seller=seller, reserved=reserved))


def send_payout(*, payout: str, seller: Owner, rail: Owner, amount: Money, fee: Money) -> list[Line]:
    """The order is about to leave: posted before the bank is called. Our fee is earned with it. Key ``payout:<id>:sent``."""
    return without_zeroes(
        [
            debit(seller.account(Code.PAYOUT_RESERVED), amount + fee, payout),
            credit(rail.account(Code.PAYOUT_IN_TRANSIT), amount, payout),
            credit(PAYOUT_FEE, fee),
        ]
    )


def pay_payout(*, payout: str, rail: Owner, bank: Owner, amount: Money) -> list[Line]:
    """The money left our bank account. Key ``payout:<id>:paid``."""
    return without_zeroes(
        [debit(rail.account(Code.PAYOUT_IN_TRANSIT), amount, payout), credit(bank.account(Code.BANK_SAFEGUARDED), amount)]
    )


def fail_payout(*, payout: str, seller: Owner, rail: Owner, amount: Money, fee: Money) -> list[Line]:
    """The bank refused the order before it moved anything: the seller has it again, and our fee with it. Key ``payout:<id>:failed``."""
    return without_zeroes(
        [
            debit(rail.account(Code.PAYOUT_IN_TRANSIT), amount, payout),
            debit(PAYOUT_FEE, fee),
            credit(wallet_available(seller), amount + fee),
        ]
    )


def return_payout(*, payout: str, seller: Owner, rail: Owner, bank: Owner, amount: Money) -> list[Line]:
    """The seller's bank sent the money back; it is parked until the bank details are put right. Key ``payout:<id>:returned``."""
    in_transit = rail.account(Code.PAYOUT_IN_TRANSIT)
    return [
        debit(bank.account(Code.BANK_SAFEGUARDED), amount),
        credit(in_transit, amount, payout),
        debit(in_transit, amount, payout),
        credit(seller.account(Code.PAYOUT_RETURNED), amount),
    ]


def free_returned(*, seller: Owner, amount: Money) -> list[Line]:
    """The bank details were put right: parked money is the seller's to pay out again. Key ``payout:<id>:freed``."""
    return without_zeroes([debit(seller.account(Code.PAYOUT_RETURNED), amount), credit(wallet_available(seller), amount)])
