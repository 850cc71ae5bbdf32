"""What people do about breaks: each step moves exactly what is left over, is kept for good, and can be taken back."""

from collections.abc import Awaitable, Callable
from datetime import date
from uuid import UUID

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.db import unit_of_work
from app.core.errors import AppError
from app.core.money import Money
from app.core.state import IllegalTransition
from app.reconciliation import queries
from app.reconciliation.breaks import service as breaks
from app.reconciliation.domain.breaks import (
    NeedsSecondPerson,
    ResolutionImpossible,
    business_days_after,
    business_days_between,
    parts_text,
)
from app.reconciliation.domain.choices import subset_of
from app.reconciliation.domain.journals import Target
from app.reconciliation.models import Break
from app.tenancy.domain import Role
from tests.reconciliation.conftest import Desk, SettlementLine, line_of, settlement, statement
from tests.support.factories.tenancy import make_member


async def short(desk: Desk, by: int) -> UUID:
    """A charge the provider settled for less, as the only open break."""
    (taken,) = await desk.take(100_000)
    await desk.hand_in(settlement([line_of(taken, gross=100_000 - by)]))
    await desk.compare()
    return the_break(desk)


def the_break(desk: Desk, kind: str | None = None) -> UUID:
    (found,) = desk.query(
        "select id from recon_break where merchant_id = %s and status = 'open' and (%s::text is null or kind = %s)",
        desk.shop.merchant_id, kind, kind,
    )  # fmt: skip
    assert isinstance(found[0], UUID)
    return found[0]


async def do(desk: Desk, verb: Callable[..., Awaitable[Break]], break_id: UUID, *, who: UUID | None = None, **values: object) -> Break:
    actor = desk.shop.actor if who is None else msgspec.structs.replace(desk.shop.actor, id=who)
    async with unit_of_work(desk.shop.merchant_id) as session:
        return await verb(session, actor, break_id=break_id, **values)


def history(desk: Desk) -> list[str]:
    return [str(row[0]) for row in desk.query("select action from recon_resolution order by id")]


class TestWritingOff:
    async def test_a_small_rest_is_written_off_by_one_person(self, desk: Desk) -> None:
        found = await do(desk, breaks.write_off, await short(desk, 300), reason="Not worth the letter")
        assert found.status == "resolved"
        assert desk.balance("5900") == 300
        assert [code for code, _ in desk.left_over()] == ["1210"]
        await desk.compare()
        assert desk.breaks() == []

    async def test_a_large_rest_needs_somebody_else(self, desk: Desk) -> None:
        found = await do(desk, breaks.write_off, await short(desk, 3_000), reason="Provider insists")
        assert (found.status, desk.balance("5900")) == ("awaiting_approval", 0)
        with pytest.raises(NeedsSecondPerson):
            await do(desk, breaks.approve, found.id, seen=Money(3_000, "EUR"))
        other = await make_member(desk.shop.tenant, Role.APPROVER)
        with pytest.raises(ResolutionImpossible, match=r"€30\.00 is left over now"):
            await do(desk, breaks.approve, found.id, who=other.id, seen=Money(2_999, "EUR"))
        found = await do(desk, breaks.approve, found.id, who=other.id, seen=Money(3_000, "EUR"))
        assert (found.status, desk.balance("5900")) == ("resolved", 3_000)
        assert history(desk) == ["request", "approve"]

    async def test_a_large_rest_cannot_be_called_something_else_alone(self, desk: Desk) -> None:
        parts = {Target.CHARGEBACK_LOSS: Money(2_000, "EUR"), Target.PSP_FEE: Money(1_000, "EUR")}
        found = await do(desk, breaks.adjust, await short(desk, 3_000), parts=parts, reason="They say so")
        assert (found.status, desk.balance("5130"), desk.balance("5100")) == ("awaiting_approval", 0, 30)
        with pytest.raises(NeedsSecondPerson):
            await do(desk, breaks.approve, found.id, seen=Money(3_000, "EUR"), seen_parts=parts_text(found.requested_parts))
        other = await make_member(desk.shop.tenant, Role.APPROVER)
        with pytest.raises(ResolutionImpossible, match="Something else is being asked for"):
            await do(desk, breaks.approve, found.id, who=other.id, seen=Money(3_000, "EUR"))
        seen = {"seen": Money(3_000, "EUR"), "seen_parts": "chargeback_loss=2000,psp_fee=1000"}
        found = await do(desk, breaks.approve, found.id, who=other.id, **seen)
        assert (found.status, desk.balance("5130"), desk.balance("5100"), desk.balance("5900")) == ("resolved", 2_000, 1_030, 0)
        await do(desk, breaks.reopen, found.id, reason="They paid")
        assert desk.balance("5130") == 0
        # what is only parked where nobody can name it is no cost
        unidentified = {Target.UNIDENTIFIED: Money(3_000, "EUR")}
        assert (await do(desk, breaks.adjust, found.id, parts=unidentified, reason="Asked")).status == "resolved"

    async def test_the_database_refuses_a_sole_signature_too(self, desk: Desk, superuser: psycopg.Connection) -> None:
        found = await short(desk, 3_000)
        with pytest.raises(psycopg.errors.CheckViolation):
            superuser.execute("update recon_break set requested_by = id, approved_by = id where id = %s", [found])

    async def test_taking_it_back_reverses_what_was_written(self, desk: Desk) -> None:
        found = await short(desk, 300)
        await do(desk, breaks.write_off, found, reason="")
        await do(desk, breaks.reopen, found, reason="They paid after all")
        assert desk.balance("5900") == 0
        assert desk.breaks() == [("amount", "sim_0001", -300)]
        await do(desk, breaks.write_off, found, reason="They did not")
        assert desk.balance("5900") == 300
        assert history(desk) == ["write_off", "reopen", "write_off"]

    async def test_nothing_can_be_done_twice(self, desk: Desk) -> None:
        found = await short(desk, 300)
        await do(desk, breaks.write_off, found, reason="")
        with pytest.raises(AppError):
            await do(desk, breaks.write_off, found, reason="")
        assert desk.balance("5900") == 300

    async def test_what_is_kept_cannot_be_changed(self, desk: Desk, superuser: psycopg.Connection) -> None:
        await do(desk, breaks.claim, await short(desk, 300))
        with pytest.raises(psycopg.errors.DatabaseError, match="append"):
            superuser.execute("update recon_resolution set reason = 'nicer'")


class TestMoving:
    async def test_a_rest_is_split_over_accounts(self, desk: Desk) -> None:
        found = await short(desk, 1_000)
        parts = {Target.PSP_FEE: Money(400, "EUR"), Target.CHARGEBACK_LOSS: Money(600, "EUR")}
        with pytest.raises(ResolutionImpossible, match=r"come to €10\.00"):
            await do(desk, breaks.adjust, found, parts={Target.PSP_FEE: Money(999, "EUR")}, reason="")
        against = {Target.PSP_FEE: Money(100_000, "EUR"), Target.CHARGEBACK_LOSS: Money(-99_000, "EUR")}
        with pytest.raises(ResolutionImpossible, match="the sign of what is left over"):
            await do(desk, breaks.adjust, found, parts=against, reason="")
        fees = desk.balance("5100")
        await do(desk, breaks.adjust, found, parts=parts, reason="As they wrote")
        assert (desk.balance("5100") - fees, desk.balance("5130")) == (400, 600)
        assert history(desk) == ["split"]

    async def test_a_line_without_a_payment_is_parked_as_unidentified(self, desk: Desk) -> None:
        await desk.hand_in(settlement([SettlementLine(id="x", gross=500, payment="who")]))
        await desk.compare()
        await do(desk, breaks.adjust, the_break(desk), parts={Target.UNIDENTIFIED: Money(-500, "EUR")}, reason="Asked the PSP")
        assert desk.balance("2400") == -500
        assert desk.balance("1100") == 0


class TestTakingBack:
    async def test_what_was_booked_is_reversed_whoever_looked_after_it_since(self, desk: Desk) -> None:
        """A break that is resolved can be taken by nobody any more, so that the last word on it stays the one that booked."""
        found = await short(desk, 300)
        await do(desk, breaks.write_off, found, reason="Small")
        with pytest.raises(ResolutionImpossible):
            await do(desk, breaks.claim, found)
        await do(desk, breaks.reopen, found, reason="No")
        await do(desk, breaks.claim, found)
        assert desk.balance("5900") == 0


class TestLinking:
    async def test_two_items_of_the_same_money_are_linked_and_unlinked(self, desk: Desk) -> None:
        (taken,) = await desk.take(10_000)
        await desk.hand_in(settlement([SettlementLine(id="x", gross=10_000, fee=30, payment="renamed")]))
        await desk.compare()
        found, ledger_item = (
            the_break(desk, "missing_in_ledger"),
            desk.item(str(desk.query("select ext_id from recon_item where side = 'ledger'")[0][0])),
        )
        await do(desk, breaks.link, found, other_id=ledger_item, reason="Same buyer, same minute")
        await desk.compare()
        assert desk.breaks() == []
        assert [code for code, _ in desk.left_over()] == ["1210"]
        await do(desk, breaks.reopen, found, reason="Another buyer")
        assert desk.query("select action from recon_resolution order by id desc limit 1") == [("unlink",)]
        await desk.compare()
        assert [kind for kind, *_ in desk.breaks()] == ["missing_in_ledger"]
        assert desk.left_over()["1100", taken.key] == 9_970

    async def test_nothing_is_linked_while_everything_is_compared_nor_what_the_rules_paired(
        self, desk: Desk, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queries, "SECONDS", 0.05)
        taken = await desk.take(10_000, 10_000)
        await desk.hand_in(settlement([line_of(taken[0]), SettlementLine(id="x", gross=10_000, payment="renamed")]))
        await desk.compare()
        found, paired = the_break(desk, "missing_in_ledger"), desk.query("select ledger_id from recon_pair")[0][0]
        with pytest.raises(ResolutionImpossible, match="matched already"):
            await do(desk, breaks.link, found, other_id=paired, reason="")
        lock = "select pg_advisory_lock(hashtextextended(%s, 4218))"
        superuser.execute(lock, [str(desk.shop.merchant_id)])
        try:
            with pytest.raises(ResolutionImpossible, match="being compared right now"):
                await do(desk, breaks.link, found, other_id=paired, reason="")
        finally:
            superuser.execute("select pg_advisory_unlock_all()")

    async def test_a_credit_is_linked_to_its_batch(self, desk: Desk) -> None:
        for name in ("set_1", "set_2"):
            (taken,) = await desk.take(1_000)
            await desk.hand_in(settlement([line_of(taken)], batch=name))
        await desk.hand_in(statement(("no name", 970)), to=desk.bank)
        await desk.compare()
        batch = desk.item("set_1/EUR")
        await do(desk, breaks.link, the_break(desk, "bank_unidentified"), other_id=batch, reason="By the date")
        assert desk.balance("2400") == 0
        await desk.compare()
        assert [key.split(":")[-1] for _, key in desk.left_over()] == ["set_2/EUR"]

    async def test_unequal_money_is_never_linked(self, desk: Desk) -> None:
        await desk.take(10_000)
        await desk.hand_in(settlement([SettlementLine(id="x", gross=9_999, payment="renamed")]))
        await desk.compare()
        ledger_item = desk.item(str(desk.query("select ext_id from recon_item where side = 'ledger'")[0][0]))
        with pytest.raises(ResolutionImpossible, match="of the same amount"):
            await do(desk, breaks.link, the_break(desk), other_id=ledger_item, reason="")


async def test_parked_breaks_wait_and_come_back(desk: Desk) -> None:
    found = await short(desk, 300)
    await do(desk, breaks.park, found, reason="Asked the PSP")
    await desk.compare()
    with pytest.raises(IllegalTransition):
        await do(desk, breaks.park, found, reason="")
    assert (await do(desk, breaks.unpark, found)).status == "open"
    assert history(desk) == ["park", "unpark"]


async def test_a_break_that_explains_itself_is_cleared(desk: Desk) -> None:
    (taken,) = await desk.take(1_000)
    await desk.hand_in(statement(("set_1", 970)), to=desk.bank)
    await desk.compare()
    assert [kind for kind, *_ in desk.breaks()] == ["bank_unidentified"]
    await desk.hand_in(settlement([line_of(taken)]))
    await desk.compare()
    assert (desk.breaks(), desk.left_over()) == ([], {})
    assert desk.query("select status from recon_break") == [("cleared",)]


class TestRules:
    def test_working_days_pass_over_weekends(self) -> None:
        assert business_days_after(date(2026, 11, 27), 1) == date(2026, 11, 30)
        assert business_days_between(date(2026, 11, 27), date(2026, 11, 30)) == 1

    @given(st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.integers(0, 60))
    def test_so_many_days_later_is_so_many_days_away(self, day: date, count: int) -> None:
        assert business_days_between(day, business_days_after(day, count)) == count

    @given(st.lists(st.integers(1, 10_000), max_size=12), st.data())
    def test_a_choice_is_made_only_when_it_is_the_only_one(self, amounts: list[int], data: st.DataObject) -> None:
        target = data.draw(st.integers(1, max(1, sum(amounts))))
        ways = [mask for mask in range(1, 1 << len(amounts)) if sum(a for i, a in enumerate(amounts) if mask >> i & 1) == target]
        found = subset_of(amounts, target)
        assert (found is not None) == (len(ways) == 1)
        if found is not None:
            assert sum(amounts[place] for place in found) == target


class TestWhileComparing:
    async def test_nothing_is_booked_away_that_a_comparison_may_be_booking(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(queries, "SECONDS", 0.05)
        found, merchant_id = await short(desk, 300), desk.shop.merchant_id
        async with unit_of_work(merchant_id) as comparing:
            await queries.lock(comparing, merchant_id=merchant_id)
            parts = {Target.PSP_FEE: Money(300, "EUR")}
            for verb, values in ((breaks.write_off, {"reason": ""}), (breaks.adjust, {"parts": parts, "reason": "Fee"})):
                with pytest.raises(ResolutionImpossible, match="being compared right now"):
                    await do(desk, verb, found, **values)
        await do(desk, breaks.write_off, found, reason="")
        async with unit_of_work(merchant_id) as comparing:
            await queries.lock(comparing, merchant_id=merchant_id)
            with pytest.raises(ResolutionImpossible, match="being compared right now"):
                await do(desk, breaks.reopen, found, reason="")

    async def test_two_people_do_not_wait_for_each_other(self, desk: Desk) -> None:
        found, merchant_id = await short(desk, 300), desk.shop.merchant_id
        async with unit_of_work(merchant_id) as other:
            assert await queries.try_lock_shared(other, merchant_id=merchant_id)
            await do(desk, breaks.write_off, found, reason="")
        assert desk.balance("5900") == 300
