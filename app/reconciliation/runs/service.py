"""Comparing everything: what the ledger expects, the providers report and the bank shows. Running it twice changes nothing."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from itertools import groupby
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now, today
from app.core.ids import MerchantId, new_id
from app.core.money import Money
from app.ledger import service as ledger
from app.ledger.domain import AccountRef, Code, Kind, Line, Owner, Posting
from app.payouts.domain import BANK
from app.reconciliation import queries
from app.reconciliation.banks import service as banks
from app.reconciliation.domain import journals
from app.reconciliation.domain.breaks import SLA_DAYS, Policy, business_days_after, business_days_before
from app.reconciliation.domain.choices import Loose, choices
from app.reconciliation.domain.journals import BANK_FEE, Reported, netted
from app.reconciliation.domain.lines import LineKind
from app.reconciliation.domain.sums import Sums
from app.reconciliation.models import Run, Source
from app.reconciliation.queries import CONNECTION, RUN_SOURCE, SOURCE_OWNER
from app.reconciliation.rules import service as rules

RULES_VERSION = 1
MINUTES = 10
LINES_AT_ONCE = 1_000
LINES_PER_TRANSACTION = 250
PLAIN_AT_ONCE = 20
"""Transactions that are posted in one call."""

_STEPS = {
    "expected": text("select recon_expect(:merchant, :at)"),
    "batches": text("select recon_batches(:merchant, :at)"),
    "lines": text("select recon_match_lines(:merchant, :at, :version)"),
}
_LOOSE = text("select id, side, currency, minor, day from recon_unpaired(:merchant)")
_REMATCH_BATCHES = text("select recon_rematch(:merchant, 'batch', :at, :version, cast(:sums as jsonb))")
_COLLECT = text("select recon_collect_due(:merchant, :fee_minor, :fee_bps, :lines)")
_BOOK_PLAIN = text("select recon_book_plain(:merchant, :run, :on, :after, :through, :actor_kind, :actor_id, :request_id)")
_PLAIN_BOOKED = text(
    "insert into recon_booking (merchant_id, item_id, key) select :merchant, id, key from recon_due where is_plain order by id"
)
_DUE_LINES = text("select * from recon_due where not is_plain order by source_id, batch_ref, net_currency, ext_id, id")
_DUE_RECEIPTS = text("""
with paired as (
  select b.id as bank, t.id as batch, t.clear_key, t.source_id as batch_source, case when count(*) over (partition by m.id) > 1 and
         (select count(*) from recon_match_item y join recon_item z on z.merchant_id = y.merchant_id and z.id = y.item_id and z.side = 'bank'
           where y.merchant_id = m.merchant_id and y.match_id = m.id) = 1 then t.net_minor else b.net_minor end as minor
    from recon_match m
    join recon_match_item x on x.merchant_id = m.merchant_id and x.match_id = m.id
    join recon_item b on b.merchant_id = x.merchant_id and b.id = x.item_id and b.side = 'bank'
    join recon_match_item y on y.merchant_id = m.merchant_id and y.match_id = m.id
    join recon_item t on t.merchant_id = y.merchant_id and t.id = y.item_id and t.kind = 'batch'
   where m.merchant_id = :merchant and m.leg = 'batch' and m.undone_at is null
  union all
  select d.item_id, d.other_id, t.clear_key, t.source_id, b.net_minor from recon_difference d
    join recon_item b on b.merchant_id = d.merchant_id and b.id = d.item_id join recon_item t on t.merchant_id = d.merchant_id and t.id = d.other_id
   where d.merchant_id = :merchant and d.leg = 'batch'),
paid as (
  select b.id as bank, 'account:' || coalesce(s.funding_account_id, s.id) as key, sum(l.net_minor)::bigint as minor from recon_match m
    join recon_match_item x on x.merchant_id = m.merchant_id and x.match_id = m.id
    join recon_item b on b.merchant_id = x.merchant_id and b.id = x.item_id and b.side = 'bank'
    join recon_match_item y on y.merchant_id = m.merchant_id and y.match_id = m.id
    join recon_item l on l.merchant_id = y.merchant_id and l.id = y.item_id and l.side = 'ledger'
    join recon_source s on s.merchant_id = l.merchant_id and s.id = l.source_id
   where m.merchant_id = :merchant and m.leg = 'payout' and m.undone_at is null group by 1, 2),
part as (select bank, clear_key as key, minor from paired union all select bank, key, minor from paid),
-- once for all bank lines; asked for line by line it would pair everything anew for each of them
parts as materialized (select p.bank, jsonb_object_agg(p.key, p.minor)::text as key from part p group by p.bank),
-- read through a cursor it would be planned for its first rows, along the index that has their order, past every item there is
wanted as materialized (
  select b.id, b.source_id, b.net_currency, b.net_minor, b.ext_id, b.clear_key, k.key as posted_key,
         coalesce(p.key, case when b.kind = 'fee' and b.net_minor < 0 and -b.net_minor <= :bank_fee
                                and not exists (select from recon_item_payout n where n.merchant_id = b.merchant_id and n.item_id = b.id)
                              then jsonb_build_object('fee', b.net_minor)::text else jsonb_build_object(b.clear_key, b.net_minor)::text end) as key
    from recon_item b left join parts p on p.bank = b.id left join recon_booking k on k.merchant_id = b.merchant_id and k.item_id = b.id
   where b.merchant_id = :merchant and b.side = 'bank' and b.net_minor <> 0)
select * from wanted where posted_key is distinct from key order by source_id, ext_id, id
""")
_POSTED = text(
    "insert into recon_booking as k (merchant_id, item_id, key, fee_minor)"
    " select :merchant, id, key, fee from unnest(cast(:ids as uuid[]), cast(:keys as text[]), cast(:fees as bigint[])) u(id, key, fee)"
    " on conflict (merchant_id, item_id) do update set key = excluded.key, fee_minor = excluded.fee_minor, times = k.times + 1"
)
# What the line leg left, and what the books have in another month, is collected for the breaks and the sums alike.
_LEAVE_OVER = text("select recon_leave_over(:merchant)")
_BREAKS = text("""
with wanted as materialized (
  select * from recon_wanted_breaks(:merchant, :today, :fee_minor, :fee_bps, :rounding, :settle_days, :bank_days)
  union all select * from recon_bank_breaks(:merchant, :today, :bank_days, :bank_fee)
  union all select 'cutoff', 'item:' || item_id, source_id, item_id, other_id, reference, currency, minor from recon_turned where not is_explained
  union all select 'fx', 'item:' || item_id, source_id, item_id, null, reference, currency, minor from recon_rates(:merchant, :fx_band) where is_off
  union all select 'file_missing', 'due:' || source, source, null, null, name, '', 0 from jsonb_to_recordset(cast(:missing as jsonb)) as t(source uuid, name text)),
cleared as (
  update recon_break b set status = 'cleared', closed_at = :at
   where b.merchant_id = :merchant and b.status in ('open', 'parked', 'awaiting_approval') and b.kind not in ('restated', 'unreadable', 'batch_total')
     and not exists (select from wanted w where w.kind = b.kind and w.subject = b.subject))
insert into recon_break as b (merchant_id, id, source_id, kind, subject, item_id, other_id, reference, currency, minor, status, opened_on, due_on, opened_at)
  select :merchant, new_id(:at), w.source_id, w.kind, w.subject, w.item_id, w.other_id, w.reference, w.currency, w.minor, 'open', :today,
         (cast(:due as jsonb) ->> w.kind)::date, :at from wanted w
on conflict (merchant_id, kind, subject) do update
  set minor = excluded.minor, other_id = excluded.other_id, status = case b.status when 'cleared' then 'open' else b.status end, closed_at = null
  where b.status = 'cleared' or (b.status in ('open', 'parked') and (b.minor, b.other_id) is distinct from (excluded.minor, excluded.other_id))
""")
_RULES = text(
    "select rule, sum(matches)::bigint as matches from ("
    "  select rule, count(*) as matches from recon_pair where merchant_id = :merchant group by rule union all"
    "  select rule, count(*) from recon_match where merchant_id = :merchant and undone_at is null group by rule) r group by rule order by rule"
)
_SUMS = text("""
with told as (
  select i.currency, i.side, i.kind, i.currency = i.net_currency as is_one, sum(i.gross_minor) as gross, sum(i.net_minor) as net, sum(i.fee_minor) as fee
    from recon_item i where i.merchant_id = :merchant and (i.side <> 'ledger' or i.kind not in ('payout', 'payout_reversal')) group by 1, 2, 3, 4),
waiting as (
  select i.currency, sum(i.gross_minor) as minor from recon_loose i join recon_source s on s.merchant_id = :merchant and s.id = i.source_id
   where i.side = 'ledger' and i.day + recon_day_shift(i.happened_at, s.time_zone) + :settle_days >= :today
     and not exists (select from recon_break b where b.merchant_id = :merchant and b.item_id = i.id and b.status <> 'cleared')
     and not exists (select from recon_break b where b.merchant_id = :merchant and b.other_id = i.id and b.status <> 'cleared')
   group by 1)
select currency, coalesce(sum(gross) filter (where side = 'ledger'), 0)::bigint as ledger,
       coalesce(sum(gross) filter (where side = 'psp' and kind in ('charge', 'refund', 'refund_reversal', 'dispute', 'dispute_reversal')), 0)::bigint as psp,
       coalesce(sum(net) filter (where side = 'bank'), 0)::bigint as bank, coalesce(sum(net) filter (where kind = 'batch'), 0)::bigint as due,
       coalesce((select w.minor from waiting w where w.currency = told.currency), 0)::bigint as waiting,
       coalesce(sum(fee) filter (where side = 'ledger'), 0)::bigint as fee_booked,
       coalesce(sum(fee) filter (where side = 'psp' and is_one), 0)::bigint as fee_charged
  from told group by currency order by currency
""")
_NEWEST = text("""
select s.id, s.name, s.file_days, coalesce((select max(f.imported_at) from recon_file f
   where f.merchant_id = s.merchant_id and f.source_id = s.id and f.status = 'imported'), s.created_at)::date as newest_on
  from recon_source s where s.merchant_id = :merchant and s.file_days is not null
""")
# Resolved breaks are few beside the items: what they are about is looked up, not searched for. Linked items are matched and explain themselves.
_SETTLED = text("""
with about as (
  select b.item_id as id from recon_break b where b.merchant_id = :merchant and b.status = 'resolved' and b.kind not in ('fee', 'restated')
  union select b.other_id from recon_break b where b.merchant_id = :merchant and b.status = 'resolved' and b.kind not in ('fee', 'restated')),
free as (
  select i.* from about a join recon_item i on i.merchant_id = :merchant and i.id = a.id
   where not exists (select from recon_pair p where p.merchant_id = i.merchant_id and i.id in (p.psp_id, p.ledger_id))
     and not exists (select from recon_match_item x where x.merchant_id = i.merchant_id and x.item_id = i.id and x.is_live)),
on_its_way as (
  select i.net_currency, i.net_minor from recon_item i where i.merchant_id = :merchant and i.kind = 'batch'
     and not exists (select from recon_match_item x where x.merchant_id = i.merchant_id and x.item_id = i.id and x.is_live)
     and not exists (select from recon_break b where b.merchant_id = i.merchant_id and i.id in (b.item_id, b.other_id) and b.status <> 'cleared'))
select currency, sum(settled)::bigint as settled, sum(bank_settled)::bigint as bank_settled, sum(bank_waiting)::bigint as bank_waiting from (
  select currency, case when side = 'ledger' then gross_minor when kind = any(:expected) then -gross_minor else 0 end as settled, 0 as bank_settled, 0 as bank_waiting
    from free where kind <> 'batch' and side <> 'bank'
  union all select net_currency, 0, case when kind = 'batch' then net_minor else -net_minor end, 0 from free where kind = 'batch' or side = 'bank'
  union all select net_currency, 0, 0, net_minor from on_its_way) told group by currency
""")
_OPEN = text("select count(*) from recon_break where merchant_id = :merchant and status in ('open', 'parked', 'awaiting_approval')")


async def compare(
    session: AsyncSession, actor: Actor, *, policy: Policy | None = None, done: Callable[[str], None] = lambda _: None
) -> Run:
    """Match, book what is certain, and list what is not. Depends on the items and on what people decided, not on when files came.

    ``done`` is told each step when it is over: expected, batches, lines, bank, books, breaks.
    """
    policy = policy or Policy()
    began, merchant_id = now(), actor.merchant
    await session.execute(text(f"set local statement_timeout = '{MINUTES}min'"))
    await queries.lock_for(session, actor)
    await banks.match_payouts(session, actor, at=began, version=RULES_VERSION)
    done("payouts")
    for name, step in _STEPS.items():
        await session.execute(step, {"merchant": merchant_id, "at": began, "version": RULES_VERSION})
        done(name)
    await _match_batches(session, merchant_id, began)
    done("bank")
    run_id = new_id()
    await _Books(session, actor, run_id, policy).write()
    await rules.book_rates(session, actor, run_id=run_id, policy=policy)
    done("books")
    await _find_breaks(session, merchant_id, policy, began)
    await rules.settle_rounding(session, actor, policy=policy)
    await banks.settle_by_rule(session, actor, at=began)
    done("breaks")
    return await _record(session, actor, run_id, began, policy)


async def _match_batches(session: AsyncSession, merchant_id: MerchantId, at: datetime) -> None:
    """Match bank lines and batches. What the database cannot do in sets, choosing batches that add up to a credit, is done here for the few left."""
    loose: dict[str, list[Loose]] = {"bank": [], "psp": []}
    for row in await session.execute(_LOOSE, {"merchant": merchant_id}):
        loose[row.side].append(Loose(id=row.id, currency=row.currency, minor=row.minor, day=row.day))
    sums = msgspec.json.encode(choices(loose["bank"], loose["psp"])).decode()
    await session.execute(_REMATCH_BATCHES, {"merchant": merchant_id, "at": at, "version": RULES_VERSION, "sums": sums})


async def _missing_files(session: AsyncSession, merchant_id: MerchantId) -> list[dict[str, str]]:
    """The sources of which a file should have come by now: none came within the working days of their schedule."""
    rows = await session.execute(_NEWEST, {"merchant": merchant_id})
    return [{"source": str(row.id), "name": row.name} for row in rows if row.newest_on < business_days_before(today(), row.file_days)]


async def _find_breaks(session: AsyncSession, merchant_id: MerchantId, policy: Policy, at: datetime) -> None:
    due = {str(kind): business_days_after(today(), days).isoformat() for kind, days in SLA_DAYS.items()}
    values = {"merchant": merchant_id, "today": today(), "at": at, "due": msgspec.json.encode(due).decode()}
    limits = {
        "fee_minor": policy.fee_tolerance_minor,
        "fee_bps": policy.fee_tolerance_bps,
        "rounding": policy.rounding_minor,
        "settle_days": policy.settle_days,
        "bank_days": policy.bank_days,
        "bank_fee": policy.bank_fee_minor,
        "fx_band": policy.fx_band_bps,
        "missing": msgspec.json.encode(await _missing_files(session, merchant_id)).decode(),
    }
    await session.execute(_LEAVE_OVER, {"merchant": merchant_id})
    await session.execute(_BREAKS, {**values, **limits})


async def _record(session: AsyncSession, actor: Actor, run_id: UUID, began: datetime, policy: Policy) -> Run:
    values = {"merchant": actor.merchant}
    rules = {row.rule: row.matches for row in await session.execute(_RULES, values)}
    when = {"settle_days": policy.settle_days, "today": today()}
    sums = {
        row.currency: {name: getattr(row, name) for name in Sums.__struct_fields__ if hasattr(row, name)}
        for row in await session.execute(_SUMS, {**values, **when})
    }
    for row in await session.execute(_SETTLED, {**values, "expected": [str(kind) for kind in journals.EXPECTED_KINDS]}):
        more = {"settled": row.settled, "bank_settled": row.bank_settled, "bank_waiting": row.bank_waiting}
        sums.setdefault(row.currency, msgspec.to_builtins(Sums(ledger=0, psp=0, due=0, bank=0, waiting=0))).update(more)
    found = int(await session.scalar(_OPEN, values) or 0)
    run = Run(
        merchant_id=actor.merchant,
        id=run_id,
        started_at=began,
        finished_at=now(),
        started_by=actor.name,
        rules=rules,
        sums=sums,
        open_breaks=found,
    )
    session.add(run)
    await session.flush()
    return run


class _Books:
    """What one run writes into the ledger: settled lines, lines that found their payment, fees, receipts; a thousand lines at a time."""

    def __init__(self, session: AsyncSession, actor: Actor, run_id: UUID, policy: Policy) -> None:
        self.session, self.actor, self.run_id, self.policy = session, actor, run_id, policy
        self.merchant_id = actor.merchant
        self.on = today()
        self.sources: dict[UUID, Source] = {}
        self.postings: list[Posting] = []
        self.number = 0

    async def write(self) -> None:
        """Write everything that is due."""
        self.sources = {source.id: source for source in await queries.sources(self.session, merchant_id=self.merchant_id)}
        await self._book_plain()
        async for rows in self._some(_DUE_LINES, {}):
            for (_, batch), lines in groupby(rows, key=lambda row: (row.source_id, row.batch_key)):
                self._settle(batch, list(lines))
            await self._post([row.id for row in rows], [row.key for row in rows], [row.fee_due for row in rows])
        async for rows in self._some(_DUE_RECEIPTS, {"bank_fee": self.policy.bank_fee_minor}):
            for row in rows:
                self._receive(row)
            await self._post([row.id for row in rows], [row.key for row in rows], [0] * len(rows))

    async def _book_plain(self) -> None:
        """Lines that nothing is special about, nearly all of them, become journals within the database; the others are left for one by one."""
        limits = {"fee_minor": self.policy.fee_tolerance_minor, "fee_bps": self.policy.fee_tolerance_bps, "lines": LINES_PER_TRANSACTION}
        last = int(await self.session.scalar(_COLLECT, {"merchant": self.merchant_id, **limits}) or 0)
        values = {"merchant": self.merchant_id, "run": self.run_id, "on": self.on, "actor_kind": self.actor.kind.value}
        values |= {"actor_id": self.actor.id, "request_id": self.actor.request_id or None}
        for after in range(0, last, PLAIN_AT_ONCE):
            async with ledger.refusals():
                await self.session.execute(_BOOK_PLAIN, {**values, "after": after, "through": after + PLAIN_AT_ONCE})
        if last:
            await self.session.execute(_PLAIN_BOOKED, {"merchant": self.merchant_id})

    async def _some(self, statement: object, values: dict[str, int]) -> AsyncIterator[Sequence[Row[tuple[object, ...]]]]:
        result = await self.session.stream(statement, {"merchant": self.merchant_id, **values})  # type: ignore[call-overload]
        async for rows in result.partitions(LINES_AT_ONCE):
            yield rows

    async def _post(self, ids: list[UUID], keys: list[str], fees: list[int]) -> None:
        await ledger.post(self.session, merchant_id=self.merchant_id, postings=self.postings)
        self.postings = []
        await self.session.execute(_POSTED, {"merchant": self.merchant_id, "ids": ids, "keys": keys, "fees": fees})

    def _add(self, kind: str, what: str, lines: list[Line]) -> None:
        kept = netted(lines)
        if not kept:
            return
        self.number += 1
        self.postings.append(
            Posting(
                kind=kind,
                source_type=RUN_SOURCE,
                source_id=self.run_id,
                event_key=f"{what}:{self.number}",
                effective_on=self.on,
                lines=kept,
                description=what[:200],
                actor=self.actor,
            )
        )

    def _settle(self, batch: str, rows: Sequence[Row[tuple[object, ...]]]) -> None:
        for start in range(0, len(rows), LINES_PER_TRANSACTION):
            settled: list[Line] = []
            moved: list[Line] = []
            fees: list[Line] = []
            for row in rows[start : start + LINES_PER_TRANSACTION]:
                psp, source = Owner(CONNECTION, row.connection_id), Owner(SOURCE_OWNER, row.source_id)
                line = _reported(row, batch)
                if row.posted_key is None:
                    settled += journals.report(line, psp=psp, source=source)
                elif row.posted_key != row.key:
                    moved += journals.reassign(line, psp=psp, before=row.posted_key)
                before = Money(row.posted_fee_minor, row.currency)
                fees += journals.correct_fee(psp=psp, fee=-before, key=row.posted_key or row.key)
                fees += journals.correct_fee(psp=psp, fee=Money(row.fee_due, row.currency), key=row.key)
            self._add(Kind.SETTLEMENT_REPORTED, batch, settled)
            self._add(Kind.SETTLEMENT_ASSIGNED, f"assign:{batch}", moved)
            self._add(Kind.SETTLEMENT_FEE_CORRECTED, f"pspfee:{batch}", fees)

    def _receive(self, row: Row[tuple[object, ...]]) -> None:
        bank = queries.bank_of(self.sources[row.source_id])
        lines = journals.receive(bank=bank, parts=self._parts(row, row.key))
        back = journals.receive(bank=bank, parts={place: -money for place, money in self._parts(row, row.posted_key).items()})
        self._add(Kind.SETTLEMENT_RECEIVED, f"bank:{row.ext_id}", [*lines, *back])

    def _parts(self, row: Row[tuple[object, ...]], key: str | None) -> dict[tuple[AccountRef, str | None], Money]:
        """A bank line's parts by the account and key they come from."""
        parts: dict[str, int] = msgspec.json.decode(key, type=dict[str, int]) if key else {}
        return {self._origin(row.source_id, name, minor): Money(minor, row.net_currency) for name, minor in parts.items()}

    def _origin(self, source_id: UUID, key: str, minor: int) -> tuple[AccountRef, str | None]:
        if key == "fee":
            return BANK_FEE, None
        kind, name, *_ = key.split(":", 2)
        if kind == "account":
            return Owner(BANK, UUID(name)).account(Code.BANK_SAFEGUARDED), None
        connection = self.sources[UUID(name)].connection_id if kind == "batch" else None
        if connection is None:
            return queries.unknown_at_bank(self.sources[source_id], minor), key
        return Owner(CONNECTION, connection).account(Code.SETTLEMENT_IN_TRANSIT), key


def _reported(row: Row[tuple[object, ...]], batch: str) -> Reported:
    return Reported(
        kind=LineKind(row.kind),
        gross=Money(row.gross_minor, row.currency),
        fee=Money(row.fee_minor, row.net_currency),
        net=Money(row.net_minor, row.net_currency),
        key=row.key,
        batch=batch,
    )
