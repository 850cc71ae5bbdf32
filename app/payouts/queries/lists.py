"""Reads for the list of payouts and the inbox of approvals."""

from collections.abc import AsyncIterator, Sequence
from datetime import date
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals.domain import Part
from app.approvals.queries import part_of
from app.core.actors import Actor
from app.core.clock import today
from app.core.db import unit_of_work
from app.core.errors import Invalid
from app.core.ids import MerchantId, SellerId, parse_id, public_id
from app.core.money import Money
from app.core.paging import Page, fetch_page
from app.payouts.domain import PayoutStatus, Source
from app.payouts.domain.approvals import digest_of
from app.payouts.models import Payout, PayoutApproval, PayoutHold, PayoutSchedule
from app.payouts.queries import had_a_hand_in
from app.payouts.queries.calendars import bank_days
from app.payouts.schemas import PayoutView, bank_of, masked
from app.payouts.schemas.lists import SOURCE_NAMES, VIEWS, InboxPage, PayoutListPage, PayoutRow, Signature, WaitingRow
from app.payouts.schemas.schedules import CalendarMonth, ScheduleRow, month_of
from app.sellers import queries as sellers
from app.sellers.domain.bank_accounts import BankAccountId
from app.sellers.queries import bank_accounts

MOST_SCHEDULES = 6
FIRST = Part(most=50)


async def payout_list_page(
    session: AsyncSession, actor: Actor, *, view: str = "", query: str = "", after: str | None = None
) -> PayoutListPage:
    """What waits for people, then all payouts, newest first, with the schedules and the month beside them."""
    view = view if view in VIEWS else ""
    statement = await _narrowed(session, actor.merchant, view=view, query=query)
    found = await fetch_page(session, statement, keys=[Payout.id], after=after)
    rows = await rows_of(session, merchant_id=actor.merchant, payouts=[row.Payout for row in found.items])
    return PayoutListPage(
        rows=Page(rows, found.next, found.previous),
        waiting=await waiting(session, actor),
        view=view,
        query=query,
        schedules=await schedule_rows(session, merchant_id=actor.merchant, most=MOST_SCHEDULES),
        month=await payout_month(session, merchant_id=actor.merchant, first=today().replace(day=1)),
    )


async def _narrowed(session: AsyncSession, merchant_id: MerchantId, *, view: str, query: str) -> Select[UUID, Payout]:
    statement = select(Payout.id, Payout).where(Payout.merchant_id == merchant_id)
    if statuses := VIEWS[view][1]:
        statement = statement.where(Payout.status.in_(statuses))
    text = query.strip()
    if text.lower().startswith("po_"):
        try:
            statement = statement.where(Payout.id == parse_id("po", text))
        except Invalid:
            statement = statement.where(Payout.id.is_(None))
    elif text:
        found = await sellers.sellers(session, merchant_id=merchant_id, query=text, size=100)
        ids = [parse_id("sel", seller.id) for seller in found.items]
        statement = statement.where(Payout.seller_id.in_(ids) | (Payout.end_to_end_id == text.upper()))
    return statement


async def rows_of(session: AsyncSession, *, merchant_id: MerchantId, payouts: Sequence[Payout]) -> list[PayoutRow]:
    """Payouts as lists show them."""
    names = await sellers.seller_names(session, merchant_id=merchant_id, ids={SellerId(row.seller_id) for row in payouts})
    accounts = await bank_accounts.destinations(
        session, merchant_id=merchant_id, ids={BankAccountId(row.bank_account_id) for row in payouts}
    )
    held = [row.id for row in payouts if row.status == PayoutStatus.ON_HOLD]
    why: dict[object, str] = {}
    if held:
        holds = select(PayoutHold).where(
            PayoutHold.merchant_id == merchant_id, PayoutHold.payout_id.in_(held), PayoutHold.released_at.is_(None)
        )
        why = {hold.payout_id: hold.reason for hold in (await session.execute(holds)).scalars()}
    shown = []
    for row in payouts:
        account = accounts[BankAccountId(row.bank_account_id)]
        failed = row.status in (PayoutStatus.FAILED, PayoutStatus.RETURNED)
        shown.append(
            PayoutRow(
                id=public_id("po", row.id),
                amount=Money(row.amount_minor, row.currency),
                status=PayoutStatus(row.status),
                seller=names[SellerId(row.seller_id)],
                bank=bank_of(account),
                account=masked(account),
                source=SOURCE_NAMES[Source(row.source)],
                why=(row.failure_message or row.failure_code or "") if failed else why.get(row.id, ""),
                value_on=row.value_on,
                created_at=row.created_at,
            )
        )
    return shown


async def how_many_wait(session: AsyncSession, actor: Actor) -> int:
    """How many payouts wait for approval."""
    return await session.scalar(select(func.count()).select_from(Payout).where(*_pending(actor))) or 0


def _pending(actor: Actor) -> tuple[ColumnElement[bool], ...]:
    return Payout.merchant_id == actor.merchant, Payout.status == PayoutStatus.PENDING_APPROVAL


async def waiting(session: AsyncSession, actor: Actor, part: Part = FIRST) -> list[WaitingRow]:
    """Payouts that wait for approval, oldest first, with who agreed so far."""
    payouts = list(await session.scalars(part_of(select(Payout).where(*_pending(actor)), Payout.id, part)))
    given = select(PayoutApproval).where(
        PayoutApproval.merchant_id == actor.merchant, PayoutApproval.payout_id.in_([payout.id for payout in payouts])
    )
    approvals = list((await session.execute(given.order_by(PayoutApproval.id))).scalars())
    rows = await rows_of(session, merchant_id=actor.merchant, payouts=payouts)
    return [waiting_row(actor, payout, row, approvals) for payout, row in zip(payouts, rows, strict=True)]


def waiting_row(actor: Actor, payout: Payout, row: PayoutRow, approvals: Sequence[PayoutApproval]) -> WaitingRow:
    """One payout with its signatures, and whether this person may add one."""
    own = [each for each in approvals if each.payout_id == payout.id and each.version == payout.version]
    left = payout.approvals_required - len(own)
    may = actor.id not in had_a_hand_in(payout) | {each.approver_id for each in own} and actor.can("payouts.approve")
    signatures = [Signature(text=f"Requested by {payout.requested_by_name}", at=payout.created_at, is_done=True)]
    signatures += [Signature(text=each.approver_name, at=each.at, is_done=True) for each in own]
    if left > 0:
        you = "You" if may else "Somebody else"
        more = "" if left == 1 else f" and {left - 1} more"
        signatures.append(Signature(text=f"{you}{more}", at=None, is_done=False))
    digest = digest_of(payout=row.id, amount=row.amount, destination=payout.destination_fingerprint, version=payout.version)
    return WaitingRow(row=row, digest=digest, signatures=signatures, may_decide=may)


async def inbox_page(session: AsyncSession, actor: Actor, *, results: Sequence[tuple[str, bool, str]] = ()) -> InboxPage:
    """Everything that waits for a yes or no."""
    return InboxPage(waiting=await waiting(session, actor), results=list(results))


async def schedule_rows(session: AsyncSession, *, merchant_id: MerchantId, most: int) -> list[ScheduleRow]:
    """The schedules that run next."""
    statement = select(PayoutSchedule).where(PayoutSchedule.merchant_id == merchant_id)
    rows = list(
        (await session.execute(statement.order_by(PayoutSchedule.next_run_at.nulls_last(), PayoutSchedule.id).limit(most))).scalars()
    )
    names = await sellers.seller_names(session, merchant_id=merchant_id, ids={SellerId(row.seller_id) for row in rows})
    return [ScheduleRow.of(row, names[SellerId(row.seller_id)]) for row in rows]


async def payout_month(session: AsyncSession, *, merchant_id: MerchantId, first: date) -> CalendarMonth:
    """A month with the days on which payouts were or will be sent; bank holidays are those of the euro area."""
    days = await bank_days(session, merchant_id=merchant_id, codes=["TARGET"])
    last = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    looks = {day: ("hol", "bank holiday") for day in days.closed if first <= day < last}
    statement = select(Payout.value_on, Payout.status).where(
        Payout.merchant_id == merchant_id, Payout.value_on >= first, Payout.value_on < last
    )
    rank = {"plan": 0, "paid": 1, "ret": 2}
    for row in await session.execute(statement.distinct()):
        kind = {"paid": "paid", "returned": "ret", "failed": "ret"}.get(row.status, "plan")
        if rank[kind] >= rank.get(looks.get(row.value_on, ("", ""))[0], -1):
            looks[row.value_on] = (kind, {"paid": "paid", "ret": "returned or failed", "plan": "planned"}[kind])
    return month_of(first, looks, today())


async def payout_views(session: AsyncSession, *, merchant_id: MerchantId, status: str = "", after: str | None = None) -> Page[PayoutView]:
    """A page of payouts as the API shows them, newest first."""
    statement = select(Payout.id, Payout).where(Payout.merchant_id == merchant_id)
    if status in set(PayoutStatus):
        statement = statement.where(Payout.status == status)
    found = await fetch_page(session, statement, keys=[Payout.id], after=after)
    ids = {BankAccountId(row.Payout.bank_account_id) for row in found.items}
    accounts = await bank_accounts.destinations(session, merchant_id=merchant_id, ids=ids)
    return found.map(lambda row: PayoutView.of(row.Payout, accounts[BankAccountId(row.Payout.bank_account_id)].last4))


async def every_payout(merchant_id: MerchantId, *, view: str = "", query: str = "") -> AsyncIterator[list[list[object]]]:
    """The list as rows of a file, in one snapshot per hundred payouts."""
    after: str | None = None
    while True:
        async with unit_of_work(merchant_id) as session:
            statement = await _narrowed(session, merchant_id, view=view if view in VIEWS else "", query=query)
            found = await fetch_page(session, statement, keys=[Payout.id], after=after, size=100)
            payouts = [row.Payout for row in found.items]
            rows = await rows_of(session, merchant_id=merchant_id, payouts=payouts)
        yield [_line(payout, row) for payout, row in zip(payouts, rows, strict=True)]
        after = found.next
        if after is None:
            return


def _line(payout: Payout, row: PayoutRow) -> list[object]:
    moments = [None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (payout.created_at, payout.sent_at, payout.paid_at)]
    amounts = [payout.amount_minor, row.amount.decimal(), payout.currency, payout.fee_minor]
    told = [row.bank, row.account, payout.end_to_end_id, payout.value_on, payout.failure_code]
    return [row.id, public_id("sel", payout.seller_id), row.seller, row.status, *amounts, *told, *moments]
