"""The demo's payouts: bank accounts that two people agreed on, schedules, a month of money that arrived or came back, and what waits today."""

from datetime import datetime, timedelta

import httpx2
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now, travel
from app.core.db import unit_of_work
from app.core.ids import ConnectionId, MerchantId, SellerId
from app.core.money import Money
from app.payouts import flows, queries
from app.payouts.domain import DestinationNotUsable, PayoutId, PayoutStatus, Rail
from app.payouts.domain.approvals import Limits, Threshold
from app.payouts.domain.schedules import Amounts, Interval, Plan
from app.payouts.queries import details, lists
from app.payouts.queries.calendars import bank_days
from app.payouts.service import approvals, holds, policies, requests, schedules
from app.payouts.service.available import lock_wallets
from app.sellers import queries as seller_queries
from app.sellers.domain.bank_accounts import BankAccountId, BankAccountKind, VerifiedBy
from app.sellers.service import bank_accounts

# Numbers that the registries of their countries print as examples; nobody's account.
IBANS = (
    "DE89370400440532013000",
    "GB29NWBK60161331926819",
    "DK5000400440116243",
    "FR1420041010050500013M02606",
    "SE4550000000058398257466",
)
PLANS = (
    Plan(interval=Interval.WEEKLY, weekly_days=(2, 5), cutoff="09:00", timezone="Europe/Berlin"),
    Plan(interval=Interval.DAILY, cutoff="10:00", timezone="Europe/London"),
    Plan(interval=Interval.MONTHLY, monthly_days=(1, 15), cutoff="09:00", timezone="Europe/Copenhagen"),
    Plan(interval=Interval.THRESHOLD, cutoff="11:00", timezone="Europe/Paris"),
)


async def open_payouts(
    merchant_id: MerchantId, *, owner: Actor, finance: Actor, approver: Actor, connection_id: ConnectionId, sellers: list[SellerId]
) -> None:
    """Accounts to pay from, rules, sellers' bank accounts, schedules: each as its people would set it."""
    async with unit_of_work(merchant_id) as session:
        for currency, timezone in (("EUR", "Europe/Berlin"), ("GBP", "Europe/London")):
            await policies.add_funding_account(
                session,
                owner,
                name=f"Simulator bank, {currency}",
                currency=currency,
                rail=Rail.API,
                connection_id=connection_id,
                cutoff="16:30",
                timezone=timezone,
            )
        people = [Threshold(from_minor=0, approvals=1), Threshold(from_minor=1_000_000, approvals=2)]
        await policies.set_thresholds(session, owner, currency="EUR", thresholds=people)
        await policies.set_limits(session, owner, currency="EUR", limits=Limits(min_minor=1_000, max_minor=5_000_000, fee_minor=25))
    for seller_id, number in zip(sellers, IBANS, strict=False):
        await _account(merchant_id, finance, approver, seller_id, BankAccountKind.IBAN, "EUR", number, "")
    await _account(merchant_id, finance, approver, sellers[1], BankAccountKind.UK, "GBP", "38290008", "20-04-15")
    for seller_id, plan in zip(sellers, PLANS, strict=False):
        least = 20_000 if plan.interval is Interval.THRESHOLD else 1_000
        async with unit_of_work(merchant_id) as session:
            await schedules.set_schedule(
                session, finance, seller_id=seller_id, currency="EUR", plan=plan, amounts=Amounts(min_minor=least, keep_minor=2_000)
            )


async def _account(
    merchant_id: MerchantId,
    finance: Actor,
    approver: Actor,
    seller_id: SellerId,
    kind: BankAccountKind,
    currency: str,
    number: str,
    routing: str,
) -> None:
    async with unit_of_work(merchant_id) as session:
        owner = await seller_queries.seller(session, merchant_id=merchant_id, seller_id=seller_id)
        account = await bank_accounts.propose_account(
            session,
            finance,
            seller_id=seller_id,
            kind=kind,
            currency=currency,
            holder_name=owner.name,
            number=number,
            routing=routing,
        )
    async with unit_of_work(merchant_id) as session:
        await bank_accounts.approve_account(
            session, approver, account_id=BankAccountId(account.id), digest=account.digest, verified_by=VerifiedBy.BANK_LETTER
        )


async def pay_day(merchant_id: MerchantId, *, approver: Actor, simulator_url: str, comes_back: bool) -> bool:
    """One day: schedules run, a colleague approves, orders leave, and the bank pays them; says whether one came back, when one should."""
    await flows.run_schedules()
    for payout_id, digest in await _waiting(merchant_id, approver):
        async with unit_of_work(merchant_id) as session:
            await approvals.approve_payout(session, approver, payout_id=payout_id, digest=digest, reason="Usual")
    await flows.send_due()
    async with unit_of_work(merchant_id) as session:
        sent = [view.id for view in (await lists.payout_views(session, merchant_id=merchant_id, status=PayoutStatus.SUBMITTED)).items]
    for text in sent:
        await _bank_says(merchant_id, queries.payout_id(text), simulator_url, "paid")
    if comes_back and sent:
        await _bank_says(merchant_id, queries.payout_id(sent[0]), simulator_url, "returned")
    return comes_back and bool(sent)


async def _waiting(merchant_id: MerchantId, approver: Actor) -> list[tuple[PayoutId, str]]:
    async with unit_of_work(merchant_id) as session:
        return [(queries.payout_id(each.row.id), each.digest) for each in await lists.waiting(session, approver) if each.may_decide]


async def _bank_says(merchant_id: MerchantId, payout_id: PayoutId, simulator_url: str, word: str) -> None:
    async with unit_of_work(merchant_id) as session:
        view = await details.payout_view(session, merchant_id=merchant_id, payout_id=payout_id)
    async with httpx2.AsyncClient(base_url=simulator_url, timeout=10) as simulator:
        (await simulator.post(f"/_payouts/{view.end_to_end_id}", json={"become": word})).raise_for_status()
    await flows.refresh(merchant_id=merchant_id, payout_id=payout_id)


async def leave_for_today(merchant_id: MerchantId, *, finance: Actor, approver: Actor, sellers: list[SellerId]) -> None:
    """What waits for a person: two payouts to approve, one on hold, a changed bank account; and one that is on its way."""
    with travel(await last_bank_morning(merchant_id)):
        await _send_some(merchant_id, finance, approver, sellers)
    made: list[PayoutId] = []
    for seller_id in sellers[:4]:
        async with unit_of_work(merchant_id) as session:
            available = await _payable(session, merchant_id, seller_id)
            if available > 8_000 and len(made) < 3:
                made.append(await _ask(session, finance, seller_id, available // 2))
    if made:
        async with unit_of_work(merchant_id) as session:
            reason = "Asked the seller about three new products"
            await holds.hold_payout(session, finance, payout_id=made[0], reason=reason, expires_at=None)
    async with unit_of_work(merchant_id) as session:
        await bank_accounts.propose_account(
            session,
            finance,
            seller_id=sellers[2],
            kind=BankAccountKind.IBAN,
            currency="EUR",
            holder_name="Tidewater Ceramics ApS",
            number="NL91ABNA0417164300",
        )


async def last_bank_morning(merchant_id: MerchantId) -> datetime:
    """Ten in the morning of the last bank day."""
    async with unit_of_work(merchant_id) as session:
        days = await bank_days(session, merchant_id=merchant_id, codes=["TARGET"])
    morning = now().replace(hour=10, minute=0, second=0, microsecond=0)
    if morning > now():
        morning -= timedelta(days=1)
    return datetime.combine(days.preceding(morning.date()), morning.timetz())


async def _send_some(merchant_id: MerchantId, finance: Actor, approver: Actor, sellers: list[SellerId]) -> None:
    for seller_id in sellers:
        async with unit_of_work(merchant_id) as session:
            available = await _payable(session, merchant_id, seller_id)
            if available < 4_000:
                continue
            payout_id = await _ask(session, finance, seller_id, available // 4)
        for waiting_id, digest in await _waiting(merchant_id, approver):
            if waiting_id == payout_id:
                async with unit_of_work(merchant_id) as session:
                    await approvals.approve_payout(session, approver, payout_id=payout_id, digest=digest)
        await flows.send_due()
        return


async def _payable(session: AsyncSession, merchant_id: MerchantId, seller_id: SellerId) -> int:
    """What can be paid out to a seller now; nothing while its bank account waits for people, as after a payout that came back."""
    available = await lock_wallets(session, merchant_id=merchant_id, seller_ids=[seller_id], currency="EUR")
    try:
        await requests.destination(session, merchant_id=merchant_id, seller_id=seller_id, currency="EUR")
    except DestinationNotUsable:
        return 0
    return available.get(seller_id, 0)


async def _ask(session: AsyncSession, finance: Actor, seller_id: SellerId, minor: int) -> PayoutId:
    payout = await requests.request_payout(session, finance, seller_id=seller_id, amount=Money(minor, "EUR"), statement_text="Advance")
    return PayoutId(payout.id)
