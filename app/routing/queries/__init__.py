"""Reads of routing: versions and their rules, what waits for a second person, and why a payment went where it went."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals.domain import EVERYTHING, Part, Waiting
from app.approvals.queries import part_of
from app.core.actors import Actor
from app.core.clock import now
from app.core.db import Record, read
from app.core.ids import ConnectionId, MerchantId, PaymentId, SellerId, first_id_at, path_id, public_id
from app.core.money import Money
from app.psp import queries as psp
from app.routing.domain import (
    CaptureMode,
    Conditions,
    Decision,
    RoutingVersionId,
    RoutingVersionNotFound,
    Rule,
    RuleKey,
    Rules,
    Share,
    Turn,
    VersionStatus,
    difference,
)
from app.routing.models import RoutingVersion
from app.routing.schemas import MOST_COUNTED, ConnectionRow, Names, PublishPage, lines_of, version_id_text
from app.sellers import queries as sellers
from app.sellers.domain import SellerStatus

LATELY = timedelta(days=7)
OPEN = (VersionStatus.DRAFT, VersionStatus.PENDING)
MOST_VERSIONS = 100


def version_id(text: str) -> RoutingVersionId:
    """The version in an address."""
    return RoutingVersionId(path_id("rtv", text, otherwise=RoutingVersionNotFound()))


async def version(session: AsyncSession, actor: Actor, *, version_id: RoutingVersionId) -> RoutingVersion:
    """One version of the rules."""
    found = await session.get(RoutingVersion, (actor.merchant, version_id))
    if found is None:
        raise RoutingVersionNotFound()
    return found


async def version_in(session: AsyncSession, actor: Actor, *statuses: VersionStatus) -> RoutingVersion | None:
    """The one version in a state that only one can be in: live, or open."""
    mine = select(RoutingVersion).where(RoutingVersion.merchant_id == actor.merchant, RoutingVersion.status.in_(statuses))
    return await session.scalar(mine)


async def versions(session: AsyncSession, actor: Actor) -> list[RoutingVersion]:
    """The versions, newest first."""
    mine = select(RoutingVersion).where(RoutingVersion.merchant_id == actor.merchant)
    return list(await session.scalars(mine.order_by(RoutingVersion.number.desc()).limit(MOST_VERSIONS)))


_RULES = text(
    "select r.rule_key, r.name, r.currencies, r.amount_currency, r.at_least_minor, r.below_minor, r.capture_mode, r.seller_id,"
    " (select array_agg(t.connection_id order by t.place) from routing_target t where t.merchant_id = r.merchant_id"
    "   and t.version_id = r.version_id and t.rule_key = r.rule_key) as named,"
    " (select array_agg(coalesce(t.share, 0) order by t.place) from routing_target t where t.merchant_id = r.merchant_id"
    "   and t.version_id = r.version_id and t.rule_key = r.rule_key) as shares"
    " from routing_rule r where r.merchant_id = :merchant and r.version_id = :version order by r.position"
)


async def rules(session: AsyncSession, actor: Actor, *, version_id: RoutingVersionId) -> Rules:
    """The rules of a version, in their order."""
    return tuple(_rule(row) for row in await read(session, _RULES, {"merchant": actor.merchant, "version": version_id}))


def _rule(row: Record) -> Rule:
    return Rule(
        key=RuleKey(row.rule_key),
        name=row.name,
        conditions=Conditions(
            currencies=tuple(row.currencies or ()),
            at_least=_amount(row.at_least_minor, row.amount_currency),
            below=_amount(row.below_minor, row.amount_currency),
            capture=CaptureMode(row.capture_mode) if row.capture_mode else None,
            seller=SellerId(row.seller_id) if row.seller_id else None,
        ),
        split=tuple(Share(connection=ConnectionId(one), percent=share) for one, share in zip(row.named, row.shares, strict=True) if share),
        fallback=tuple(ConnectionId(one) for one, share in zip(row.named, row.shares, strict=True) if not share),
    )


def _amount(minor: int | None, currency: str) -> Money | None:
    return None if minor is None else Money(minor, currency)


async def connections(session: AsyncSession, actor: Actor) -> list[ConnectionRow]:
    """The connections that rules can name, oldest first."""
    names = await psp.connection_names(session, merchant_id=actor.merchant)
    active = {one.id for one in await psp.active_connections(session, merchant_id=actor.merchant)}
    return [ConnectionRow(id=one, name=names[one], is_active=one in active) for one in sorted(names)]


async def seller_choices(session: AsyncSession, actor: Actor, *, chosen: SellerId | None = None) -> list[tuple[str, str]]:
    """The sellers that a rule can name; the one it names already is among them."""
    found = await sellers.sellers(session, merchant_id=actor.merchant, status=SellerStatus.ACTIVE, size=MOST_VERSIONS)
    choices = {seller.id: seller.name for seller in found.items}
    if chosen is not None:
        named = await sellers.seller_names(session, merchant_id=actor.merchant, ids={chosen})
        choices |= {public_id("sel", one): name for one, name in named.items()}
    return sorted(choices.items(), key=lambda choice: choice[1].lower())


async def names_in(session: AsyncSession, actor: Actor, *of: Rules) -> tuple[Names, Names]:
    """What the connections and the sellers in some rules are called."""
    named = {rule.conditions.seller for some in of for rule in some if rule.conditions.seller is not None}
    called = await sellers.seller_names(session, merchant_id=actor.merchant, ids=named) if named else {}
    return dict((await psp.connection_names(session, merchant_id=actor.merchant)).items()), dict(called.items())


_COUNTS = text(
    "select k.rule_key, x.connection_id, count(*)::bigint as payments from unnest(cast(:keys as uuid[])) k(rule_key)"
    " cross join lateral (select d.connection_id from routing_decision d where d.merchant_id = :merchant and d.rule_key = k.rule_key"
    " and d.payment_id >= :since limit :most) x group by 1, 2 order by 3 desc"
)


async def counts(session: AsyncSession, actor: Actor, keys: Sequence[RuleKey]) -> dict[UUID, list[tuple[UUID, int]]]:
    """How many payments of the last days each rule decided about, by connection; beyond ten thousand they are not counted."""
    values = {"merchant": actor.merchant, "keys": list(keys), "since": first_id_at(now() - LATELY), "most": MOST_COUNTED + 1}
    found: dict[UUID, list[tuple[UUID, int]]] = {}
    for row in await read(session, _COUNTS, values):
        found.setdefault(row.rule_key, []).append((row.connection_id, row.payments))
    return found


async def publish_page(session: AsyncSession, actor: Actor, *, of: RoutingVersion) -> PublishPage:
    """What somebody is asked to agree to: every rule, with what differs from the live version."""
    live = await version_in(session, actor, VersionStatus.LIVE)
    draft = await rules(session, actor, version_id=RoutingVersionId(of.id))
    before = await rules(session, actor, version_id=RoutingVersionId(live.id)) if live else ()
    connections_called, sellers_called = await names_in(session, actor, draft, before)
    lines = lines_of(difference(before, draft), before, draft, connections_called, sellers_called)
    off = [one.name for one in await connections(session, actor) if not one.is_active and any(one.id in rule.connections for rule in draft)]
    return PublishPage(number=of.number, replaces=live.number if live else None, lines=lines, off=off)


async def how_many_wait(session: AsyncSession, actor: Actor) -> int:
    """How many drafts wait for a second person."""
    mine = (RoutingVersion.merchant_id == actor.merchant, RoutingVersion.status == VersionStatus.PENDING)
    return await session.scalar(select(func.count()).select_from(RoutingVersion).where(*mine)) or 0


async def waiting(session: AsyncSession, actor: Actor, part: Part = EVERYTHING) -> list[Waiting]:
    """Drafts that wait for a second person."""
    mine = select(RoutingVersion).where(RoutingVersion.merchant_id == actor.merchant, RoutingVersion.status == VersionStatus.PENDING)
    rows = list(await session.scalars(part_of(mine, RoutingVersion.id, part)))
    return [await _waiting(session, actor, row) for row in rows]


async def _waiting(session: AsyncSession, actor: Actor, row: RoutingVersion) -> Waiting:
    page = await publish_page(session, actor, of=row)
    facts = [("Replaces", f"version {page.replaces}" if page.replaces else "nothing: the first rules"), *page.lines]
    if page.off:
        facts.append(("Takes no payments now", ", ".join(page.off)))
    return Waiting(
        kind="routing",
        id=version_id_text(row.id),
        title=f"Routing, version {row.number}",
        detail=f"Edited by {row.edited_by_name}",
        href="/routing",
        digest=row.digest or "",
        requested_by=row.requested_by_name or "",
        requested_at=row.requested_at or row.updated_at,
        may_decide=actor.can("routing.approve") and actor.id not in {row.requested_by, *row.editors},
        reason=row.reason,
        facts=facts,
    )


DECISION_OF_PAYMENT = (
    "(select jsonb_build_object('version', v.number, 'rule', r.name, 'candidates', d.candidates) from routing_decision d"
    " join routing_version v on v.merchant_id = d.merchant_id and v.id = d.version_id"
    " join routing_rule r on r.merchant_id = d.merchant_id and r.version_id = d.version_id and r.rule_key = d.rule_key"
    " where d.merchant_id = payment.merchant_id and d.payment_id = payment.id)"
)
"""Part of a read of payments: why each went where it went, for ``decision_from``."""
_DECISION = text(f"select {DECISION_OF_PAYMENT} as routing from payment where merchant_id = :merchant and id = :payment")  # noqa: S608 - our own text


async def decision(session: AsyncSession, *, merchant_id: MerchantId, payment_id: PaymentId) -> Decision | None:
    """Why a payment went where it went, as it was kept when it began; nothing when no rule decided."""
    found = await read(session, _DECISION, {"merchant": merchant_id, "payment": payment_id})
    return decision_from(found[0].routing) if found else None


def decision_from(kept: Mapping[str, Any] | None) -> Decision | None:
    """A decision as it was kept; nothing when no rule decided."""
    return Decision(version=kept["version"], rule=kept["rule"], turns=_turns(kept["candidates"])) if kept else None


def _turns(candidates: Sequence[Mapping[str, str]]) -> list[Turn]:
    """Whose turn it was, as they stood then: the first who took payments was taken."""
    turns, is_taken = list[Turn](), False
    for one in candidates:
        result = "not_needed" if is_taken else "taken" if one["status"] == "active" else one["status"]
        is_taken = is_taken or result == "taken"
        turns.append(Turn(connection=public_id("con", UUID(one["connection_id"])), name=one["name"], result=result))
    return turns
