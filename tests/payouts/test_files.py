"""Bank files: what a bank reads in them is what was ordered, and the same batch is the same file."""

import csv
import io
import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import Connection
from sepaxml.validation import try_valid_xml

from app.core.db import unit_of_work
from app.core.ids import new_id
from app.core.money import Money
from app.payouts import flows
from app.payouts.domain import FundingAccountInvalid, PayoutBatchId, PayoutId, PayoutIsStale, PayoutStatus, Rail, end_to_end_id
from app.payouts.domain.files import BankFile, Debtor, nacha, pain_001, plain_csv
from app.payouts.domain.port import BankAnswer, BankOrder, BankWord
from app.payouts.service import batches, policies, records, requests
from app.sellers.domain.bank_accounts import BankAccountInvalid, BankAccountKind
from tests.payouts.conftest import Books
from tests.support.factories.bank_accounts import ABA, GERMAN, US_NUMBER, make_account
from tests.support.factories.payouts import Till
from tests.support.factories.wallets import book

AT, ON = datetime(2026, 11, 20, 9, 30, tzinfo=UTC), date(2026, 11, 23)
OURS = Debtor(name="Halden & Rowe GmbH", number="FR1420041010050500013M02606", bic="PSSTFRPPXXX")
NS = {"p": "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"}
NAMES = st.text(min_size=1, max_size=90).filter(lambda text: "\x00" not in text)


def order(minor: int = 12_345, *, name: str = "Anna Berg", currency: str = "EUR", text: str = "", number: str = GERMAN) -> BankOrder:
    routing = ABA if currency == "USD" else ""
    return BankOrder(
        end_to_end_id=end_to_end_id(PayoutId(new_id())),
        amount=Money(minor, currency),
        creditor_name=name,
        account_kind="iban",
        number=number,
        routing=routing,
        text=text,
    )


class TestPain:
    @settings(max_examples=12)  # reading the schema takes most of the time
    @given(st.lists(st.tuples(st.integers(1, 99_999_999_999), NAMES, NAMES), min_size=1, max_size=6))
    def test_any_name_and_text_gives_a_valid_file_with_the_right_sums(self, wanted: list[tuple[int, str, str]]) -> None:
        orders = [order(minor, name=name, text=text) for minor, name, text in wanted]
        body = pain_001(reference="BT1", debtor=OURS, orders=orders, value_on=ON, created_at=AT)
        try_valid_xml(body, "pain.001.001.09")
        root = ET.fromstring(body)
        assert root.findtext(".//p:GrpHdr/p:NbOfTxs", namespaces=NS) == str(len(orders))
        assert root.findtext(".//p:GrpHdr/p:CtrlSum", namespaces=NS) == Money(sum(minor for minor, *_ in wanted), "EUR").decimal()
        assert [node.text for node in root.iterfind(".//p:EndToEndId", NS)] == [each.end_to_end_id for each in orders]
        assert root.findtext(".//p:ReqdExctnDt/p:Dt", namespaces=NS) == "2026-11-23"

    def test_the_same_batch_is_the_same_file(self) -> None:
        orders = [order()]
        first, second = (pain_001(reference="BT1", debtor=OURS, orders=orders, value_on=ON, created_at=AT) for _ in range(2))
        assert first == second and b"<MsgId>BT1</MsgId>" in first and b"2026-11-20T09:30:00" in first


class TestNacha:
    @given(st.lists(st.tuples(st.integers(1, 9_999_999_999), NAMES), min_size=1, max_size=12))
    def test_every_line_has_its_width_and_the_controls_add_up(self, wanted: list[tuple[int, str]]) -> None:
        orders = [order(minor, name=name, currency="USD", number=US_NUMBER) for minor, name in wanted]
        debtor = Debtor(name="Halden & Rowe", number="987654321", routing=ABA, company_id="1234567890")
        lines = nacha(debtor=debtor, orders=orders, value_on=ON, created_at=AT).decode("ascii").splitlines()
        assert {len(line) for line in lines} == {94} and len(lines) % 10 == 0
        entries = [line for line in lines if line[0] == "6"]
        assert [int(line[29:39]) for line in entries] == [minor for minor, _ in wanted]
        assert [line[3:83].strip() for line in lines if line[0] == "7"] == [each.end_to_end_id for each in orders]
        control = next(line for line in lines if line.startswith("8220"))
        assert int(control[4:10]) == 2 * len(orders) and int(control[10:20]) == sum(int(line[3:11]) for line in entries) % 10**10
        assert int(control[32:44]) == sum(minor for minor, _ in wanted)
        last = next(line for line in lines if line[0] == "9")
        assert (int(last[1:7]), int(last[7:13]) * 10, int(last[43:55])) == (1, len(lines), int(control[32:44]))

    def test_an_amount_too_large_for_the_format_is_refused(self) -> None:
        with pytest.raises(FundingAccountInvalid):
            nacha(debtor=OURS, orders=[order(10**10, currency="USD", number="1")], value_on=ON, created_at=AT)


def test_a_name_is_no_formula_in_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(plain_csv(orders=[order(name="=HYPERLINK(1)")], value_on=ON).decode())))
    assert rows[0]["creditor"] == "'=HYPERLINK(1)" and (rows[0]["amount"], rows[0]["value_date"]) == ("123.45", "2026-11-23")


async def pay_by(till: Till, rail: Rail, currency: str = "EUR", **own: str) -> None:
    account = policies.OwnAccount(**{"holder_name": "Halden & Rowe GmbH", "number": OURS.number, **own})
    async with unit_of_work(till.merchant_id) as session:
        await policies.add_funding_account(
            session, till.actor, name="File", currency=currency, rail=rail, own=account, calendar="WEEKDAYS", cutoff="23:59"
        )


async def download(till: Till, batch_id: PayoutBatchId) -> BankFile:
    async with unit_of_work(till.merchant_id) as session:
        return await batches.download_batch(session, till.actor, batch_id=batch_id)


class TestBatch:
    async def test_a_file_counts_as_sent_with_its_first_download_and_is_the_same_again(
        self, till: Till, books: Books, superuser: Connection
    ) -> None:
        await pay_by(till, Rail.SEPA)
        payouts = [await till.approved(1_000), await till.approved(2_000)]
        assert await flows.send_due() == 0
        batch_id = PayoutBatchId(superuser.execute("select id from payout_batch").fetchone()[0])  # type: ignore[index]
        assert superuser.execute("select status, payouts, total_minor from payout_batch").fetchone() == ("ready", 2, 3_000)
        async with unit_of_work(till.merchant_id) as session:
            with pytest.raises(PayoutIsStale):
                await batches.hand_in(session, till.actor, batch_id=batch_id)
        file = await download(till, batch_id)
        assert b"DE89370400440532013000" in file.body and file.name.endswith(".xml")
        assert books()[("2150", "")] == -3_000
        assert {await till.status(payout) for payout in payouts} == {PayoutStatus.SENDING}
        assert await download(till, batch_id) == file
        assert books()[("2150", "")] == -3_000
        async with unit_of_work(till.merchant_id) as session:
            await batches.hand_in(session, till.actor, batch_id=batch_id)
        assert {await till.status(payout) for payout in payouts} == {PayoutStatus.SUBMITTED}
        assert await flows.send_due() == 0 and await flows.ask_due() == 0 and till.bank.sent == []

    async def test_what_a_statement_says_is_recorded_by_the_orders_name(self, till: Till, books: Books, superuser: Connection) -> None:
        await pay_by(till, Rail.SEPA)
        payout = await till.approved(1_000)
        await flows.send_due()
        batch_id = PayoutBatchId(superuser.execute("select id from payout_batch").fetchone()[0])  # type: ignore[index]
        await download(till, batch_id)
        async with unit_of_work(till.merchant_id) as session:
            paid = BankAnswer(word=BankWord.PAID, amount=Money(1_000, "EUR"))
            found = await records.record_by_order(
                session, till.actor, merchant_id=till.merchant_id, end_to_end_id=payout.end_to_end_id, answer=paid
            )
            stranger = await records.record_by_order(session, till.actor, merchant_id=till.merchant_id, end_to_end_id="POX", answer=paid)
        assert found is not None and found.status == PayoutStatus.PAID and stranger is None
        assert books()[("1201", "")] == 99_000

    async def test_our_own_number_is_sealed(self, till: Till, superuser: Connection) -> None:
        await pay_by(till, Rail.SEPA)
        kept = superuser.execute("select string_agg(row_to_json(f)::text, '') from funding_account f").fetchone()
        assert kept is not None and OURS.number not in kept[0] and "2606" in kept[0]

    async def test_dollars_by_ach(self, till: Till, superuser: Connection) -> None:
        await pay_by(till, Rail.ACH, "USD", number="987654321", routing=ABA, company_id="1234567890")
        await make_account(till.actor, till.shop.bert, kind=BankAccountKind.US, number=US_NUMBER, routing=ABA, currency="USD")
        await book(till.merchant_id, till.shop.bert, [5_000], currency="USD")
        async with unit_of_work(till.merchant_id) as session:
            payout = await requests.request_payout(session, till.actor, seller_id=till.shop.bert, amount=Money(5_000, "USD"))
        await till.approve(payout)
        await flows.send_due()
        file = await download(till, PayoutBatchId(superuser.execute("select id from payout_batch").fetchone()[0]))  # type: ignore[index]
        assert file.body.startswith(b"101 021000021") and payout.end_to_end_id.encode() in file.body

    @pytest.mark.parametrize(
        ("rail", "currency", "own"),
        [
            (Rail.SEPA, "USD", {}),
            (Rail.SEPA, "EUR", {"number": "DE00"}),
            (Rail.SEPA, "EUR", {"holder_name": ""}),
            (Rail.ACH, "USD", {"number": "987654321", "routing": ABA}),
            (Rail.API, "EUR", {}),
        ],
    )
    async def test_an_account_that_does_not_fit_its_rail_is_refused(
        self, till: Till, rail: Rail, currency: str, own: dict[str, str]
    ) -> None:
        with pytest.raises((FundingAccountInvalid, BankAccountInvalid)):
            await pay_by(till, rail, currency, **own)
