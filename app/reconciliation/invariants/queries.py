"""The nightly proof: what must never be true of the books and the three sources. Every row an invariant finds is a violation."""

import re
import time
from collections.abc import Sequence

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
SEAL = "I10 the seal of the book is whole and signed here"
BALANCE = "I5 what the provider says it owes is what the books say"
IMPORT = "I11 reading a file again changes nothing"
AGAIN = "I12 comparing again changes nothing"
SHOWN = 10


_SCOPE = "(cast(:merchant as uuid) is null or {}merchant_id = :merchant)"
_ALIASED = re.compile(r"\{of:(\w+)\}")


_SETTLED_BY_ITEMS = """
select i.merchant_id, s.connection_id, i.currency, sum(case when i.kind in ('charge', 'refund', 'refund_reversal', 'dispute', 'dispute_reversal')
       then case when i.currency = i.net_currency then i.net_minor else i.gross_minor end else 0 end + k.fee_minor)::bigint as minor
  from recon_item i join recon_booking k on k.merchant_id = i.merchant_id and k.item_id = i.id
  join recon_source s on s.merchant_id = i.merchant_id and s.id = i.source_id
 where i.side = 'psp' and {of:i} group by 1, 2, 3"""

INVARIANTS = (
    *BOOKS,
    Invariant(
        "I4 the books have at a bank what its last statement closed with",
        """with bank as (select s.merchant_id, s.id as source_id, coalesce(s.funding_account_id, s.id) as owner_id from recon_source s where s.side = 'bank' and {of:s}),
            books as (select b.merchant_id, b.source_id, a.currency, sum(e.side * e.amount)::bigint as minor,
                   coalesce(sum(e.side * e.amount) filter (where t.kind in ('payout.paid', 'payout.returned') and not exists (
                     select from recon_item i join recon_match_item x on x.merchant_id = i.merchant_id and x.item_id = i.id and x.is_live
                      where i.merchant_id = t.merchant_id and i.source_id = b.source_id and i.side = 'ledger' and i.ext_id = 'txn_' || t.id)), 0)::bigint as on_its_way
              from bank b join ledger.account a on a.merchant_id = b.merchant_id and a.code = '1201' and a.owner_type = 'bank' and a.owner_id = b.owner_id
              join ledger.entry e on e.merchant_id = a.merchant_id and e.account_id = a.id and e.phase in (0, 2)
              join ledger.txn t on t.merchant_id = e.merchant_id and t.id = e.txn_id group by 1, 2, 3),
            line as (select i.merchant_id, i.source_id, i.net_currency as currency, sum(i.net_minor)::bigint as minor,
                   coalesce(sum(i.net_minor) filter (where k.item_id is null), 0)::bigint as unbooked
              from recon_item i left join recon_booking k on k.merchant_id = i.merchant_id and k.item_id = i.id where i.side = 'bank' and {of:i} group by 1, 2, 3),
            -- a statement that was told twice counts as it was told first
            statement as (select distinct on (f.merchant_id, f.source_id, t.account, t.currency, t.statement, t.closed_on) f.merchant_id, f.source_id, t.*
              from recon_file f cross join jsonb_to_recordset(f.totals)
                as t(account text, statement text, currency text, closed_on text, opening_minor bigint, closing_minor bigint)
             where f.status = 'imported' and t.opening_minor is not null and {of:f}
             order by f.merchant_id, f.source_id, t.account, t.currency, t.statement, t.closed_on, f.id),
            -- from the first opening to the last closing balance, less what a missing statement moved: that is a break of its own
            told as (select merchant_id, source_id, currency, sum(closing_minor - opening_minor)::bigint as minor from statement group by 1, 2, 3)
            select merchant_id, source_id::text as subject, format('%s in the books, %s of it on its way, %s not booked yet, %s by statements, %s',
                   coalesce(b.minor, 0), coalesce(b.on_its_way, 0), coalesce(l.unbooked, 0), coalesce(t.minor, l.minor, 0), currency) as detail
              from books b full join line l using (merchant_id, source_id, currency) full join told t using (merchant_id, source_id, currency)
             where coalesce(b.minor, 0) - coalesce(b.on_its_way, 0) + coalesce(l.unbooked, 0) <> coalesce(t.minor, l.minor, 0) or l.minor <> t.minor""",
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
        "I5 what is left at a provider is awaited or a break",
        """with place as (select a.merchant_id, a.id, a.currency, s.id as source_id from ledger.account a
              join recon_source s on s.merchant_id = a.merchant_id and s.connection_id = a.owner_id
             where a.code = '1100' and a.owner_type = 'connection' and {of:a}),
            left_over as materialized (select p.merchant_id, p.source_id, p.currency, e.clear_key, sum(e.side * e.amount)::bigint as minor
              from place p join ledger.entry e on e.merchant_id = p.merchant_id and e.account_id = p.id and e.phase in (0, 2)
              join ledger.txn t on t.merchant_id = e.merchant_id and t.id = e.txn_id
             where t.posted_at <= (select max(r.started_at) from recon_run r where r.merchant_id = p.merchant_id) or t.source_type in ('run', 'break')
             group by 1, 2, 3, 4 having sum(e.side * e.amount) <> 0),
            awaited as (select i.merchant_id, i.source_id, i.clear_key from recon_item i
              left join recon_pair a on a.merchant_id = i.merchant_id and a.ledger_id = i.id
              left join recon_booking k on k.merchant_id = a.merchant_id and k.item_id = a.psp_id
             where i.side = 'ledger' and {of:i} and k.item_id is null
               and not exists (select from recon_match_item x where x.merchant_id = i.merchant_id and x.item_id = i.id and x.is_live)),
            broken as (select i.merchant_id, i.source_id, k.key from recon_break b
              join recon_item i on i.merchant_id = b.merchant_id and i.id in (b.item_id, b.other_id)
              left join recon_booking p on p.merchant_id = i.merchant_id and p.item_id = i.id
              cross join lateral (values (i.clear_key), (p.key)) k(key) where b.status <> 'cleared' and {of:b})
            select merchant_id, clear_key as subject, l.minor || ' ' || l.currency || ' that nobody awaits' as detail from left_over l
             where not exists (select from awaited w where (w.merchant_id, w.source_id, w.clear_key) = (l.merchant_id, l.source_id, l.clear_key))
               and not exists (select from broken b where (b.merchant_id, b.source_id, b.key) = (l.merchant_id, l.source_id, l.clear_key))""",
    ),
    Invariant(
        "I6 every line is in one match or one break",
        """select i.merchant_id, i.ext_id as subject, i.side || ' ' || i.kind || ' of ' || i.net_minor || ' ' || i.net_currency as detail from recon_item i
              left join recon_booking k on k.merchant_id = i.merchant_id and k.item_id = i.id
             where i.side in ('psp', 'bank') and i.kind not in ('batch', 'payout', 'reserve_hold', 'reserve_release') and i.net_minor <> 0 and {of:i}
               and (i.kind <> 'fee' or i.side = 'bank' and k.key is distinct from jsonb_build_object('fee', i.net_minor)::text)
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
        "I8 a payout leaves the bank once and comes back once at most",
        """with line as (select o.merchant_id, o.payout_id, count(*) filter (where b.net_minor < 0) as debits, count(*) filter (where b.net_minor > 0) as credits
              from recon_item_payout o join recon_item b on b.merchant_id = o.merchant_id and b.id = o.item_id and b.side = 'bank'
              join recon_match_item x on x.merchant_id = b.merchant_id and x.item_id = b.id and x.is_live where {of:o} group by 1, 2),
            books as (select t.merchant_id, t.source_id as payout_id, count(*) filter (where t.kind = 'payout.paid') as debits,
                   count(*) filter (where t.kind = 'payout.returned') as credits
              from ledger.txn t where t.source_type = 'payout' and t.kind in ('payout.paid', 'payout.returned') and {of:t} group by 1, 2)
            select merchant_id, payout_id::text as subject, format('%s debits and %s credits at the bank, %s and %s in the books',
                   coalesce(l.debits, 0), coalesce(l.credits, 0), coalesce(b.debits, 0), coalesce(b.credits, 0)) as detail
              from line l full join books b using (merchant_id, payout_id)
             where greatest(l.debits, l.credits, b.debits, b.credits) > 1 or coalesce(l.debits, 0) > coalesce(b.debits, 0)
                or coalesce(l.credits, 0) > coalesce(b.credits, 0) or coalesce(b.credits, 0) > coalesce(b.debits, 0)""",
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
    notes: list[str] = []

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


async def prove_seal(session: AsyncSession, *, merchant_id: MerchantId) -> Outcome:
    """Compare the book with its seal: every block with its content, its predecessor and its signature."""
    verdict = await seals.verify(session, merchant_id=merchant_id)
    found = [Finding(merchant=public_id("mer", merchant_id), subject="seal", detail=verdict.problem)] if verdict.problem else []
    return Outcome(name=SEAL, violations=found)


_MERCHANTS = text(
    "select distinct merchant_id from ledger.book where cast(:merchant as uuid) is null or merchant_id = :merchant order by 1"
)


async def merchants(session: AsyncSession, *, merchant_id: MerchantId | None = None) -> list[MerchantId]:
    """Who has books, of those the session may read."""
    return [MerchantId(row.merchant_id) for row in await session.execute(_MERCHANTS, {"merchant": merchant_id})]


def merged(parts: Sequence[Proof]) -> Proof:
    """Several proofs as one: an invariant holds when it does in all of them."""
    found: dict[str, Outcome] = {}
    for outcome in (outcome for proof in parts for outcome in proof.invariants):
        whole = found.setdefault(outcome.name, Outcome(name=outcome.name, violations=[], notes=[]))
        whole.violations += outcome.violations
        whole.notes += outcome.notes
    outcomes = sorted(found.values(), key=lambda outcome: _number(outcome.name))
    took = sum(proof.milliseconds for proof in parts)
    return Proof(is_sound=all(outcome.holds for outcome in outcomes), milliseconds=took, invariants=outcomes)


def nobody_asked() -> Proof:
    """What is known of the providers' balances without asking: nothing."""
    return Proof(is_sound=True, milliseconds=0, invariants=[Outcome(name=BALANCE, violations=[], notes=["No provider was asked."])])


def _number(name: str) -> int:
    return int(name[1:].split(" ", 1)[0])


async def invariant_page(session: AsyncSession, *, merchant_id: MerchantId) -> InvariantPage:
    """The last proof, the ones before it, and the head of the book's seal."""
    statement = select(InvariantCheck).where(InvariantCheck.merchant_id == merchant_id).order_by(InvariantCheck.id.desc()).limit(SHOWN)
    checks = [_row(row) for row in (await session.execute(statement)).scalars()]
    return InvariantPage(checks=checks, seal=await seals.head(session, merchant_id=merchant_id))


def _row(row: InvariantCheck) -> InvariantRow:
    proof = msgspec.convert(row.proof, Proof)
    results = [(outcome.name, outcome.violations, outcome.notes) for outcome in proof.invariants]
    return InvariantRow(at=row.checked_at, by=row.checked_by, milliseconds=proof.milliseconds, is_sound=proof.is_sound, results=results)
