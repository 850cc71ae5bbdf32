"""Sellers' bank accounts: what is typed is checked, what is stored is sealed, and nobody alone changes where money goes."""

from datetime import timedelta

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import Connection

from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import public_id
from app.core.state import IllegalTransition
from app.sellers.domain.bank_accounts import (
    BankAccountId,
    BankAccountInvalid,
    BankAccountIsStale,
    BankAccountKind,
    BankAccountNeedsSecondPerson,
    BankAccountProposalOpen,
    VerifiedBy,
    read_details,
)
from app.sellers.models import BankAccount
from app.sellers.queries import bank_accounts as queries
from app.sellers.service import bank_accounts as service
from app.tenancy.domain import Role
from tests.support.console import OpenAs, rows, soup, words
from tests.support.factories.bank_accounts import ABA, FRENCH, GERMAN, SORT_CODE, UK_NUMBER, US_NUMBER, propose, somebody
from tests.support.factories.tenancy import Tenant
from tests.support.shop import Shop
from tests.support.web import Browser

IBAN, US, UK = BankAccountKind.IBAN, BankAccountKind.US, BankAccountKind.UK
VALID = [(IBAN, GERMAN, "", "EUR"), (IBAN, FRENCH, "", "EUR"), (US, US_NUMBER, ABA, "USD"), (UK, UK_NUMBER, SORT_CODE, "GBP")]


class TestDetails:
    def test_spaces_and_case_make_no_difference(self) -> None:
        typed = read_details(IBAN, number="de89 3704 0044 0532 0130 00", routing="cobadeff xxx", currency="EUR")
        assert (typed.number, typed.country, typed.last4, typed.bic) == (GERMAN, "DE", "3000", "COBADEFFXXX")
        assert typed.canonical == read_details(IBAN, number=GERMAN, routing="", currency="EUR").canonical
        assert read_details(UK, number="8290 008", routing="20-04-15", currency="GBP").number == "08290008"

    def test_the_bank_is_found_by_the_iban(self) -> None:
        found = read_details(IBAN, number=GERMAN, routing="", currency="EUR")
        assert found.bic.startswith("COBADEFF") and "Commerzbank" in found.bank_name

    @given(st.sampled_from(VALID), st.data())
    def test_one_wrong_digit_of_an_iban_or_routing_number_is_always_found(
        self, account: tuple[BankAccountKind, str, str, str], data: st.DataObject
    ) -> None:
        kind, number, routing, currency = account
        text = number if kind is IBAN else routing
        places = [i for i, letter in enumerate(text) if letter.isdigit()]
        place = data.draw(st.sampled_from(places))
        digit = data.draw(st.sampled_from([d for d in "0123456789" if d != text[place]]))
        wrong = text[:place] + digit + text[place + 1 :]
        if kind is UK:
            return  # sort codes carry no check digit
        with pytest.raises(BankAccountInvalid) as refused:
            read_details(kind, number=wrong if kind is IBAN else number, routing=routing if kind is IBAN else wrong, currency=currency)
        assert refused.value.fields

    @pytest.mark.parametrize(
        ("kind", "number", "routing", "currency", "field"),
        [
            (IBAN, "nonsense", "", "EUR", "number"),
            (IBAN, GERMAN, "COBA", "EUR", "routing"),
            (IBAN, GERMAN, "BNPAFRPPXXX", "EUR", "routing"),
            (US, "12", ABA, "USD", "number"),
            (US, US_NUMBER, ABA, "EUR", "currency"),
            (UK, UK_NUMBER, "2004", "GBP", "routing"),
            (UK, UK_NUMBER, SORT_CODE, "EUR", "currency"),
        ],
    )
    def test_what_is_wrong_is_said_at_its_field(self, kind: BankAccountKind, number: str, routing: str, currency: str, field: str) -> None:
        with pytest.raises(BankAccountInvalid) as refused:
            read_details(kind, number=number, routing=routing, currency=currency)
        assert set(refused.value.fields) == {field}


async def approve(shop: Shop, account: BankAccount, digest: str | None = None, verified_by: VerifiedBy | None = None) -> BankAccount:
    async with unit_of_work(shop.merchant_id) as session:
        return await service.approve_account(
            session, somebody(shop.actor), account_id=BankAccountId(account.id), digest=digest or account.digest, verified_by=verified_by
        )


class TestFourEyes:
    async def test_the_number_is_sealed_and_opens_only_in_its_place(self, shop: Shop, superuser: Connection) -> None:
        account = await propose(shop.actor, shop.anna)
        everything = superuser.execute("select row_to_json(b)::text from bank_account b").fetchone()
        assert everything is not None and GERMAN not in everything[0] and "0532013000" not in everything[0]
        assert queries.number_of(account) == GERMAN
        assert (
            GERMAN
            not in superuser.execute(
                "select string_agg(after::text || coalesce(payload::text, ''), '') from audit_entry, outbox"
            ).fetchone()[0]
        )  # type: ignore[index]

    async def test_who_proposed_cannot_approve_nor_can_the_database_be_told_so(self, shop: Shop, superuser: Connection) -> None:
        account = await propose(shop.actor, shop.anna)
        async with unit_of_work(shop.merchant_id) as session:
            with pytest.raises(BankAccountNeedsSecondPerson):
                await service.approve_account(session, shop.actor, account_id=BankAccountId(account.id), digest=account.digest)
        with pytest.raises(psycopg.errors.CheckViolation, match="second_person"):
            superuser.execute("update bank_account set status = 'active', approved_by = requested_by, usable_from = now()")

    async def test_what_was_not_shown_is_not_approved(self, shop: Shop) -> None:
        account = await propose(shop.actor, shop.anna)
        with pytest.raises(BankAccountIsStale):
            await approve(shop, account, digest="0" * 64)

    async def test_a_change_retires_the_present_account_tells_of_it_and_cools_off(self, shop: Shop, superuser: Connection) -> None:
        first = await approve(shop, await propose(shop.actor, shop.anna))
        with_change = await propose(shop.actor, shop.anna, number=FRENCH)
        with pytest.raises(BankAccountProposalOpen):
            await propose(shop.actor, shop.anna, number=FRENCH)
        second = await approve(shop, with_change, verified_by=VerifiedBy.CALL_BACK)
        found = dict(superuser.execute("select id, status from bank_account").fetchall())
        assert found == {first.id: "retired", second.id: "active"}
        assert second.usable_from is not None and second.usable_from - now() > timedelta(hours=23)
        assert second.verification == "verified"
        topics = [row[0] for row in superuser.execute("select topic from outbox where topic like 'seller.bank%' order by id").fetchall()]
        assert topics == [
            "seller.bank_account_proposed", "seller.bank_account_changed", "seller.bank_account_proposed",
            "seller.bank_account_retired", "seller.bank_account_changed",
        ]  # fmt: skip

    async def test_a_rejected_proposal_changes_nothing_and_is_over(self, shop: Shop, superuser: Connection) -> None:
        first = await approve(shop, await propose(shop.actor, shop.anna))
        account = await propose(shop.actor, shop.anna, number=FRENCH)
        async with unit_of_work(shop.merchant_id) as session:
            await service.reject_account(session, shop.actor, account_id=BankAccountId(account.id), reason="Mistyped")
        with pytest.raises(IllegalTransition):
            await approve(shop, account)
        assert superuser.execute("select id from bank_account where status = 'active'").fetchall() == [(first.id,)]


class TestPages:
    async def test_one_proposes_another_approves(self, owner: Browser, open_as: OpenAs, shop: Shop, superuser: Connection) -> None:
        seller = public_id("sel", shop.anna)
        form = {"kind": "iban", "currency": "EUR", "holder_name": "Anna Berg", "number": GERMAN, "routing": ""}
        wrong = await owner.post(f"/sellers/{seller}/bank-accounts", form | {"number": GERMAN[:-1] + "1"})
        assert wrong.status_code == 422 and "not a valid IBAN" in words(soup(wrong).select_one("#f-number-e"))
        assert (await owner.post(f"/sellers/{seller}/bank-accounts", form)).status_code == 303
        listed = soup(await owner.get("/bank-accounts"))
        assert "Anna's Antiques" in words(listed.select_one("#waiting")) and "•••• 3000" in words(listed.select_one("#waiting"))
        assert GERMAN not in listed.get_text()
        path = listed.select_one("#bank-account-rows a.rl")["href"]
        approver = await open_as(shop.tenant, Role.APPROVER)
        dialog = soup(await approver.get(f"{path}/approve"))
        digest = dialog.select_one("input[name=digest]")["value"]
        assert (await owner.post(f"{path}/approve", {"digest": digest})).status_code == 403
        assert (await approver.post(f"{path}/approve", {"digest": digest, "verified_by": ""})).status_code == 303
        page = await owner.get(path)
        assert "Cooling off" in page.text and "Active" in page.text
        assert (await approver.post(f"{path}/verify", {"verified_by": "call_back"})).status_code == 303
        assert "Verified" in words(soup(await owner.get(path)).select_one("main"))
        assert "•••• 3000" in words(soup(await owner.get(f"/sellers/{seller}/bank-accounts")).select_one("#seller-bank-accounts"))
        assert (await owner.post(f"{path}/withdraw", {"reason": "Closed"})).status_code == 303
        assert superuser.execute("select status, verification from bank_account").fetchall() == [("retired", "verified")]

    async def test_support_sees_no_bank_data(self, open_as: OpenAs, shop: Shop) -> None:
        await propose(shop.actor, shop.anna)
        support = await open_as(shop.tenant, Role.SUPPORT)
        assert (await support.get("/bank-accounts")).status_code == 403
        assert "bank-accounts" not in (await support.get(f"/sellers/{public_id('sel', shop.anna)}")).text

    async def test_the_list_is_filtered_and_a_strangers_is_empty(
        self, owner: Browser, open_as: OpenAs, shop: Shop, stranger: Tenant
    ) -> None:
        await propose(shop.actor, shop.anna)
        await propose(shop.actor, shop.bert, kind=US, number=US_NUMBER, routing=ABA, currency="USD")
        assert len(rows(soup(await owner.get("/bank-accounts?status=proposed")), "#bank-account-rows")) == 2
        assert "No bank accounts here" in (await owner.get("/bank-accounts?status=retired")).text
        assert "No bank accounts here" in (await (await open_as(stranger)).get("/bank-accounts")).text

    async def test_money_terms_ask_for_a_fresh_code(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        superuser.execute("update web_session set factor_at = now() - interval '2 hours'")
        form = {"kind": "iban", "currency": "EUR", "holder_name": "Anna", "number": GERMAN, "routing": ""}
        assert (await owner.post(f"/sellers/{public_id('sel', shop.anna)}/bank-accounts", form)).status_code == 403
        assert superuser.execute("select count(*) from bank_account").fetchone() == (0,)
