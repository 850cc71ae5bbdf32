"""Reads for the pages of routing: the rules as sentences, the forms, the history."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import ConnectionId, public_id
from app.routing import queries
from app.routing.domain import (
    Change,
    Difference,
    NoDraft,
    RoutingVersionId,
    Rule,
    RuleKey,
    Rules,
    VersionStatus,
    difference,
    place_of,
)
from app.routing.models import RoutingVersion
from app.routing.queries import OPEN, trials
from app.routing.schemas import (
    MOST_COUNTED,
    ConnectionRow,
    NamedRow,
    Names,
    RoutingPage,
    RuleFormPage,
    RuleRow,
    TargetRow,
    VersionListPage,
    VersionRow,
    sentences,
    whole,
)
from app.tenancy.rules.queries import CURRENCIES


async def routing_page(session: AsyncSession, actor: Actor, *, shown: RoutingVersion | None, asked: Mapping[str, str]) -> RoutingPage:
    """The rules of one version, beside the live one: what differs, how much each rule decides, and what may be done."""
    live, draft = await queries.version_in(session, actor, VersionStatus.LIVE), await queries.version_in(session, actor, *OPEN)
    known = await queries.connections(session, actor)
    rules = await queries.rules(session, actor, version_id=RoutingVersionId(shown.id)) if shown else ()
    is_draft = shown is not None and draft is not None and shown.id == draft.id
    before = await queries.rules(session, actor, version_id=RoutingVersionId(live.id)) if live and is_draft else rules
    apart = difference(before, rules) if live or not is_draft else Difference(changes={}, removed=())
    names, called = await queries.names_in(session, actor, rules, before)
    off = {one.id for one in known if not one.is_active}
    counted = await queries.counts(session, actor, [rule.key for rule in rules]) if rules else {}
    view = _Rows(rules=rules, before=before, apart=apart, names=names, sellers=called, off=off, counted=counted)
    return RoutingPage(
        shown=VersionRow.of(shown) if shown else None,
        live=VersionRow.of(live) if live else None,
        draft=VersionRow.of(draft) if draft else None,
        rules=view.all(),
        removed=[f"{rule.name}: {whole(rule, names, called)}" for rule in apart.removed],
        difference=apart.count,
        off=sorted({names.get(one, "–") for rule in rules for one in rule.connections if one in off}),
        tried=await trials.try_panel(session, actor, of=shown, asked=asked) if shown else None,
        has_connection=bool(known),
        may_write=actor.can("routing.write"),
        may_approve=is_draft
        and draft is not None
        and actor.can("routing.approve")
        and actor.id not in {draft.requested_by, *draft.editors},
        is_own=is_draft and draft is not None and actor.id in {draft.requested_by, *draft.editors},
    )


class _Rows:
    """The rows of a version: each rule needs the same around it."""

    def __init__(
        self,
        *,
        rules: Rules,
        before: Rules,
        apart: Difference,
        names: Names,
        sellers: Names,
        off: set[ConnectionId],
        counted: Mapping[UUID, list[tuple[UUID, int]]],
    ) -> None:
        self.rules, self.apart, self.names, self.sellers, self.off, self.counted = rules, apart, names, sellers, off, counted
        self.before = {rule.key: rule for rule in before}
        self.total = sum(many for by in counted.values() for _, many in by)
        self.is_whole = all(sum(many for _, many in by) <= MOST_COUNTED for by in counted.values())

    def all(self) -> list[RuleRow]:
        """One row a rule, in their order."""
        return [self._row(place, rule) for place, rule in enumerate(self.rules, 1)]

    def _row(self, place: int, rule: Rule) -> RuleRow:
        change, last = self.apart.changes.get(rule.key), len(self.rules)
        by = [(self.names.get(one, "–"), many) for one, many in self.counted.get(rule.key, [])]
        payments = sum(many for _, many in by)
        return RuleRow(
            id=public_id("rul", rule.key),
            place=place,
            name=rule.name,
            conditions=sentences(rule, self.sellers),
            split=[self._target(share.connection, share.percent) for share in rule.split],
            fallback=[self._target(one, None) for one in rule.fallback],
            change=change,
            was=whole(self.before[rule.key], self.names, self.sellers) if change is Change.CHANGED else None,
            is_last=place == last,
            can_go_up=1 < place < last,
            can_go_down=place < last - 1,
            payments=payments,
            by_connection=by,
            percent=round(payments * 100 / self.total) if self.total and self.is_whole else None,
        )

    def _target(self, connection: ConnectionId, percent: int | None) -> TargetRow:
        return TargetRow(name=self.names.get(connection, "–"), percent=percent, is_active=connection not in self.off)


async def version_list_page(session: AsyncSession, actor: Actor) -> VersionListPage:
    """The history of the rules, newest first."""
    rows = [VersionRow.of(row) for row in await queries.versions(session, actor)]
    return VersionListPage(rows=rows, has_draft=any(row.status in OPEN for row in rows), may_write=actor.can("routing.write"))


async def draft_rules(session: AsyncSession, actor: Actor) -> tuple[RoutingVersion, Rules]:
    """The draft and its rules."""
    draft = await queries.version_in(session, actor, *OPEN)
    if draft is None:
        raise NoDraft("Start a draft first.")
    return draft, await queries.rules(session, actor, version_id=RoutingVersionId(draft.id))


async def rule_form_page(session: AsyncSession, actor: Actor, *, key: RuleKey | None) -> RuleFormPage:
    """The form of a rule of the draft, or of a new one."""
    _, rules = await draft_rules(session, actor)
    place = None if key is None else place_of(rules, key)
    rule = None if place is None else rules[place]
    known = await queries.connections(session, actor)
    wanted = rule.conditions if rule else None
    codes = [*CURRENCIES, *(code for code in (wanted.currencies if wanted else ()) if code not in CURRENCIES)]
    return RuleFormPage(
        action=f"/routing/rules/{public_id('rul', rule.key)}" if rule else "/routing/rules",
        title=f"Change “{rule.name}”" if rule else "Add a rule",
        name=rule.name if rule else "",
        is_last=place is not None and place == len(rules) - 1,
        currencies=[(code, code) for code in codes],
        chosen=list(wanted.currencies) if wanted else [],
        at_least=wanted.at_least if wanted else None,
        below=wanted.below if wanted else None,
        capture=wanted.capture or "" if wanted else "",
        seller=public_id("sel", wanted.seller) if wanted and wanted.seller else "",
        sellers=await queries.seller_choices(session, actor, chosen=wanted.seller if wanted else None),
        rows=[_named(one, rule) for one in known],
    )


def _named(one: ConnectionRow, rule: Rule | None) -> NamedRow:
    share = next((str(part.percent) for part in rule.split if part.connection == one.id), "") if rule else ""
    turn = str(rule.fallback.index(one.id) + 1) if rule and one.id in rule.fallback else ""
    return NamedRow(id=public_id("con", one.id), name=one.name, is_active=one.is_active, share=share, turn=turn)
