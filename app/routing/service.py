"""Writes of routing: drafts and their rules, asking for a second person, publishing. Each in one transaction and audited."""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, outbox
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import new_id
from app.routing import queries
from app.routing.domain import (
    VERSION,
    DraftExists,
    NoDraft,
    NothingDiffers,
    NothingToRoute,
    RoutingIsStale,
    RoutingNeedsSecondPerson,
    RoutingPublished,
    RoutingReasonMissing,
    RoutingVersionId,
    Rule,
    RuleInvalid,
    RuleKey,
    Rules,
    VersionStatus,
    difference,
    digest_of,
    first_rules,
    in_words,
    moved,
    with_changed,
    with_rule,
    without,
)
from app.routing.models import RoutingRule, RoutingTarget, RoutingVersion
from app.sellers import queries as sellers

OPEN = (VersionStatus.DRAFT, VersionStatus.PENDING)


async def start_draft(session: AsyncSession, actor: Actor, *, version_id: RoutingVersionId | None = None) -> RoutingVersion:
    """Start a draft from an older version, from the live one, or with one rule that takes everything."""
    source = await _source(session, actor, version_id)
    rules = await queries.rules(session, actor, version_id=RoutingVersionId(source.id)) if source else await _nothing_yet(session, actor)
    last = await session.scalar(select(func.max(RoutingVersion.number)).where(RoutingVersion.merchant_id == actor.merchant))
    moment = now()
    version = RoutingVersion(
        merchant_id=actor.merchant,
        id=new_id(),
        number=(last or 0) + 1,
        status=VERSION.initial,
        based_on=source.number if source else None,
        editors=[_person(actor)],
        edited_by_name=actor.name,
        created_at=moment,
        updated_at=moment,
    )
    try:
        async with session.begin_nested():
            session.add(version)
    except IntegrityError:
        raise DraftExists() from None
    await _write(session, version, rules)
    await _note(session, actor, version, "draft_started", after={"based_on": version.based_on, "rules": in_words(rules)})
    return version


async def _source(session: AsyncSession, actor: Actor, version_id: RoutingVersionId | None) -> RoutingVersion | None:
    if version_id is not None:
        return await queries.version(session, actor, version_id=version_id)
    return await queries.version_in(session, actor, VersionStatus.LIVE)


async def _nothing_yet(session: AsyncSession, actor: Actor) -> Rules:
    known = await queries.connections(session, actor)
    if not known:
        raise NothingToRoute("Connect a PSP first, under Connections; then say which payments it takes.")
    oldest = next((one for one in known if one.is_active), known[0])
    return first_rules(oldest.id, RuleKey(new_id()))


async def add_rule(session: AsyncSession, actor: Actor, *, rule: Rule) -> None:
    """Add a rule to the draft, before “Everything else”."""
    await _edit(session, actor, "rule_added", lambda rules: with_rule(rules, rule))


async def change_rule(session: AsyncSession, actor: Actor, *, rule: Rule) -> None:
    """Say a rule of the draft differently."""
    await _edit(session, actor, "rule_changed", lambda rules: with_changed(rules, rule))


async def remove_rule(session: AsyncSession, actor: Actor, *, key: RuleKey) -> None:
    """Take a rule out of the draft."""
    await _edit(session, actor, "rule_removed", lambda rules: without(rules, key))


async def move_rule(session: AsyncSession, actor: Actor, *, key: RuleKey, by: int) -> None:
    """Move a rule of the draft a step up or down."""
    await _edit(session, actor, "rule_moved", lambda rules: moved(rules, key, by))


async def _edit(session: AsyncSession, actor: Actor, action: str, edit: Callable[[Rules], Rules]) -> None:
    """Change the draft's rules; a request that waits for somebody is void with that."""
    version = await _draft(session, actor)
    before = await queries.rules(session, actor, version_id=RoutingVersionId(version.id))
    after = edit(before)
    if after == before:
        return
    await _refuse_strangers(session, actor, after)
    was_asked_for = version.status == VersionStatus.PENDING
    _step(version, "edit")
    _forget_request(version)
    version.editors = sorted({*version.editors, _person(actor)})
    version.edited_by_name = actor.name
    await session.flush()
    await _write(session, version, after)
    await _note(session, actor, version, action, before=_changed_of(before, after), after=_changed_of(after, before))
    if was_asked_for:
        await _note(session, actor, version, "request_voided", after={"because": action})


async def _refuse_strangers(session: AsyncSession, actor: Actor, rules: Rules) -> None:
    """Rules name connections and sellers of this merchant; the keys would refuse others, but not in words."""
    known = {one.id for one in await queries.connections(session, actor)}
    if any(one not in known for rule in rules for one in rule.connections):
        raise RuleInvalid("Check the rule.", fields={"share": "Choose among the connections of this merchant."})
    named = {rule.conditions.seller for rule in rules if rule.conditions.seller is not None}
    if len(await sellers.seller_names(session, merchant_id=actor.merchant, ids=named)) < len(named):
        raise RuleInvalid("Check the rule.", fields={"seller": "Choose one of the sellers."})


def _changed_of(here: Rules, there: Rules) -> dict[str, object]:
    return {"order": [rule.name for rule in here], "rules": in_words(tuple(rule for rule in here if rule not in there))}


async def discard_draft(session: AsyncSession, actor: Actor) -> None:
    """Give the draft up; the live version stays as it is."""
    version = await _draft(session, actor)
    before = version.status
    _step(version, "discard")
    await session.flush()
    await _note(session, actor, version, "draft_discarded", before={"status": before}, after={"status": version.status})


async def request_publish(session: AsyncSession, actor: Actor, *, reason: str) -> RoutingVersion:
    """Ask a second person to let the draft become live, exactly as it is now."""
    version = await _draft(session, actor)
    live = await queries.version_in(session, actor, VersionStatus.LIVE)
    rules = await queries.rules(session, actor, version_id=RoutingVersionId(version.id))
    if live is not None and difference(await queries.rules(session, actor, version_id=RoutingVersionId(live.id)), rules).count == 0:
        raise NothingDiffers("Change a rule first; the draft says what the live version says.")
    version.digest = digest_of(RoutingVersionId(version.id), live.number if live else None, rules)
    version.requested_by, version.requested_by_name, version.requested_at = _person(actor), actor.name, now()
    version.reason, version.refusal, version.refused_by_name = reason, None, None
    _step(version, "request")
    await session.flush()
    after = {"replaces": live.number if live else None, "digest": version.digest, "rules": in_words(rules)}
    await _note(session, actor, version, "publish_requested", after=after, reason=reason)
    return version


async def withdraw_request(session: AsyncSession, actor: Actor) -> None:
    """Take the request back; the draft can be changed again."""
    version = await _draft(session, actor)
    before = {"status": version.status, "digest": version.digest}
    _step(version, "withdraw")
    _forget_request(version)
    await session.flush()
    await _note(session, actor, version, "request_withdrawn", before=before, after={"status": version.status})


async def publish(session: AsyncSession, actor: Actor, *, version_id: RoutingVersionId, digest: str) -> RoutingVersion:
    """Agree to somebody else's draft as it was shown; it chooses the connections of new payments from now on."""
    version, live = await _asked_for(session, actor, version_id, digest)
    moment = now()
    if live is not None:
        # first the old one: only one version is live at any moment
        _step(live, "retire")
        live.retired_at = moment
        await session.flush()
    version.approved_by, version.approved_by_name, version.approved_digest = _person(actor), actor.name, digest
    _step(version, "publish")
    version.activated_at = moment
    await session.flush()
    replaced = live.number if live else None
    rules = await queries.rules(session, actor, version_id=RoutingVersionId(version.id))
    old = await queries.rules(session, actor, version_id=RoutingVersionId(live.id)) if live else ()
    before, after = ({"version": number, "rules": in_words(of)} for number, of in ((replaced, old), (version.number, rules)))
    await _note(session, actor, version, "published", before=before, after=after | {"digest": digest})
    event = RoutingPublished(version=version.number, replaced=replaced)
    await outbox.publish(session, merchant_id=actor.merchant, event=event, object_id=version.id)
    return version


async def reject(session: AsyncSession, actor: Actor, *, version_id: RoutingVersionId, digest: str, reason: str) -> RoutingVersion:
    """Refuse somebody else's draft with a reason; it can be changed and asked for again, and the live version stays."""
    version, _ = await _asked_for(session, actor, version_id, digest)
    if not reason.strip():
        raise RoutingReasonMissing(fields={"reason": "Whoever asked has to learn why."})
    before = {"status": version.status, "digest": version.digest}
    _step(version, "reject")
    _forget_request(version)
    version.refused_by_name, version.refusal = actor.name, reason.strip()
    await session.flush()
    await _note(session, actor, version, "rejected", before=before, after={"status": version.status}, reason=version.refusal)
    return version


async def _asked_for(
    session: AsyncSession, actor: Actor, version_id: RoutingVersionId, digest: str
) -> tuple[RoutingVersion, RoutingVersion | None]:
    """The version that waits and the live one, locked, after making sure that this person may decide about exactly this."""
    actor.require("routing.approve")
    held = await _locked(session, actor, [VersionStatus.LIVE, *OPEN])
    version = next((one for one in held if one.id == version_id), None) or await queries.version(session, actor, version_id=version_id)
    live = next((one for one in held if one.status == VersionStatus.LIVE and one.id != version_id), None)
    if version.status != VersionStatus.PENDING:
        raise RoutingIsStale("It does not wait any more: somebody decided about it, changed it or took it back.")
    if _person(actor) in {version.requested_by, *version.editors}:
        raise RoutingNeedsSecondPerson("You changed this draft or asked for it; somebody else has to decide.")
    rules = await queries.rules(session, actor, version_id=version_id)
    if digest != version.digest or digest != digest_of(version_id, live.number if live else None, rules):
        raise RoutingIsStale("The draft is not what you were shown. Look again, then decide.")
    return version, live


async def _draft(session: AsyncSession, actor: Actor) -> RoutingVersion:
    held = await _locked(session, actor, OPEN)
    if not held:
        raise NoDraft("Start a draft first.")
    return held[0]


async def _locked(session: AsyncSession, actor: Actor, statuses: Sequence[VersionStatus]) -> list[RoutingVersion]:
    mine = select(RoutingVersion).where(RoutingVersion.merchant_id == actor.merchant, RoutingVersion.status.in_(statuses))
    ordered = mine.order_by(RoutingVersion.id).with_for_update().execution_options(populate_existing=True)
    return list(await session.scalars(ordered))


def _person(actor: Actor) -> UUID:
    if actor.id is None:
        raise RoutingNeedsSecondPerson("Only a person changes the rules.")
    return actor.id


def _step(version: RoutingVersion, event: str) -> None:
    version.status = VERSION.next(VersionStatus(version.status), event)
    version.updated_at = now()


def _forget_request(version: RoutingVersion) -> None:
    version.digest = version.requested_by = version.requested_by_name = version.requested_at = None


async def _write(session: AsyncSession, version: RoutingVersion, rules: Rules) -> None:
    """The draft's rules, all of them anew: they are few, and so each row is written once and never changed."""
    for table in (RoutingTarget, RoutingRule):
        await session.execute(delete(table).where(table.merchant_id == version.merchant_id, table.version_id == version.id))
    of = {"merchant_id": version.merchant_id, "version_id": version.id}
    await session.execute(insert(RoutingRule), [of | _rule_row(place, rule) for place, rule in enumerate(rules, 1)])
    await session.execute(insert(RoutingTarget), [of | row for rule in rules for row in _target_rows(rule)])


def _rule_row(place: int, rule: Rule) -> dict[str, object]:
    wanted = rule.conditions
    amount = wanted.at_least or wanted.below
    return {
        "rule_key": rule.key,
        "position": place,
        "name": rule.name,
        "currencies": list(wanted.currencies) or None,
        "amount_currency": amount.currency if amount else None,
        "at_least_minor": wanted.at_least.minor if wanted.at_least else None,
        "below_minor": wanted.below.minor if wanted.below else None,
        "capture_mode": wanted.capture,
        "seller_id": wanted.seller,
    }


def _target_rows(rule: Rule) -> list[dict[str, object]]:
    named = [(share.connection, share.percent) for share in rule.split] + [(connection, None) for connection in rule.fallback]
    return [
        {"rule_key": rule.key, "connection_id": connection, "place": place, "share": share}
        for place, (connection, share) in enumerate(named)
    ]


async def _note(
    session: AsyncSession,
    actor: Actor,
    version: RoutingVersion,
    word: str,
    *,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
    reason: str | None = None,
) -> None:
    await audit.record(
        session,
        actor,
        action=f"routing.{word}",
        object_type="routing_version",
        object_id=version.id,
        before=before,
        after={"number": version.number, **(after or {})},
        reason=reason or None,
    )
