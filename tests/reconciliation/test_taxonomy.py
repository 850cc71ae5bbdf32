"""Kinds of breaks that are about more than one item and another: days, rates, reserves, files that did not come."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest

from app.core.clock import now, travel
from app.core.db import unit_of_work
from app.core.ids import public_id
from app.core.money import Money
from app.psp.domain import Outcome, ProviderStatus, Result
from app.reconciliation import flows
from app.reconciliation.domain.breaks import SLA_DAYS, BreakKind, SourceInvalid
from app.reconciliation.invariants import service as invariants
from app.reconciliation.sources import service as sources
from tests.reconciliation.conftest import Desk, SettlementLine, line_of, settlement
from tests.reconciliation.files import ADYEN, rows
from tests.support.shop import ok


async def holds(desk: Desk) -> bool:
    async with unit_of_work(desk.shop.merchant_id) as session:
        proof = await invariants.check(session, desk.shop.actor)
    assert [(outcome.name, outcome.violations) for outcome in proof.invariants if not outcome.holds] == []
    return True


def test_every_kind_has_its_days() -> None:
    assert set(SLA_DAYS) == set(BreakKind)


async def test_money_inside_its_window_waits_without_an_alarm(desk: Desk) -> None:
    await desk.take(10_000)
    for days, expected in ((0, []), (3, []), (6, ["missing_in_psp"])):
        with travel(timedelta(days=days)):
            run = await desk.compare()
            assert [kind for kind, *_ in desk.breaks()] == expected
            assert run.sums["EUR"]["waiting"] == (0 if expected else 10_000)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_what_a_provider_keeps_back_is_its_reserve(desk: Desk, order: tuple[int, int]) -> None:
    """The hold and its release come in two files, in any order; no break, and the reserve comes back to nothing."""
    first, second = await desk.take(10_000, 20_000)
    hold = SettlementLine(id="hold", gross=-1_000, type="reserve_hold", payment="hold")
    release = msgspec.structs.replace(hold, id="release", gross=1_000, type="reserve_release")
    files = [settlement([line_of(first), hold], batch="set_1"), settlement([line_of(second), release], batch="set_2")]
    for place in order:
        await desk.hand_in(files[place])
        await desk.compare()
        assert await holds(desk)
    assert (desk.balance("1120"), desk.balance("1900"), desk.breaks()) == (0, 0, [])
    await desk.hand_in(settlement([msgspec.structs.replace(release, id="more", gross=300)], batch="set_3"))
    await desk.compare()
    assert desk.breaks() == [("amount", "Reserve", 300)]


@pytest.mark.parametrize(("time_zone", "expected"), [("America/New_York", "resolved"), ("UTC", "open")])
async def test_a_month_that_ends_elsewhere_is_no_difference(desk: Desk, time_zone: str, expected: str) -> None:
    """Paid just after midnight here, and still on the last day of the month where the provider counts."""
    desk.superuser.execute("update recon_source set time_zone = %s where id = %s", [time_zone, desk.psp.id])
    moment = datetime(2026, 10, 1, 1, 30, tzinfo=UTC)
    with travel(moment):
        (taken,) = await desk.take(10_000)
        there = moment.astimezone(ZoneInfo("America/New_York")).date().isoformat()
        await desk.hand_in(settlement([line_of(taken)], day=there))
        await desk.compare()
        # the ledger's moments are those of the database, which does not travel
        desk.superuser.execute("update recon_item set happened_at = %s where side = 'ledger'", [moment])
        for _ in range(2):
            await desk.compare()
        found = desk.query("select kind, status, due_on::text from recon_break")
        assert found == [("cutoff", expected, "2026-10-02")]
        assert await holds(desk)


async def test_a_rate_inside_the_band_is_booked_and_one_outside_is_a_break(desk: Desk) -> None:
    desk.superuser.execute("update recon_source set format = 'adyen' where id = %s", [desk.psp.id])
    desk.psp.format = "adyen"
    rates = {"PSP1": 9_000, "PSP2": 9_010, "PSP3": 9_050, "PSP4": 9_500}
    records: list[dict[str, object]] = [
        {
            "Merchant Account": "Shop", "Psp Reference": name, "Merchant Reference": name, "Creation Date": "2026-03-02 10:00:00", "TimeZone": "CET",
            "Type": "Settled", "Modification Reference": f"M{name}", "Gross Currency": "USD", "Gross Credit (GC)": "100.00",
            "Exchange Rate": f"{minor / 10_000:.4f}", "Net Currency": "EUR", "Net Credit (NC)": f"{minor / 100:.2f}", "Markup (NC)": "0.00", "Batch Number": "7",
        }
        for name, minor in rates.items()
    ]  # fmt: skip
    whole = sum(rates.values())
    records.append({"Type": "MerchantPayout", "Net Currency": "EUR", "Net Debit (NC)": f"{whole / 100:.2f}", "Batch Number": "7"})
    file = await desk.hand_in(rows(ADYEN, *records))
    assert file.status == "imported", file.reason
    await desk.compare()
    assert [found for found in desk.breaks() if found[0] == "fx"] == [("fx", "PSP4", 490)]
    # usual is 0.901: one brought 10 cents less, one 40 more
    assert (desk.balance("5200"), desk.balance("4210")) == (10, -40)
    assert await holds(desk)
    # without the third, nothing is known of what is usual for it: only the change is booked
    desk.superuser.execute("update recon_item set batch_ref = 'alone' where ext_id = 'MPSP3'")
    await desk.compare()
    assert (desk.balance("5200"), desk.balance("4210")) == (10, 0)


async def test_a_file_that_should_have_come_is_missed_until_it_comes(desk: Desk) -> None:
    desk.superuser.execute("update recon_source set file_days = 1 where id = %s", [desk.psp.id])
    monday = now() + timedelta(days=7 - now().weekday())
    with travel(monday):
        await desk.hand_in(settlement([], batch="set_1"))
    with travel(monday + timedelta(days=1)):
        await desk.compare()
        assert desk.breaks() == []
    with travel(monday + timedelta(days=2)):
        await desk.compare()
        assert desk.breaks() == [("file_missing", "Simulator", 0)]
        await desk.hand_in(settlement([], batch="set_2"))
        await desk.compare()
        assert desk.breaks() == []


async def test_a_time_zone_is_one_there_is(desk: Desk) -> None:
    async with unit_of_work(desk.shop.merchant_id) as session:
        with pytest.raises(SourceInvalid):
            await sources.add_source(session, desk.shop.actor, name="Mars", format="camt053", time_zone="Mars/Olympus")


async def test_a_lost_answer_is_asked_for_when_the_file_has_the_payment(desk: Desk) -> None:
    """The provider charged and its answer was lost: its file knows, so it is asked by our reference, and the books follow."""
    shop = desk.shop
    shop.psp.answers("authorise", Result(outcome=Outcome.UNKNOWN, code="read_timeout"))
    await shop.pay(await shop.order(anna=10_000, bert=0))
    (attempt,) = desk.query("select id from payment_attempt")
    reference = public_id("att", attempt[0])  # type: ignore[arg-type]
    await desk.hand_in(settlement([SettlementLine(id="st_1", gross=10_000, fee=30, payment="sim_1", reference=reference)]))
    await desk.compare()
    assert [kind for kind, *_ in desk.breaks()] == ["missing_in_ledger"]
    captured = ok(ProviderStatus.CAPTURED, amount=Money(10_000, "EUR"), fee=Money(30, "EUR"))
    shop.psp.answers("lookup", msgspec.structs.replace(captured, provider_reference="sim_1"))
    await flows.compare_one(shop.merchant_id)
    assert (desk.breaks(), desk.left_over()) == ([], {("1210", f"batch:{desk.psp.id}:set_1/EUR"): 9_970})
    assert await holds(desk)


async def test_the_same_capture_twice_in_the_books(desk: Desk) -> None:
    (first,) = await desk.take(10_000)
    desk.count -= 1  # the next payment carries the same reference of the provider
    await desk.take(10_000)
    await desk.hand_in(settlement([line_of(first)]))
    with travel(timedelta(days=6)):
        await desk.compare()
    assert ("duplicate_ledger", first.reference, -10_000) in desk.breaks()


async def test_the_first_telling_of_a_line_counts(desk: Desk) -> None:
    (taken,) = await desk.take(10_000)
    await desk.hand_in(settlement([line_of(taken)]))
    await desk.hand_in(settlement([line_of(taken, gross=10_100)]))
    await desk.compare()
    assert [(kind, minor) for kind, _, minor in desk.breaks()] == [("restated", -100), ("restated", 100)]
    assert desk.query("select gross_minor::int from recon_item where ext_id = %s", f"st_{taken.reference}") == [(10_000,)]


async def test_a_line_that_contradicts_itself_is_kept_for_a_person(desk: Desk) -> None:
    (taken,) = await desk.take(10_000)
    wrong = settlement([line_of(taken)]).replace(b",10000,30,9970", b",10000,30,9971").replace(b"-9970,0,-9970", b"-9971,0,-9971")
    file = await desk.hand_in(wrong)
    assert (file.status, file.problems) == ("imported", 1)
    assert [kind for kind, *_ in desk.breaks()] == ["unreadable"]


async def test_another_currency_than_was_asked_for(desk: Desk) -> None:
    (taken,) = await desk.take(10_000)
    await desk.hand_in(settlement([line_of(taken)]).replace(b",EUR,", b",USD,"))
    await desk.compare()
    assert ("currency", taken.reference, 10_000) in desk.breaks()
