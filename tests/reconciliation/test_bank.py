"""What bank statements settle: payouts that left, that came back, and what the bank did that nobody asked for."""

import random
from datetime import timedelta

import msgspec
import psycopg
import pytest
import pytest_asyncio

from app.core.clock import now, travel
from app.core.db import unit_of_work
from app.core.ids import public_id
from app.core.money import Money
from app.payouts import flows, queries
from app.payouts.domain import FundingAccountId, PayoutStatus, Rail
from app.payouts.domain.port import BankWord
from app.payouts.models import Payout
from app.payouts.service import policies, records, sending
from app.reconciliation.breaks import service as breaks
from app.reconciliation.domain.breaks import Policy, ResolutionImpossible
from app.reconciliation.domain.journals import Target
from app.reconciliation.domain.lines import LineKind
from app.reconciliation.invariants import service as invariants
from tests.reconciliation.conftest import Desk, line_of, open_desk, settlement
from tests.reconciliation.files import camt053, lines_of
from tests.support.console import soup
from tests.support.factories.payouts import ScriptedBank, Till, open_till, says, scripted
from tests.support.shop import Shop
from tests.support.web import Browser

P = PayoutStatus


class Entry(msgspec.Struct, frozen=True):
    """A line of a statement: what it names, how much, and the reason when it is a return."""

    names: str
    minor: int
    reason: str = ""
    code: str = ""


def statement(*entries: Entry, number: int = 1, opening: int = 0) -> bytes:
    """A statement of today."""
    content = camt053([entry.minor for entry in entries], number=number, opening=opening).decode()
    for i, entry in enumerate(entries):
        returned = f"<RtrInf><Rsn><Cd>{entry.reason}</Cd></Rsn></RtrInf>" if entry.reason else ""
        content = content.replace(f"<RmtInf><Ustrd>batch set_{i}<", f"{returned}<RmtInf><Ustrd>{entry.names}<")
        if entry.code:
            family = f"<BkTxCd><Domn><Cd>ACMT</Cd><Fmly><Cd>MDOP</Cd><SubFmlyCd>{entry.code}</SubFmlyCd></Fmly></Domn></BkTxCd>"
            content = content.replace(
                f"<AcctSvcrRef>BANK{number}-{i}</AcctSvcrRef>", f"<AcctSvcrRef>BANK{number}-{i}</AcctSvcrRef>{family}"
            )
    return content.replace("2026-03-03", now().date().isoformat()).encode()


class Counter(msgspec.Struct, kw_only=True):
    """A desk whose bank account is the one payouts are made from."""

    desk: Desk
    till: Till

    async def sent(self, *amounts: int) -> list[Payout]:
        """Payouts the bank has taken."""
        made = [await self.till.approved(minor) for minor in amounts]
        await flows.send_due()
        return [await self.till.read(payout) for payout in made]

    async def booked(self, *entries: Entry, number: int = 1, opening: int = 0) -> None:
        """The bank's statement came and was compared."""
        await self.desk.hand_in(statement(*entries, number=number, opening=opening), to=self.desk.bank)
        await self.desk.compare()

    def at_bank(self) -> int:
        """What the books have on the account; the wallets that the test filled were filled elsewhere."""
        (found,) = self.desk.query(
            "select coalesce(sum(e.side * e.amount), 0)::bigint from ledger.entry e join ledger.account a on a.merchant_id = e.merchant_id"
            " and a.id = e.account_id join funding_account f on f.merchant_id = a.merchant_id and f.id = a.owner_id where a.code = '1201'"
        )
        return int(str(found[0]))

    async def holds(self) -> bool:
        """Whether every invariant does."""
        async with unit_of_work(self.till.merchant_id) as session:
            proof = await invariants.check(session, self.till.actor)
        assert [(outcome.name, outcome.violations) for outcome in proof.invariants if not outcome.holds] == []
        return True


@pytest_asyncio.fixture
async def counter(database: object, shop: Shop, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Anna can be paid, and the statement of the account she is paid from comes here."""
    bank = ScriptedBank()
    for module in (sending, policies):
        monkeypatch.setattr(module, "RAILS", scripted(bank))
    till = await open_till(shop, bank)
    async with unit_of_work(shop.merchant_id) as session:
        funding = await queries.funding_in_use(session, merchant_id=shop.merchant_id, currency="EUR")
    return Counter(desk=await open_desk(shop, superuser, funding_id=FundingAccountId(funding.id)), till=till)


@pytest.fixture(autouse=True)
def a_weekday() -> object:
    """It is noon on a bank day, whenever the tests run."""
    moment = now().replace(hour=12, minute=0)
    while moment.weekday() >= 5:
        moment += timedelta(days=1)
    with travel(moment):
        yield


async def test_credits_of_the_provider_and_payouts_meet_in_one_balance(counter: Counter) -> None:
    desk = counter.desk
    (taken,) = await desk.take(10_000)
    await desk.hand_in(settlement([line_of(taken)]))
    (payout,) = await counter.sent(5_000)
    await counter.booked(Entry("set_1", 9_970), Entry(payout.end_to_end_id, -5_000))
    assert await counter.till.status(payout) == P.PAID
    assert (counter.at_bank(), desk.balance("2150"), desk.left_over(), desk.breaks()) == (4_970, 0, {}, [])
    assert await counter.holds()


async def test_a_debit_without_any_word_of_the_bank_pays_and_a_return_parks(counter: Counter) -> None:
    (payout,) = await counter.sent(5_000)
    assert payout.status == P.SUBMITTED
    await counter.booked(Entry(payout.end_to_end_id, -5_000))
    await counter.booked(Entry(payout.end_to_end_id, 5_000, reason="AC04"), number=2, opening=-5_000)
    back = await counter.till.read(payout)
    assert (back.status, back.failure_code) == (P.RETURNED, "AC04")
    desk = counter.desk
    assert (counter.at_bank(), desk.balance("2150"), desk.balance("2180"), desk.breaks()) == (0, 0, -5_000, [])
    kept = desk.query(
        "select b.kind, b.status, r.action, t.kind from recon_break b join recon_resolution r on r.break_id = b.id join ledger.txn t on t.id = r.transaction_id"
    )
    assert kept == [("payout_returned", "resolved", "settle", "payout.returned")]
    (found,) = desk.query("select id from recon_break")
    async with unit_of_work(desk.shop.merchant_id) as session:
        with pytest.raises(ResolutionImpossible, match="A rule settled this"):
            await breaks.reopen(session, desk.shop.actor, break_id=found[0], reason="")  # type: ignore[arg-type]
    assert await counter.holds()


@pytest.mark.parametrize("seed", range(2))
async def test_late_twice_and_out_of_order_end_the_same(counter: Counter, seed: int) -> None:
    """A return before its debit, a debit long after the bank's own word, every file twice, runs in between."""
    paid, back, told = await counter.sent(5_000, 6_000, 7_000)
    async with unit_of_work(counter.till.merchant_id) as session:
        answer = says(BankWord.PAID)
        await records.record_by_order(
            session, counter.till.actor, merchant_id=counter.till.merchant_id, end_to_end_id=told.end_to_end_id, answer=answer
        )
    desk, dice = counter.desk, random.Random(seed)
    files = [
        statement(Entry(paid.end_to_end_id, -5_000), number=1),
        statement(Entry(back.end_to_end_id, -6_000), number=2, opening=-5_000),
        statement(Entry(back.end_to_end_id, 6_000, reason="AC04"), number=3, opening=-11_000),
        statement(Entry(told.end_to_end_id, -7_000), number=4, opening=-5_000),
    ] * 2
    dice.shuffle(files)
    for content in files:
        await desk.hand_in(content, to=desk.bank)
        if dice.random() < 0.5:
            await desk.compare()
    await desk.compare()
    assert [await counter.till.status(payout) for payout in (paid, back, told)] == [P.PAID, P.RETURNED, P.PAID]
    assert (counter.at_bank(), desk.balance("2150"), desk.balance("2180"), desk.left_over(), desk.breaks()) == (-12_000, 0, -6_000, {}, [])
    assert desk.query("select rule, count(*)::int from recon_match where undone_at is null group by 1") == [("P2", 4)]
    assert await counter.holds()


async def test_two_debits_of_one_payout_are_a_violation(counter: Counter) -> None:
    first, second = await counter.sent(5_000, 6_000)
    await counter.booked(Entry(first.end_to_end_id, -5_000), Entry(second.end_to_end_id, -6_000))
    line = counter.desk.item("BANK1-0")
    counter.desk.superuser.execute("insert into recon_item_payout select merchant_id, %s, id from payout where id = %s", [line, second.id])
    async with unit_of_work(counter.till.merchant_id) as session:
        proof = await invariants.check(session, counter.till.actor)
    (found,) = [outcome for outcome in proof.invariants if outcome.name.startswith("I8")]
    assert [violation.subject for violation in found.violations] == [str(second.id)]


async def test_a_lost_answer_is_found_on_the_statement(counter: Counter) -> None:
    counter.till.bank.answers("send", says(BankWord.UNKNOWN))
    (payout,) = await counter.sent(5_000)
    assert payout.status == P.UNKNOWN
    # the name travels in the text, broken over lines as MT940 does
    broken = f"SVWZ+ PAYOUT EREF+{payout.end_to_end_id[:14]} {payout.end_to_end_id[14:]}"
    await counter.booked(Entry(broken, -5_000))
    assert await counter.till.status(payout) == P.PAID


async def test_what_the_bank_does_otherwise_is_a_break_of_its_kind(counter: Counter) -> None:
    once, short, refused = await counter.sent(5_000, 6_000, 7_000)
    async with unit_of_work(counter.till.merchant_id) as session:
        answer = says(BankWord.REFUSED, code="AC01")
        await records.record_by_order(
            session, counter.till.actor, merchant_id=counter.till.merchant_id, end_to_end_id=refused.end_to_end_id, answer=answer
        )
    await counter.booked(
        Entry(once.end_to_end_id, -5_000),
        Entry(once.end_to_end_id, -5_000),
        Entry(short.end_to_end_id, -5_900),
        Entry(refused.end_to_end_id, -7_000),
        Entry("QUARTERLY", -900, code="CHRG"),
        Entry("YEARLY", -90_000, code="CHRG"),
        Entry("NOBODY", -123),
    )
    desk = counter.desk
    assert [await counter.till.status(payout) for payout in (once, short, refused)] == [P.PAID, P.SUBMITTED, P.FAILED]
    assert [(kind, minor) for kind, _, minor in desk.breaks()] == [
        ("amount", 100),
        ("bank_unidentified", -123),
        ("duplicate_bank", -5_000),
        ("fee", -90_000),
        ("status", -7_000),
    ]
    # every line is in the bank's account, whatever is open; the fee within its cap is booked by its template
    assert (counter.at_bank(), desk.balance("5140"), desk.balance("1900")) == (-113_923, 900, 5_000 + 5_900 + 7_000 + 90_000 + 123)
    (kept,) = desk.query("select count(*)::int from payout_history where kind = 'bank.contradicted'")
    assert kept == (1,)
    assert await counter.holds()
    (found,) = desk.query("select id from recon_break where kind = 'fee'")
    async with unit_of_work(desk.shop.merchant_id) as session:
        parts = {Target.BANK_FEE: Money(90_000, "EUR")}
        alone = Policy(write_off_alone_minor=90_000)
        await breaks.adjust(session, desk.shop.actor, break_id=found[0], parts=parts, reason="Yearly", policy=alone)  # type: ignore[arg-type]
    assert (desk.balance("5140"), desk.balance("1900")) == (90_900, 18_023)


async def test_one_debit_for_a_whole_file(counter: Counter) -> None:
    """SEPA banks book a file as one debit that names the file."""
    first, second = await counter.sent(5_000, 6_000)
    (batch,) = counter.desk.query("select distinct batch_id from payout where id in (%s, %s)", first.id, second.id)
    name = "BT" + public_id("pob", batch[0]).removeprefix("pob_").upper()  # type: ignore[arg-type]
    await counter.booked(Entry(name, -11_000))
    assert [await counter.till.status(payout) for payout in (first, second)] == [P.PAID, P.PAID]
    assert counter.desk.query("select rule from recon_match where leg = 'payout'") == [("P4",)]
    assert await counter.holds()


async def test_a_payout_that_no_statement_has_is_missing_at_the_bank(counter: Counter) -> None:
    (payout,) = await counter.sent(5_000)
    await counter.booked(Entry("NOBODY", -1))
    async with unit_of_work(counter.till.merchant_id) as session:
        await records.record_by_order(
            session,
            counter.till.actor,
            merchant_id=counter.till.merchant_id,
            end_to_end_id=payout.end_to_end_id,
            answer=says(BankWord.PAID),
        )
    await counter.desk.compare()
    assert await counter.holds()  # it is on its way
    assert [kind for kind, *_ in counter.desk.breaks()] == ["bank_unidentified"]
    with travel(timedelta(days=9)):
        await counter.desk.compare()
    assert ("missing_in_bank", payout.end_to_end_id, 5_000) in counter.desk.breaks()
    with travel(timedelta(days=10)):
        await counter.booked(Entry(payout.end_to_end_id, -5_000), number=2, opening=-1)
    assert [kind for kind, *_ in counter.desk.breaks()] == ["bank_unidentified"]


@pytest.mark.parametrize("code", ["CHRG", "COMM"])
def test_the_banks_own_charges_are_known_by_their_code(code: str) -> None:
    kinds = [line.kind for line in lines_of("camt053", statement(Entry("A", -900, code=code), Entry("B", -5), Entry("C", 7, code=code)))]
    assert kinds == [LineKind.FEE, LineKind.BANK_ENTRY, LineKind.BANK_ENTRY]


async def test_a_source_is_pointed_at_the_account_payouts_are_made_from(owner: Browser, shop: Shop, superuser: psycopg.Connection) -> None:
    async with unit_of_work(shop.merchant_id) as session:
        own = policies.OwnAccount(holder_name="Halden", number="FR1420041010050500013M02606")
        funding = await policies.add_funding_account(session, shop.actor, name="House bank", currency="EUR", rail=Rail.SEPA, own=own)
    page = soup(await owner.get("/reconciliation/sources/new"))
    (option,) = [option["value"] for option in page.select("select[name=bank] option") if "House bank, EUR" in option.get_text()]
    form = {"name": "Statements", "format": "camt053", "bank": option, "time_zone": "Europe/Berlin", "file_days": "1"}
    wrong = await owner.post("/reconciliation/sources", form | {"time_zone": "Mars/Olympus"})
    assert wrong.status_code == 422 and "Europe/Berlin" in wrong.text
    assert (await owner.post("/reconciliation/sources", form)).status_code == 303
    assert superuser.execute("select funding_account_id, time_zone, file_days::int from recon_source").fetchone() == (
        funding.id,
        "Europe/Berlin",
        1,
    )
    await owner.get("/reconciliation/sources/new")
    again = await owner.post("/reconciliation/sources", form | {"name": "Statements again"})
    assert again.status_code == 409 and "has a source already" in again.text
