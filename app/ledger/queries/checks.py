"""Do the books balance? What must never be true, asked of the database; every answer is a violation."""

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import MerchantId
from app.ledger.schemas import CheckReport, Violation

MOST = 100
"""Violations reported per invariant; the first ones say enough."""

_SCOPE = "(cast(:merchant as uuid) is null or merchant_id = :merchant)"
_COUNTS = text(
    """select (select count(*) from ledger.book where {scope}) as books, (select count(*) from ledger.account where {scope}) as accounts,
              (select count(*) from ledger.txn where {scope}) as transactions, (select count(*) from ledger.entry where {scope}) as entries
    """.replace("{scope}", _SCOPE)
)


class Invariant(NamedTuple):
    """A statement whose every row (merchant_id, subject, detail) is a violation; ``scope`` stands for the choice of books."""

    name: str
    statement: str


INVARIANTS = (
    Invariant(
        "I1 every transaction balances in each currency",
        """select merchant_id, 'txn_' || txn_id as subject, currency || ' is off by ' || sum(side * amount) as detail
             from ledger.entry where {scope} group by merchant_id, txn_id, currency having sum(side * amount) <> 0""",
    ),
    Invariant(
        "I1 every transaction has at least two lines",
        """select t.merchant_id, 'txn_' || t.id as subject, count(e.line) || ' lines' as detail
             from ledger.txn t left join ledger.entry e on e.merchant_id = t.merchant_id and e.txn_id = t.id
            where (cast(:merchant as uuid) is null or t.merchant_id = :merchant) group by t.merchant_id, t.id having count(e.line) < 2""",
    ),
    Invariant(
        "I1 every line has its transaction, and an account of its merchant in its currency",
        """select e.merchant_id, 'txn_' || e.txn_id as subject, 'line ' || e.line || ' has no transaction or no account' as detail
             from ledger.entry e
             left join ledger.txn t on t.merchant_id = e.merchant_id and t.id = e.txn_id
             left join ledger.account a on a.merchant_id = e.merchant_id and a.id = e.account_id and a.currency = e.currency
            where (cast(:merchant as uuid) is null or e.merchant_id = :merchant) and (t.id is null or a.id is null)""",
    ),
    Invariant(
        "I2 every balance is the sum of its entries",
        """with stored as (
             select merchant_id, account_id, sum(dr) as dr, sum(cr) as cr, sum(dp) as dp, sum(cp) as cp from (
               select merchant_id, account_id, debits_posted as dr, credits_posted as cr, debits_pending as dp, credits_pending as cp
                 from ledger.balance where {scope}
               union all select merchant_id, account_id, debits, credits, debits_pending, credits_pending from ledger.balance_delta
                where {scope}) s group by merchant_id, account_id),
           folded as (
             select e.merchant_id, e.account_id, coalesce(sum(amount) filter (where side = 1 and e.phase in (0, 2)), 0) as dr,
                    coalesce(sum(amount) filter (where side = -1 and e.phase in (0, 2)), 0) as cr,
                    coalesce(sum(amount) filter (where side = 1 and e.phase = 1 and r.id is null), 0) as dp,
                    coalesce(sum(amount) filter (where side = -1 and e.phase = 1 and r.id is null), 0) as cp
               from ledger.entry e
               left join ledger.txn r on e.phase = 1 and r.merchant_id = e.merchant_id and r.pending_txn_id = e.txn_id
              where (cast(:merchant as uuid) is null or e.merchant_id = :merchant) group by e.merchant_id, e.account_id)
           select merchant_id, 'acc_' || account_id as subject,
                  format('stored %s/%s held %s/%s, entries say %s/%s held %s/%s', s.dr, s.cr, s.dp, s.cp, f.dr, f.cr, f.dp, f.cp) as detail
             from stored s full join folded f using (merchant_id, account_id)
            where (coalesce(s.dr, 0), coalesce(s.cr, 0), coalesce(s.dp, 0), coalesce(s.cp, 0))
                  <> (coalesce(f.dr, 0), coalesce(f.cr, 0), coalesce(f.dp, 0), coalesce(f.cp, 0))""",
    ),
    Invariant(
        "I3 debits equal credits over the whole book",
        """select merchant_id, currency as subject, 'debits less credits are ' || sum(net) as detail from (
             select b.merchant_id, a.currency, sum(b.debits_posted - b.credits_posted) as net
               from ledger.balance b join ledger.account a on a.merchant_id = b.merchant_id and a.id = b.account_id
              where (cast(:merchant as uuid) is null or b.merchant_id = :merchant) group by 1, 2
             union all
             select d.merchant_id, a.currency, sum(d.debits - d.credits)
               from ledger.balance_delta d join ledger.account a on a.merchant_id = d.merchant_id and a.id = d.account_id
              where (cast(:merchant as uuid) is null or d.merchant_id = :merchant) group by 1, 2) s
            group by merchant_id, currency having sum(net) <> 0""",
    ),
    Invariant(
        "I3 no account is below its limit",
        """select merchant_id, 'acc_' || account_id as subject, 'below its limit of ' || min_available as detail
             from ledger.balance where {scope} and min_available is not null
              and normal_side * (debits_posted - credits_posted) - case when normal_side = -1 then debits_pending else credits_pending end
                  < min_available""",
    ),
    Invariant(
        "I3 an account in the chart with a limit has it",
        """select b.merchant_id, 'acc_' || b.account_id as subject, 'has no limit, the chart says ' || c.min_available as detail
             from ledger.balance b join ledger.account a on a.merchant_id = b.merchant_id and a.id = b.account_id
             join ledger.chart c on c.code = a.code
            where (cast(:merchant as uuid) is null or b.merchant_id = :merchant) and c.min_available is not null and b.min_available is null""",
    ),
)


async def check(session: AsyncSession, *, merchant_id: MerchantId | None = None) -> CheckReport:
    """Check one merchant's book, or all that the session may read: as the owner role that is every book."""
    values = {"merchant": merchant_id}
    counts = (await session.execute(_COUNTS, values)).one()
    violations: list[Violation] = []
    for invariant in INVARIANTS:
        found = await session.execute(text(invariant.statement.replace("{scope}", _SCOPE) + f" limit {MOST}"), values)
        violations += [
            Violation(invariant=invariant.name, merchant_id=row.merchant_id, subject=row.subject, detail=row.detail) for row in found
        ]
    return CheckReport(
        books=counts.books,
        accounts=counts.accounts,
        transactions=counts.transactions,
        entries=counts.entries,
        violations=violations,
    )
