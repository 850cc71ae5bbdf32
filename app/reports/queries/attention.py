"""What waits for a person, counted in one statement from indexes that hold nothing else."""

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.db import Record, read
from app.core.ids import public_id
from app.psp.domain import WINDOW, Circuit, Window, circuit
from app.reports.schemas import Attention

SOON = timedelta(days=2)
MOST = 100
"""Counting stops here: nobody needs to know whether 4,000 or 5,000 wait."""

_WAITING = text("""
select 'payment' as noun, p.status as what, null::uuid as id, null::text as name, w.n, w.since, null::bigint as technical, null::timestamptz as last
from (values ('unknown'), ('conflicted'), ('in_review')) p(status)
cross join lateral (select count(*) as n, min(updated_at) as since from
  (select updated_at from payment where merchant_id = :merchant and status = p.status order by id desc limit :most) x) w
union all
select 'double', '', (array_agg(id order by id))[1], null, count(*), min(updated_at), null, null from (
  select id, updated_at from payment where merchant_id = :merchant and failure_code = 'late_success' order by id limit :most) x
union all
select 'operation', '', (array_agg(payment_id order by id))[1], null, count(*), min(updated_at), null, null from (
  select id, payment_id, updated_at from payment_operation where merchant_id = :merchant and status = 'unknown' order by id limit :most) x
union all
select 'uncaptured', '', null, null, count(*), min(expires_at), null, null from (
  select expires_at from payment where merchant_id = :merchant and status in ('authorised', 'partially_captured') and expires_at < :soon limit :most) x
union all
select 'webhook', '', null, null, count(*), min(received_at), null, null from (
  select received_at from psp_event where merchant_id = :merchant and status = 'failed' order by received_at limit :most) x
union all
select 'change', c.name, c.id, c.name, 1, g.requested_at, null, null from psp_credential_change g
  join psp_connection c on c.merchant_id = g.merchant_id and c.id = g.connection_id
 where g.merchant_id = :merchant and g.status = 'pending'
union all
select 'payout', p.status, null, null, w.n, w.since, null, null
from (values ('pending_approval'), ('on_hold'), ('unknown'), ('returned')) p(status)
cross join lateral (select count(*) as n, min(updated_at) as since from
  (select updated_at from payout o where merchant_id = :merchant and status = p.status
      and not (p.status = 'returned' and exists (select from payout c where c.merchant_id = o.merchant_id and c.parent_id = o.id))
    order by id desc limit :most) x) w
union all
select 'account', '', null, null, count(*), min(requested_at), null, null from (
  select requested_at from bank_account where merchant_id = :merchant and status = 'proposed' order by id limit :most) x
union all
select 'health', '', c.id, c.name, sum(h.calls)::bigint, max(h.failed_at), sum(h.technical)::bigint, max(h.succeeded_at) from psp_health h
  join psp_connection c on c.merchant_id = h.merchant_id and c.id = h.connection_id and c.status = 'active'
 where h.merchant_id = :merchant and h.minute_at > :health group by c.id, c.name
""")


async def attention(session: AsyncSession, actor: Actor) -> list[Attention]:
    """What waits for a person, as far as this one may see it; what is wrong comes before what waits."""
    moment = now()
    values = {"merchant": actor.merchant, "most": MOST + 1, "soon": moment + SOON, "health": moment - WINDOW}
    waiting = await read(session, _WAITING, values)
    found = [item for row in waiting if row.n and actor.can(_NEEDS[row.noun]) for item in _items(row, moment)]
    return sorted(found, key=lambda item: item.tone != "bad")


_NEEDS = {
    "payment": "payments.read",
    "double": "payments.read",
    "operation": "payments.read",
    "uncaptured": "payments.read",
    "webhook": "connections.read",
    "change": "connections.read",
    "health": "connections.read",
    "payout": "payouts.read",
    "account": "payouts.read",
}
_PAYOUTS = {
    "pending_approval": ("needs approval", "need approval", "hourglass", "warn", "waiting"),
    "on_hold": ("is on hold", "are on hold", "pause", "warn", "held"),
    "unknown": ("has an unknown outcome", "have an unknown outcome", "circle-help", "bad", "unknown"),
    "returned": ("came back", "came back", "undo-2", "bad", "wrong"),
}
_PAYMENTS = {
    "unknown": ("has an unknown outcome", "have an unknown outcome", "hourglass", "warn", "The PSP is being asked"),
    "conflicted": ("reports another amount", "report another amount", "triangle-alert", "bad", "Not what was asked for, nothing booked"),
    "in_review": ("is in review", "are in review", "eye", "warn", "At the PSP"),
}


def _items(row: Record, moment: datetime) -> list[Attention]:
    match row.noun:
        case "payment":
            return [_payments(row)]
        case "double" | "operation":
            return [_first_payment(row)]
        case "uncaptured":
            return [_uncaptured(row)]
        case "payout":
            return [_payouts(row)]
        case "account":
            title = f"{_many(row.n, 'bank account')} {'waits' if row.n == 1 else 'wait'} for approval"
            return [Attention(title=title, text=f"First proposed {_at(row.since)}", href="/bank-accounts", icon="landmark")]
        case "webhook":
            title = f"{_many(row.n, 'webhook')} could not be applied"
            return [
                Attention(
                    title=title, text=f"First received {_at(row.since)}", href="/psp-events?status=failed", icon="webhook", tone="bad"
                )
            ]
        case "change":
            href = f"/connections/{public_id('con', row.id)}"
            text = f"{row.name}, asked for {_at(row.since)}"
            return [Attention(title="New credentials wait for approval", text=text, href=href, icon="key-round")]
        case _:
            return _health(row, moment)


def _payments(row: Record) -> Attention:
    one, several, icon, tone, text = _PAYMENTS[row.what]
    return Attention(
        title=f"{_many(row.n, 'payment')} {one if row.n == 1 else several}",
        text=f"{text}, since {_at(row.since)}",
        href=f"/payments?status={row.what}",
        icon=icon,
        tone=tone,
    )


def _payouts(row: Record) -> Attention:
    one, several, icon, tone, view = _PAYOUTS[row.what]
    title = f"{_many(row.n, 'payout')} {one if row.n == 1 else several}"
    return Attention(title=title, text=f"First since {_at(row.since)}", href=f"/payouts?view={view}", icon=icon, tone=tone)


def _first_payment(row: Record) -> Attention:
    """What concerns single payments: leads to the oldest of them."""
    href = f"/payments/{public_id('pay', row.id)}"
    if row.noun == "double":
        title = f"{_many(row.n, 'order')} {'was' if row.n == 1 else 'were'} paid twice"
        text = f"The PSP took a payment that was given up, {_at(row.since)}: give it back at the PSP"
        return Attention(title=title, text=text, href=href, icon="triangle-alert", tone="bad")
    title = f"{_many(row.n, 'operation')} {'has' if row.n == 1 else 'have'} an unknown outcome"
    return Attention(
        title=title, text=f"A capture, refund or release; the PSP is being asked, since {_at(row.since)}", href=href, icon="hourglass"
    )


def _uncaptured(row: Record) -> Attention:
    verb = "expires" if row.n == 1 else "expire"
    return Attention(
        title=f"{_many(row.n, 'authorisation')} {verb} soon",
        text=f"First {_at(row.since)}: capture or release",
        href="/payments?status=authorised&status=partially_captured",
        icon="circle-dollar-sign",
    )


def _health(row: Record, moment: datetime) -> list[Attention]:
    state = circuit(Window(calls=row.n, technical=row.technical, failed_at=row.since, succeeded_at=row.last), moment)
    if state is Circuit.CLOSED:
        return []
    text = f"{row.technical} of {row.n} calls failed in the last minutes"
    href = f"/connections/{public_id('con', row.id)}"
    return [Attention(title=f"{row.name} is failing", text=text, href=href, icon="plug", tone="bad")]


def _many(count: int, noun: str) -> str:
    if count > MOST:
        return f"More than {MOST} {noun}s"
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _at(moment: datetime) -> str:
    return f"{moment.day} {moment:%b}, {moment:%H:%M}"
