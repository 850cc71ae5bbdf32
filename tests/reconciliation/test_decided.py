"""What somebody decided about a payment of which the provider took another amount than was asked for: provider and books agree afterwards."""

import msgspec

from app.core.db import unit_of_work
from app.core.ids import PaymentId
from app.core.money import Money
from app.payments.conflicts import flows as conflicts
from app.psp.domain import ProviderStatus
from app.reconciliation.invariants import queries as invariants
from tests.reconciliation.conftest import Desk, SettlementLine, Taken, line_of, settlement
from tests.support.shop import ok


class TestConflicts:
    """Of which the provider took another amount than was asked for, and somebody decided."""

    async def conflicted(self, desk: Desk, minor: int) -> Taken:
        took = ok(ProviderStatus.CAPTURED, amount=Money(minor, "EUR"), fee=Money(30, "EUR"))
        took = msgspec.structs.replace(took, provider_reference="sim_odd")
        desk.shop.psp.answers("authorise", took)
        paid = await desk.shop.pay(await desk.shop.order(anna=10_000, bert=0))
        return Taken(PaymentId(paid.payment_id), "sim_odd", minor, 30)

    async def test_what_was_accepted_agrees(self, desk: Desk) -> None:
        taken = await self.conflicted(desk, 9_000)
        await desk.hand_in(settlement([line_of(taken)]))
        await desk.compare()
        assert [kind for kind, *_ in desk.breaks()] == ["missing_in_ledger"]
        await conflicts.accept(desk.shop.actor, payment_id=taken.payment_id, amount=Money(9_000, "EUR"), reason="Agreed")
        await desk.compare()
        assert desk.breaks() == []
        await sound(desk)

    async def test_what_was_given_back_agrees(self, desk: Desk) -> None:
        taken = await self.conflicted(desk, 10_100)
        refunded = msgspec.structs.replace(ok(amount=Money(10_100, "EUR")), provider_reference="rf_odd")
        desk.shop.psp.answers("refund", refunded)
        await conflicts.give_back(
            desk.shop.actor, payment_id=taken.payment_id, amount=Money(10_100, "EUR"), reason="Too much", key="k", request=b"r"
        )
        back = SettlementLine(id="st_back", gross=-10_100, fee=0, payment="rf_odd", type="refund")
        await desk.hand_in(settlement([line_of(taken), back]))
        run = await desk.compare()
        assert (run.rules, desk.breaks()) == ({"P0": 2}, [])
        named = "select kind, object_ref, gross_minor::int, fee_minor::int from recon_item where side = 'ledger' order by 1"
        assert desk.query(named) == [("charge", "sim_odd", 10_100, 30), ("refund", "rf_odd", -10_100, 0)]
        await sound(desk)


async def sound(desk: Desk) -> None:
    """Every invariant of the books and of reconciliation holds."""
    async with unit_of_work(desk.shop.merchant_id) as session:
        proof = await invariants.prove(session, merchant_id=desk.shop.merchant_id)
    assert [(found.name, found.violations) for found in proof.invariants if not found.holds] == []
