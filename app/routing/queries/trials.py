"""Trying rules: on one payment that somebody describes, and on the payments of the last days. The database answers, as it does when it chooses."""

from collections.abc import Mapping
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.db import Record, read
from app.core.errors import Invalid
from app.core.ids import SellerId, first_id_at, parse_id
from app.core.money import CURRENCIES, Money
from app.routing import queries
from app.routing.domain import CaptureMode, RoutingVersionId
from app.routing.models import RoutingVersion
from app.routing.queries import LATELY
from app.routing.schemas import Names, ReplayPage, ReplayRow, SplitOutcome, TraceRow, Tried, TryPanel, VersionRow, version_id_text
from app.tenancy.rules.queries import CURRENCIES as OFFERED

MOST_REPLAYED = 10_000

_TRACE = text("select * from routing_trace(:merchant, :version, :currency, :amount, :mode, cast(:sellers as uuid[]))")
_OUTCOMES = text("select * from routing_outcomes(:merchant, :version, :rule)")
_REPLAY = text("select * from routing_replay(:merchant, :version, :since, :most)")
_WHY_NOT = {
    "currency": "Another currency",
    "at_least": "Below the amount it starts at",
    "below": "At or above the amount it ends at",
    "capture": "Captured in another way",
    "seller": "Another seller",
}


async def trace(session: AsyncSession, actor: Actor, *, version_id: RoutingVersionId, tried: Tried) -> list[TraceRow]:
    """What each rule says to a payment, and who takes it."""
    values = {
        "merchant": actor.merchant,
        "version": version_id,
        "currency": tried.amount.currency,
        "amount": tried.amount.minor,
        "mode": tried.capture,
        "sellers": [tried.seller] if tried.seller else [],
    }
    names = await _names(session, actor)
    rows = []
    for place, row in enumerate(await read(session, _TRACE, values), 1):
        outcomes = await _outcomes(session, actor, version_id, row, names) if row.hit else []
        why = ", ".join(_WHY_NOT[unmet] for unmet in row.unmet)
        rows.append(TraceRow(place=place, name=row.name, is_hit=row.hit, is_reached=row.reached, why_not=why, outcomes=outcomes))
    return rows


async def _names(session: AsyncSession, actor: Actor) -> dict[UUID, str]:
    return {one.id: one.name for one in await queries.connections(session, actor)}


async def _outcomes(session: AsyncSession, actor: Actor, version_id: RoutingVersionId, row: Record, names: Names) -> list[SplitOutcome]:
    found = await read(session, _OUTCOMES, {"merchant": actor.merchant, "version": version_id, "rule": row.rule_key})
    return [
        SplitOutcome(
            percent=one.share,
            drawn=names.get(one.drawn, "–"),
            taken=names.get(one.taken) if one.taken else None,
            is_skipped=one.taken != one.drawn,
        )
        for one in found
    ]


async def try_panel(session: AsyncSession, actor: Actor, *, of: RoutingVersion, asked: Mapping[str, str]) -> TryPanel:
    """The form that tries a payment, and what the rules say to what was entered."""
    currency = asked.get("amount_currency", OFFERED[0])
    capture, seller = asked.get("capture", ""), asked.get("seller", "")
    panel = TryPanel(
        version=version_id_text(of.id),
        amount=asked.get("amount", ""),
        currency=currency,
        capture=capture,
        seller=seller,
        currencies=list(OFFERED),
        sellers=await queries.seller_choices(session, actor),
    )
    if not panel.amount:
        return panel
    tried, problem = _tried(panel)
    if tried is None:
        return msgspec.structs.replace(panel, problem=problem)
    return msgspec.structs.replace(panel, trace=await trace(session, actor, version_id=RoutingVersionId(of.id), tried=tried))


def _tried(panel: TryPanel) -> tuple[Tried | None, str]:
    """What was entered, or what is wrong with it; the rest of the page stays."""
    if panel.currency not in CURRENCIES:
        return None, "Choose a currency."
    try:
        amount = Money.parse(panel.amount, panel.currency)
        seller = SellerId(parse_id("sel", panel.seller)) if panel.seller else None
    except Invalid as wrong:
        return None, wrong.detail
    if not amount.is_positive:
        return None, "Enter more than zero."
    capture = CaptureMode(panel.capture) if panel.capture in set(CaptureMode) else CaptureMode.AUTOMATIC
    return Tried(amount=amount, capture=capture, seller=seller), ""


async def replay_page(session: AsyncSession, actor: Actor, *, of: RoutingVersion, most: int = MOST_REPLAYED) -> ReplayPage:
    """What a version would have done with the payments of the last seven days, as the connections stand now."""
    values = {"merchant": actor.merchant, "version": of.id, "since": first_id_at(now() - LATELY), "most": most}
    names = await _names(session, actor)
    rows = await read(session, _REPLAY, values)
    looked_at = sum(row.payments for row in rows)
    went, goes, moves = dict[str, int](), dict[str, int](), dict[tuple[str, str], int]()
    for row in rows:
        was, would = names.get(row.went, "–"), names.get(row.goes, "Nobody") if row.goes else "Nobody"
        went[was], goes[would] = went.get(was, 0) + row.payments, goes.get(would, 0) + row.payments
        if row.went != row.goes:
            moves[was, would] = moves.get((was, would), 0) + row.payments
    nobody = sum(row.payments for row in rows if row.goes is None)
    rerouted = sum(moves.values()) - nobody
    return ReplayPage(
        version=VersionRow.of(of),
        looked_at=looked_at,
        is_cut=looked_at >= most,
        same=looked_at - rerouted - nobody,
        by_name=sum(row.payments for row in rows if row.by_name),
        nobody=nobody,
        rerouted=rerouted,
        moves=[ReplayRow(went=was, goes=would, payments=many) for (was, would), many in sorted(moves.items(), key=lambda one: -one[1])],
        by_connection=[(name, went.get(name, 0), goes.get(name, 0)) for name in sorted({*went, *goes} - {"Nobody"})],
    )
