"""The nightly proof: what must never be true of the books and the three sources. Every row an invariant finds is a violation."""

import re
import time

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import MerchantId, public_id
from app.ledger.queries.checks import INVARIANTS as BOOKS
from app.ledger.queries.checks import Invariant
from app.ledger.seals import queries as seals
from app.reconciliation.models import InvariantCheck
from app.reconciliation.schemas import Finding, InvariantPage, InvariantRow

MOST = 100
SHOWN = 10


_SCOPE = "(cast(:merchant as uuid) is null or {}merchant_id = :merchant)"
_ALIASED = re.compile(r"\{of:(\w+)\}")


_SETTLED_BY_ITEMS = """
select i.merchant_id, s.connection_id, i.currency, sum(case when i.kind in ('charge', 'refund', 'refund_reversal', 'dispute', 'dispute_reversal')
       then case when i.currency = i.net_currency then i.net_minor else i.gross_minor end else 0 end + i.posted_fee_minor)::bigint as minor
  from recon_item i join recon_source s on s.merchant_id = i.merchant_id and s.id = i.source_id
 where i.side = 'psp' and i.posted_key is not null and {of:i} group by 1, 2, 3"""

INVARIANTS = (
    *BOOKS,
    Invariant(
        "I4 the books have at a bank what its statements booked",
        """with books as (select a.merchant_id, a.owner_id, a.currency, sum(e.side * e.amount)::bigint as minor from ledger.account a
              join ledger.entry e on e.merchant_id = a.merchant_id and e.account_id = a.id and e.phase in (0, 2)
              join ledger.txn t on t.merchant_id = e.merchant_id and t.id = e.txn_id and t.kind = 'settlement.received'
             where a.code = '1201' and a.owner_type = 'bank_account' and {of:a} group by 1, 2, 3),
            told as (select i.merchant_id, i.source_id as owner_id, i.net_currency as currency, sum(i.net_minor)::bigint as minor from recon_item i
             where i.side = 'bank' and i.posted_key is not null and {of:i} group by 1, 2, 3)
            select merchant_id, owner_id::text as subject, format('%s in the books, %s by statements, %s', b.minor, t.minor, currency) as detail
              from books b full join told t using (merchant_id, owner_id, currency) where coalesce(b.minor, 0) <> coalesce(t.minor, 0)""",
    ),
    Invariant(
        "I5 what a provider settled left its receivable",
        """with books as (select a.merchant_id, a.owner_id as connection_id, a.currency, -sum(e.side * e.amount)::bigint as minor from ledger.account a
              join ledger.entry e on e.merchant_id = a.merchant_id and e.account_id = a.id and e.phase in (0, 2)
              join ledger.txn t on t.merchant_id = e.merchant_id and t.id = e.txn_id and t.kind like 'settlement.%'
             where a.code = '1100' and a.owner_type = 'connection' and {of:a} group by 1, 2, 3),
            told as ({settled_by_items})
            select merchant_id, connection_id::text as subject, format('%s in the books, %s by its lines, %s', b.minor, t.minor, currency) as detail
              from books b full join told t using (merchant_id, connection_id, currency) where coalesce(b.minor, 0) <> coalesce(t.minor, 0)""",
    ),
    Invariant(
        "I6 every line is in one match or one break",
        """select i.merchant_id, i.ext_id as subject, i.side || ' ' || i.kind || ' of ' || i.net_minor || ' ' || i.net_currency as detail from recon_item i
             where i.side in ('psp', 'bank') and i.kind not in ('batch', 'payout', 'fee') and i.net_minor <> 0 and {of:i}
               and i.created_at <= (select max(r.started_at) from recon_run r where r.merchant_id = i.merchant_id)
               and not exists (select from recon_match_item x where x.merchant_id = i.merchant_id and x.item_id = i.id and x.is_live)
   and not exists (select from recon_pair a where a.merchant_id = i.merchant_id and a.psp_id = i.id)
   and not exists (select from recon_pair a where a.merchant_id = i.merchant_id and a.ledger_id = i.id)
               and not exists (select from recon_break b where b.merchant_id = i.merchant_id and b.item_id = i.id and b.status <> 'cleared')""",
    ),
    Invariant(
        "I7 every match comes to nothing in each currency",
        """select x.merchant_id, x.match_id::text as subject, x.currency || ' is off by ' || sum(x.minor) as detail from recon_match_item x
             where x.is_live and {of:x} group by x.merchant_id, x.match_id, x.currency having sum(x.minor) <> 0
            union all
            select a.merchant_id, a.psp_id::text, format('%s %s by the provider, %s %s in the ledger', p.gross_minor, p.currency, l.gross_minor, l.currency)
              from recon_pair a left join recon_item p on p.merchant_id = a.merchant_id and p.id = a.psp_id
              left join recon_item l on l.merchant_id = a.merchant_id and l.id = a.ledger_id
             where {of:a} and (p.currency, p.gross_minor) is distinct from (l.currency, l.gross_minor) or {of:a} and p.id is null""",
    ),
    Invariant(
        "I9 a payment’s captures and refunds are those of its entries",
        """with books as (select t.merchant_id, t.source_id as id, coalesce(sum(e.side * e.amount) filter (where t.kind = 'payment.captured'), 0) as captured,
              coalesce(-sum(e.side * e.amount) filter (where t.kind in ('refund.confirmed', 'refund.returned')), 0) as refunded
              from ledger.txn t join ledger.entry e on e.merchant_id = t.merchant_id and e.txn_id = t.id and e.phase in (0, 2)
              join ledger.account a on a.merchant_id = e.merchant_id and a.id = e.account_id and a.code = '1100'
             where t.source_type = 'payment' and t.kind in ('payment.captured', 'refund.confirmed', 'refund.returned') and {of:t} group by 1, 2)
            select p.merchant_id, p.id::text as subject,
                   format('captured %s and refunded %s, entries say %s and %s', p.captured_minor, p.refunded_minor, b.captured, b.refunded) as detail
              from payment p left join books b on b.merchant_id = p.merchant_id and b.id = p.id
             where {of:p} and (p.captured_minor, p.refunded_minor) <> (coalesce(b.captured, 0), coalesce(b.refunded, 0))
                or p.refunded_minor > p.captured_minor and {of:p}""",
    ),
)


class Outcome(msgspec.Struct, kw_only=True):
    """What one invariant found."""

    name: str
    violations: list[Finding]

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.violations


class Proof(msgspec.Struct, kw_only=True):
    """Everything that was checked, and how long it took."""

    is_sound: bool
    milliseconds: int
    invariants: list[Outcome]


async def prove(session: AsyncSession, *, merchant_id: MerchantId | None = None) -> Proof:
    """Check every invariant for one merchant, or for all that the session may read: as the owner role that is everybody."""
    began = time.monotonic()
    outcomes = []
    for invariant in INVARIANTS:
        found = await session.execute(text(f"{_scoped(invariant.statement)} limit {MOST}"), {"merchant": merchant_id})
        violations = [Finding(merchant=public_id("mer", row.merchant_id), subject=row.subject, detail=row.detail) for row in found]
        outcomes.append(Outcome(name=invariant.name, violations=violations))
    took = int((time.monotonic() - began) * 1000)
    return Proof(is_sound=all(outcome.holds for outcome in outcomes), milliseconds=took, invariants=outcomes)


def _scoped(statement: str) -> str:
    """The statement for one merchant or all; a place names the table it narrows."""
    whole = statement.replace("{settled_by_items}", _SETTLED_BY_ITEMS).replace("{scope}", _SCOPE.format(""))
    return _ALIASED.sub(lambda place: _SCOPE.format(f"{place[1]}."), whole)


async def invariant_page(session: AsyncSession, *, merchant_id: MerchantId) -> InvariantPage:
    """The last proof, the ones before it, and the head of the book's seal."""
    statement = select(InvariantCheck).where(InvariantCheck.merchant_id == merchant_id).order_by(InvariantCheck.id.desc()).limit(SHOWN)
    checks = [_row(row) for row in (await session.execute(statement)).scalars()]
    return InvariantPage(checks=checks, seal=await seals.head(session, merchant_id=merchant_id))


def _row(row: InvariantCheck) -> InvariantRow:
    proof = msgspec.convert(row.proof, Proof)
    results = [(outcome.name, outcome.violations) for outcome in proof.invariants]
    return InvariantRow(at=row.checked_at, by=row.checked_by, milliseconds=proof.milliseconds, is_sound=proof.is_sound, results=results)
