"""`demo --check`, the way out: a payout is asked for, agreed to, sent and paid; then books, provider and bank say the same. Every step with its time."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import httpx2

from app.cli.books import check_books
from app.cli.check import CheckFailed, Client, require, until
from app.cli.output import step
from app.core import db
from app.core.actors import Actor, ActorKind
from app.core.clock import now, travel
from app.core.db import unit_of_work
from app.core.ids import ConnectionId, MerchantId, parse_id
from app.core.money import Money
from app.identity import queries as identity
from app.payouts import flows, queries
from app.payouts.domain import PayoutStatus
from app.payouts.queries import lists
from app.reconciliation.invariants import queries as invariants
from app.reconciliation.runs import queries as runs
from app.seed import House, reconcile
from app.seed.payouts import last_bank_morning
from app.tenancy.domain import Role, permissions_of

AMOUNT = Money(1_500, "EUR")


async def pay_out(known: Mapping[str, Any], owner_url: str) -> None:
    """The whole way of one payout, and the proof that nothing is left over."""
    shop = next(entry for entry in known["api_keys"] if entry["mode"] == "live")
    merchant_id = MerchantId(parse_id("mer", shop["id"]))
    try:
        async with httpx2.AsyncClient(base_url=known["url"], timeout=20) as http:
            client = Client(http, shop["key"])
            with step("A payout is asked for; the money is set aside"):
                payout, before = await ask(client)
            with step("A second person agrees to exactly what was shown"):
                await agree(merchant_id, await person(known, merchant_id, Role.APPROVER), payout)
            with step("It is sent over the bank's rail and paid"):
                await until(lambda: is_paid(client, payout), "the payout was not paid")
            with step("The wallet has that much less, to the cent"):
                after = await available(client, payout["seller"])
                fee = Money(**payout["fee"])
                require(after == before - AMOUNT - fee, f"{after.format()} is available after {before.format()}")
        with step("Settlement files and bank statements are imported and compared"):
            owner = await person(known, merchant_id, Role.OWNER)
            house = House(
                merchant_id=merchant_id, actor=owner, connection_id=ConnectionId(parse_id("con", shop["connection"])), sellers=[], team={}
            )
            run_id = await reconcile(house, known["simulator_url"], planted="")
        with step("Nothing is unexplained, no break is open, every invariant holds"):
            await holds(merchant_id, run_id)
        with step("The books balance"):
            require(await check_books(owner_url, None), "the books do not balance")
    finally:
        await db.dispose()


async def ask(client: Client) -> tuple[dict[str, Any], Money]:
    """A payout of the first seller who has the money and a bank account; with what was available before."""
    for seller in (await client.get("/v1/sellers"))["items"]:
        before = await available(client, seller["id"])
        if before > AMOUNT:
            body = {"seller": seller["id"], "amount": {"minor": AMOUNT.minor, "currency": AMOUNT.currency}, "text": "Check"}
            payout = await client.try_post("/v1/payouts", body, key=f"check-payout-{uuid4()}")
            if payout is not None and payout["status"] == PayoutStatus.PENDING_APPROVAL:
                return payout, before
    raise CheckFailed("The check failed: no seller of the demo can be paid out.")


async def available(client: Client, seller: str) -> Money:
    """What a seller can be paid."""
    return await client.wallet(seller, "available")


async def person(known: Mapping[str, Any], merchant_id: MerchantId, role: Role) -> Actor:
    """Somebody of the demo, who has just shown the second factor."""
    email = next(each["email"] for each in known["people"] if each["role"] == role)
    async with unit_of_work(None) as session:
        found = await identity.person_by_email(session, email)
    permissions = permissions_of(role, sandbox=False)
    return Actor(kind=ActorKind.USER, id=found.id, name=found.name, merchant_id=merchant_id, permissions=permissions, factor_at=now())


async def agree(merchant_id: MerchantId, approver: Actor, payout: Mapping[str, Any]) -> None:
    """Agree as on the last morning of a bank, so that the order leaves at once, whatever the day and hour of the check."""
    async with unit_of_work(merchant_id) as session:
        shown = next(each for each in await lists.waiting(session, approver) if each.row.id == payout["id"])
    require(shown.may_decide, "the second person may not decide")
    with travel(await last_bank_morning(merchant_id)):
        [(_, problem)] = await flows.approve_each(approver, [(queries.payout_id(payout["id"]), shown.digest)])
    require(problem is None, f"it could not be agreed to: {problem}")


async def is_paid(client: Client, payout: Mapping[str, Any]) -> bool:
    """Tell whether the bank carried it out."""
    status = (await client.get(f"/v1/payouts/{payout['id']}"))["status"]
    require(status not in (PayoutStatus.FAILED, PayoutStatus.ON_HOLD), f"the payout is {status}")
    return bool(status == PayoutStatus.PAID)


async def holds(merchant_id: MerchantId, run_id: UUID) -> None:
    """Nothing is left for a person to look at."""
    async with unit_of_work(merchant_id) as session:
        page = await runs.run_page(session, merchant_id=merchant_id, run_id=run_id)
        proof = await invariants.prove(session, merchant_id=merchant_id)
    gaps = [each.unexplained.format() for each in page.run.sums if each.unexplained.minor]
    require(not gaps, f"{', '.join(gaps)} is unexplained")
    require(page.run.open_breaks == 0, f"{page.run.open_breaks} breaks are open: {[str(each.kind) for each in page.breaks]}")
    broken = [each.name for each in proof.invariants if not each.holds]
    require(proof.is_sound, f"these do not hold: {'; '.join(broken)}")
