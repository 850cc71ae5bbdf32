"""What a file cannot carry is refused when it is asked for: found out at the download it would keep back everybody else in the file."""

import pytest
from psycopg import Connection

from app.core.db import unit_of_work
from app.core.money import Money
from app.payouts import flows
from app.payouts.domain import (
    DestinationNotUsable,
    FundingAccountInvalid,
    PayoutId,
    PayoutStatus,
    PayoutTooLarge,
    Rail,
)
from app.payouts.domain.approvals import Limits
from app.payouts.domain.files import Debtor, nacha
from app.payouts.domain.port import BankWord
from app.payouts.models import Payout
from app.payouts.service import policies, requests
from app.sellers.domain.bank_accounts import BankAccountKind
from tests.payouts.conftest import Books
from tests.payouts.test_files import AT, ON, order, pay_by
from tests.support.factories.bank_accounts import ABA, FRENCH, GERMAN, US_NUMBER, make_account
from tests.support.factories.payouts import Till, says
from tests.support.factories.wallets import book

OWN = {"number": "987654321", "routing": ABA, "company_id": "1234567890"}


async def ask(till: Till, minor: int, currency: str) -> Payout:
    async with unit_of_work(till.merchant_id) as session:
        return await requests.request_payout(session, till.actor, seller_id=till.shop.bert, amount=Money(minor, currency))


class TestAch:
    async def test_an_iban_in_dollars_is_not_reached_by_ach(self, till: Till) -> None:
        await pay_by(till, Rail.ACH, "USD", **OWN)
        await make_account(till.actor, till.shop.bert, number=GERMAN, currency="USD")
        await book(till.merchant_id, till.shop.bert, [5_000], currency="USD")
        with pytest.raises(DestinationNotUsable, match="US accounts only"):
            await ask(till, 5_000, "USD")

    async def test_more_than_an_entry_holds(self, till: Till) -> None:
        await pay_by(till, Rail.ACH, "USD", **OWN)
        await make_account(till.actor, till.shop.bert, kind=BankAccountKind.US, number=US_NUMBER, routing=ABA, currency="USD")
        await book(till.merchant_id, till.shop.bert, [10**10], currency="USD")
        with pytest.raises(PayoutTooLarge, match=r"99,999,999\.99"):
            await ask(till, 10**10, "USD")
        payout = await ask(till, 10**10 - 1, "USD")
        async with unit_of_work(till.merchant_id) as session:
            wanted = Money(10**10, "USD")
            with pytest.raises(PayoutTooLarge):
                await requests.edit_payout(session, till.actor, payout_id=PayoutId(payout.id), amount=wanted, statement_text="")

    def test_a_batch_that_holds_one_all_the_same_says_so(self) -> None:
        debtor = Debtor(name="Halden & Rowe", number="987654321", routing=ABA, company_id="1234567890")
        with pytest.raises(FundingAccountInvalid, match="ABA routing number"):
            nacha(debtor=debtor, orders=[order(currency="EUR")], value_on=ON, created_at=AT)

    @pytest.mark.parametrize("company_id", ["Größe", "12345\t", ""])
    async def test_a_company_id_is_of_letters_the_file_knows(self, till: Till, company_id: str) -> None:
        with pytest.raises(FundingAccountInvalid) as refused:
            await pay_by(till, Rail.ACH, "USD", **(OWN | {"company_id": company_id}))
        assert "company_id" in refused.value.fields


async def test_a_transfer_in_euros_is_at_most_what_sepa_takes(till: Till) -> None:
    await pay_by(till, Rail.SEPA)
    await make_account(till.actor, till.shop.bert, number=FRENCH)
    await book(till.merchant_id, till.shop.bert, [10**12])
    with pytest.raises(PayoutTooLarge):
        await ask(till, 10**11, "EUR")
    assert (await ask(till, 10**11 - 1, "EUR")).status == PayoutStatus.PENDING_APPROVAL


async def test_the_zone_of_a_cut_off_exists(till: Till) -> None:
    async with unit_of_work(till.merchant_id) as session:
        with pytest.raises(FundingAccountInvalid) as refused:
            await policies.add_funding_account(
                session, till.actor, name="File", currency="EUR", rail=Rail.CSV, timezone="Mars/Base",
                own=policies.OwnAccount(holder_name="Halden"),
            )  # fmt: skip
    assert "timezone" in refused.value.fields


async def test_what_came_back_is_paid_again_where_the_wallet_has_nothing_for_another_fee(
    till: Till, books: Books, superuser: Connection
) -> None:
    async with unit_of_work(till.merchant_id) as session:
        await policies.set_limits(session, till.actor, currency="EUR", limits=Limits(fee_minor=25))
    till.bank.answers("send", says(BankWord.RETURNED, code="AC04"))
    old = await till.approved(99_975)
    await flows.send_due()
    assert books()[("2180", "anna")] == -99_975 and ("2110", "anna") not in books()
    await make_account(till.actor, till.shop.anna, number=FRENCH)
    async with unit_of_work(till.merchant_id) as session:
        fresh = await requests.retry_payout(session, till.actor, payout_id=PayoutId(old.id))
    assert (fresh.amount_minor, fresh.fee_minor) == (99_950, 25)
    assert books()[("2140", "anna")] == -99_975 and ("2180", "anna") not in books()
