"""Reads of what waits for an operator: the queue page by page, and those chosen from it. Behind the door of an open visit only."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import PaymentId, public_id
from app.core.money import Money
from app.ops.console.queries import Keys, counted, turn, whose
from app.ops.queue.domain import LABELS, MEANINGS, MOST_AT_ONCE, Act, Item, Kind, Verdict
from app.ops.queue.schemas import AGES, CheckedRow, CheckPage, OperatorPaymentPage, QueueFilter, QueuePage, QueueRow
from app.payments.queries.details import payment_detail_page
from app.tenancy import queries as tenancy
from app.web.sessions import Operating

DOOR = "operator_queue"
KEYS: Keys = {"since": ("since", datetime.fromisoformat), "id": ("id", UUID)}
_COUNTS = text("select * from operator_queue_counts(:visit, :now)")
_PREFIX = {Kind.UNANSWERED: "att", Kind.PAYOUT: "po"}


async def queue(session: AsyncSession, operating: Operating, *, chosen: QueueFilter, after: str | None) -> QueuePage:
    """What waits at all merchants, the oldest first, with how much of each kind there is."""
    before = now() - timedelta(minutes=int(chosen.age)) if chosen.age else None
    values = whose(chosen.merchant) | {"kind": chosen.kind or None, "provider": chosen.provider or None, "before": before, "ids": None}
    rows = await turn(session, operating, DOOR, keys=KEYS, values=values, after=after)
    counts = (await session.execute(_COUNTS, {"visit": operating.visit, "now": now()})).all()
    return QueuePage(
        rows=rows.map(_row),
        filter=chosen,
        waiting=counted(sum(_by_kind(counts).values())),
        oldest=min((row.oldest for row in counts), default=None),
        tabs=_tabs(counts, chosen),
        providers=[(name, name) for name in sorted({row.provider for row in counts} | ({chosen.provider} - {""}))],
        ages=AGES,
        reason=operating.reason or "",
    )


def _tabs(counts: Sequence[Row[Any]], chosen: QueueFilter) -> list[tuple[str, str, bool, str]]:
    waiting = _by_kind(counts)
    everything = ("Everything", chosen.href(kind=None), not chosen.kind, counted(sum(waiting.values())))
    shown = [kind for kind in Kind if waiting[kind] or kind == chosen.kind]
    return [everything, *((LABELS[kind], chosen.href(kind=kind), chosen.kind == kind, counted(waiting[kind])) for kind in shown)]


def _by_kind(counts: Sequence[Row[Any]]) -> dict[Kind, int]:
    return {kind: sum(row.waiting for row in counts if row.kind == kind) for kind in Kind}


async def chosen_rows(session: AsyncSession, operating: Operating, items: Sequence[Item]) -> list[QueueRow]:
    """Those of the chosen that still wait. What is not in the queue cannot be acted on from here."""
    given = {"merchant": None, "name": None, "kind": None, "provider": None, "before": None, "ids": [item.id for item in items]}
    rows = await turn(session, operating, DOOR, keys=KEYS, values=given, after=None)
    wanted = {item.token for item in items}
    return [row for row in map(_row, rows.items) if row.token in wanted]


def check_page(
    operating: Operating, rows: Sequence[QueueRow], verdicts: Sequence[Verdict], *, act: Act, asked: int, is_done: bool = False
) -> CheckPage:
    """What would come of an act, or what came of it, side by side with what it is about."""
    said = {verdict.item.token: verdict for verdict in verdicts}
    checked = [CheckedRow(row=row, is_possible=said[row.token].is_possible, said=said[row.token].said) for row in rows if row.token in said]
    return CheckPage(act=act, rows=checked, gone=asked - len(checked), reason=operating.reason or "", is_done=is_done)


def read_items(tokens: Sequence[str]) -> list[Item]:
    """What was chosen, each once, no more than one act touches."""
    return [Item.read(token) for token in dict.fromkeys(tokens)][:MOST_AT_ONCE]


async def payment_page(session: AsyncSession, actor: Actor, *, payment_id: PaymentId, reason: str) -> OperatorPaymentPage:
    """One payment of the merchant the operator looks at."""
    merchant = await tenancy.merchant(session, actor.merchant)
    payment = await payment_detail_page(session, actor, payment_id=payment_id)
    return OperatorPaymentPage(merchant_id=public_id("mer", merchant.id), merchant=merchant.name, payment=payment, reason=reason)


def _row(row: Row[Any]) -> QueueRow:
    kind, merchant_id = Kind(row.kind), public_id("mer", row.merchant_id)
    shown = public_id("pay", row.payment_id) if row.payment_id else public_id(_PREFIX.get(kind, "qi"), row.id)
    return QueueRow(
        token=Item(kind=kind, merchant_id=row.merchant_id, id=row.id).token,
        kind=kind,
        label=LABELS[kind],
        meaning=MEANINGS[kind],
        merchant_id=merchant_id,
        merchant=row.merchant,
        is_sandbox=row.is_sandbox,
        what=row.what,
        id=shown,
        href=f"/operator/merchants/{merchant_id}/payments/{shown}" if row.payment_id else None,
        amount=Money(row.amount_minor, row.currency) if row.currency and row.amount_minor is not None else None,
        provider=row.provider,
        account=row.account,
        since=row.since,
        said=row.said,
    )
