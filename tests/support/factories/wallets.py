"""Wallets for tests, filled as in life: by captures, and by days that pass."""

from datetime import date, timedelta
from uuid import UUID

from app.core.clock import today, travel
from app.core.db import unit_of_work
from app.core.ids import MerchantId, SellerId, new_id
from app.core.money import Money
from app.ledger import service as ledger
from app.ledger.domain import AccountRef, Code, Kind, Owner, Posting, credit, debit, journals
from app.wallets import flows


async def book(merchant_id: MerchantId, seller_id: SellerId, minors: list[int], *, currency: str = "EUR", on: date | None = None) -> None:
    """Entries on a seller's available account: more where the number is above zero, less where it is below."""
    bank = AccountRef(Code.BANK_SAFEGUARDED, "bank", UUID(int=1))
    wallet = journals.wallet_available(Owner("seller", seller_id))
    for minor in minors:
        amount = Money(abs(minor), currency)
        lines = [debit(bank, amount), credit(wallet, amount)] if minor > 0 else [debit(wallet, amount), credit(bank, amount)]
        posting = Posting(
            kind=Kind.ADJUSTED,
            source_type="test",
            source_id=new_id(),
            event_key="test",
            effective_on=on or today(),
            lines=lines,
            description="A test",
        )
        async with unit_of_work(merchant_id) as session:
            await ledger.post(session, merchant_id=merchant_id, postings=[posting])


async def let_days_pass(days: int = 3) -> int:
    """Release what becomes available within so many days; returns how many releases."""
    with travel(timedelta(days=days)):
        return await flows.release_due()
