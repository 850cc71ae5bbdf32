"""What bank statements settle: payouts that left or came back hear of it here, in the transaction that compares everything."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import today
from app.core.money import Money
from app.payouts.domain.port import BankAnswer, BankWord
from app.payouts.service import records
from app.reconciliation.domain.breaks import SLA_DAYS, BreakKind, business_days_after

_NAME = text("select recon_name_payouts(:merchant)")
_TOLD = text("select end_to_end_id, word, minor, currency, code, line from recon_told_payouts(:merchant)")
_EXPECT = text("select recon_expect_payouts(:merchant, :at)")
_REMATCH = text("select recon_rematch_payouts(:merchant, :at, :version)")
_MADE = """made as (
  insert into recon_break (merchant_id, id, source_id, kind, subject, item_id, other_id, reference, currency, minor, status, opened_on, due_on, opened_at, closed_at)
    select :merchant, new_id(:at), source_id, :kind, 'item:' || item_id, item_id, other_id, object_ref, net_currency, net_minor, 'resolved',
           :today, :due, :at, :at from back
  on conflict (merchant_id, kind, subject) do update set status = 'resolved', closed_at = excluded.closed_at where recon_break.status in ('open', 'cleared')
  returning id, item_id)
insert into recon_resolution (merchant_id, id, break_id, action, reason, currency, minor, transaction_id, actor_name, at)
  select :merchant, new_id(:at), made.id, 'settle', :reason, net_currency, net_minor, transaction_id, :by, :at from made join back on back.item_id = made.item_id"""
# One that came back is a break that needs nobody: kept, so that the statement's two lines can be followed to what was written.
_RETURNED = text(f"""
with back as (
  select b.id as item_id, l.id as other_id, b.source_id, l.object_ref, b.net_currency, b.net_minor, substr(l.ext_id, 5)::bigint as transaction_id
    from recon_match m
    join recon_match_item x on x.merchant_id = m.merchant_id and x.match_id = m.id
    join recon_item l on l.merchant_id = x.merchant_id and l.id = x.item_id and l.side = 'ledger' and l.kind = 'payout_reversal'
    join recon_match_item y on y.merchant_id = m.merchant_id and y.match_id = m.id
    join recon_item b on b.merchant_id = y.merchant_id and b.id = y.item_id and b.side = 'bank'
   where m.merchant_id = :merchant and m.leg = 'payout' and m.undone_at is null),
{_MADE}
""")  # noqa: S608 - constants of this module
_TURNED = text(f"""
with back as (
  select item_id, other_id, source_id, reference as object_ref, currency as net_currency, minor as net_minor, null::bigint as transaction_id
    from recon_turned where is_explained),
{_MADE}
""")  # noqa: S608 - constants of this module


async def match_payouts(session: AsyncSession, actor: Actor, *, at: datetime, version: int) -> None:
    """Tell payouts what statements say of them, then match the lines with what that wrote. Lines may come late, twice and in any order."""
    values = {"merchant": actor.merchant}
    await session.execute(_NAME, values)
    answers = [
        (
            row.end_to_end_id,
            BankAnswer(
                word=BankWord(row.word), amount=Money(row.minor, row.currency), code=row.code, evidence={"statement_line": row.line[:120]}
            ),
        )
        for row in await session.execute(_TOLD, values)
    ]
    await records.record_by_orders(session, actor, merchant_id=actor.merchant, answers=answers)
    await session.execute(_EXPECT, {**values, "at": at})
    await session.execute(_REMATCH, {**values, "at": at, "version": version})


async def settle_by_rule(session: AsyncSession, actor: Actor, *, at: datetime) -> None:
    """Keep what needs nobody as breaks that a rule resolved: payouts that came back, with the transaction that parked their money (22), and
    what stands in another month only because the provider counts its days elsewhere."""
    rules = (
        (_RETURNED, BreakKind.PAYOUT_RETURNED, "Returned, by its end-to-end id"),
        (_TURNED, BreakKind.CUTOFF, "The same day in the provider’s time zone"),
    )
    for statement, kind, reason in rules:
        due = business_days_after(today(), SLA_DAYS[kind])
        values = {"merchant": actor.merchant, "at": at, "today": today(), "due": due, "by": actor.name, "kind": kind, "reason": reason}
        await session.execute(statement, values)
