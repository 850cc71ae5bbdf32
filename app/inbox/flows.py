"""Approvals of every kind in one list. Each kind says what waits, and how a yes or no is carried out; a new kind is one entry here."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals.domain import ApprovalIsStale, Part, Waiting
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.errors import AppError
from app.core.ids import parse_id, path_id
from app.core.money import Money
from app.core.paging import PAGE_SIZE, Cursor, MalformedCursor, Page
from app.inbox.domain import NothingWaits, RefusalNeedsReason
from app.payments.refund_requests import flows as refunds
from app.payouts import queries as payout_queries
from app.payouts.queries import holds as long_holds
from app.payouts.queries import lists as payouts
from app.payouts.queries.details import hold_id
from app.payouts.service import approvals as payout_approvals
from app.payouts.service import holds
from app.psp import queries as psp
from app.psp.domain import CredentialChangeId
from app.psp.service import connections
from app.reconciliation import queries as reconciliation
from app.reconciliation.breaks import queries as break_queries
from app.reconciliation.breaks import service as breaks
from app.routing import queries as routing
from app.routing import service as routing_service
from app.sellers.queries import bank_accounts
from app.sellers.service import bank_accounts as bank_account_service
from app.wallets.write_offs import flows as write_offs

Look = Callable[[AsyncSession, Actor, Part], Awaitable[list[Waiting]]]
Count = Callable[[AsyncSession, Actor], Awaitable[int]]
Decide = Callable[..., Awaitable[str]]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind of request is shown and decided. `permission` is what a decider holds; nobody else sees the kind at all."""

    name: str
    label: str
    permissions: frozenset[str]
    prefix: str
    waiting: Look
    count: Count
    approve: Decide
    reject: Decide


async def _payouts(session: AsyncSession, actor: Actor, part: Part) -> list[Waiting]:
    return [
        Waiting(
            kind="payout",
            id=each.row.id,
            title=f"Payout of {each.row.amount.format()}",
            detail=each.row.seller,
            href=f"/payouts/{each.row.id}",
            digest=each.digest,
            requested_by=each.signatures[0].text.removeprefix("Requested by "),
            requested_at=each.row.created_at,
            may_decide=each.may_decide,
            amount=each.row.amount,
            facts=[
                ("To", f"{each.row.bank}, {each.row.account}"),
                ("Signatures", "; ".join(signature.text for signature in each.signatures)),
            ],
        )
        for each in await payouts.waiting(session, actor, part)
    ]


async def _approve_payout(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    async with unit_of_work(actor.merchant) as session:
        payout = await payout_approvals.approve_payout(
            session, actor, payout_id=payout_queries.payout_id(item), digest=digest, reason=reason
        )
    return "Approved; others have to agree too" if payout.status == "pending_approval" else "Approved"


async def _reject_payout(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    async with unit_of_work(actor.merchant) as session:
        await payout_approvals.reject_payout(session, actor, payout_id=payout_queries.payout_id(item), digest=digest, reason=reason)
    return "Refused; the wallet has the money again"


async def _approve_account(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    async with unit_of_work(actor.merchant) as session:
        await bank_account_service.approve_account(session, actor, account_id=bank_accounts.bank_account_id(item), digest=digest)
    return "Approved; it can be paid to when the cool-off ends"


async def _reject_account(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    async with unit_of_work(actor.merchant) as session:
        await bank_account_service.reject_account(session, actor, account_id=bank_accounts.bank_account_id(item), reason=reason)
    return "Refused; nothing changed"


async def _release_hold(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    async with unit_of_work(actor.merchant) as session:
        await holds.release_hold(session, actor, hold_id=hold_id(item), reason=reason)
    return "Released"


async def _keep_hold(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    async with unit_of_work(actor.merchant) as session:
        await holds.keep_hold(session, actor, hold_id=hold_id(item), reason=reason)
    return "It stands on; it is asked about again"


async def _approve_credentials(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    async with unit_of_work(actor.merchant) as session:
        await connections.approve_change(session, actor, change_id=CredentialChangeId(parse_id("chg", item)), digest=digest)
    return "Approved; the new settings are in use"


async def _reject_credentials(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    async with unit_of_work(actor.merchant) as session:
        await connections.reject_change(session, actor, change_id=CredentialChangeId(parse_id("chg", item)))
    return "Refused; the present settings stay in use"


async def _approve_write_off(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    try:
        minor, currency, parts = digest.split(":", 2)
        seen = Money(int(minor), currency)
    except ValueError:
        raise ApprovalIsStale() from None
    async with unit_of_work(actor.merchant) as session:
        await breaks.approve(session, actor, break_id=reconciliation.break_id(item), seen=seen, seen_parts=parts)
    return "Moved" if parts else "Written off"


async def _reject_write_off(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    async with unit_of_work(actor.merchant) as session:
        await breaks.reject(session, actor, break_id=reconciliation.break_id(item), reason=reason)
    return "Refused; the break is open again"


async def _publish_routing(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    async with unit_of_work(actor.merchant) as session:
        version = await routing_service.publish(session, actor, version_id=routing.version_id(item), digest=digest)
    return f"Approved; version {version.number} chooses connections from now on"


async def _reject_routing(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    async with unit_of_work(actor.merchant) as session:
        await routing_service.reject(session, actor, version_id=routing.version_id(item), digest=digest, reason=reason)
    return "Refused; the live version stays"


_REFUNDS = frozenset({"payments.approve", "payouts.approve", "reconciliation.approve"})

KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="payout",
            label="Payouts",
            permissions=frozenset({"payouts.approve"}),
            prefix="po",
            waiting=_payouts,
            count=payouts.how_many_wait,
            approve=_approve_payout,
            reject=_reject_payout,
        ),
        Kind(
            name="refund",
            label="Refunds",
            permissions=_REFUNDS,
            prefix="apr",
            waiting=refunds.waiting,
            count=refunds.how_many_wait,
            approve=refunds.approve,
            reject=refunds.reject,
        ),
        Kind(
            name="bank_account",
            label="Bank accounts",
            permissions=frozenset({"payouts.approve"}),
            prefix="ba",
            waiting=bank_accounts.waiting,
            count=bank_accounts.how_many_wait,
            approve=_approve_account,
            reject=_reject_account,
        ),
        Kind(
            name="credentials",
            label="Credentials",
            permissions=frozenset({"connections.write"}),
            prefix="chg",
            waiting=psp.waiting_changes,
            count=psp.how_many_wait,
            approve=_approve_credentials,
            reject=_reject_credentials,
        ),
        Kind(
            name="routing",
            label="Routing",
            permissions=frozenset({"routing.approve"}),
            prefix="rtv",
            waiting=routing.waiting,
            count=routing.how_many_wait,
            approve=_publish_routing,
            reject=_reject_routing,
        ),
        Kind(
            name="write_off",
            label="Write-offs",
            permissions=frozenset({"reconciliation.approve"}),
            prefix="brk",
            waiting=break_queries.waiting,
            count=break_queries.how_many_wait,
            approve=_approve_write_off,
            reject=_reject_write_off,
        ),
        Kind(
            name="debt",
            label="Bad debts",
            permissions=frozenset({"reconciliation.approve"}),
            prefix="apr",
            waiting=write_offs.waiting,
            count=write_offs.how_many_wait,
            approve=write_offs.approve,
            reject=write_offs.reject,
        ),
        Kind(
            name="hold",
            label="Holds that stand long",
            permissions=frozenset({"payouts.approve"}),
            prefix="poh",
            waiting=long_holds.waiting,
            count=long_holds.how_many_wait,
            approve=_release_hold,
            reject=_keep_hold,
        ),
    )
}


def kinds_of(actor: Actor) -> list[Kind]:
    """The kinds that a person may decide about at all; of the others nothing is shown."""
    return [kind for kind in KINDS.values() if kind.permissions & actor.permissions]


async def counts(actor: Actor) -> dict[str, int]:
    """How much waits of every kind that the person may decide about."""
    async with unit_of_work(actor.merchant) as session:
        return {kind.name: await kind.count(session, actor) for kind in kinds_of(actor)}


def _id_of(each: Waiting) -> UUID:
    return parse_id(KINDS[each.kind].prefix, each.id)


async def waiting(actor: Actor, *, kind: str = "", after: str | None = None, size: int = PAGE_SIZE) -> Page[Waiting]:
    """A page of what waits, of one kind or of all that the person may decide about, oldest first.

    Ids grow with time in every table, so a place among them is a place in the whole list: each kind gives what lies beyond it, and the
    first of all together are the page.
    """
    cursor = Cursor.decode(after) if after else None
    backwards = cursor is not None and cursor.backwards
    part = Part(after=_place(cursor), backwards=backwards, most=size + 1)
    async with unit_of_work(actor.merchant) as session:
        found = [each for one in kinds_of(actor) if kind in ("", one.name) for each in await one.waiting(session, actor, part)]
    ordered = sorted(found, key=_id_of, reverse=backwards)
    more, page = len(ordered) > size, sorted(ordered[:size], key=_id_of)
    if not page:
        return Page([])
    has_next, has_previous = (True, more) if backwards else (more, cursor is not None)
    pointers = [Cursor((str(_id_of(row)),), back).encode() for row, back in ((page[-1], False), (page[0], True))]
    return Page(page, pointers[0] if has_next else None, pointers[1] if has_previous else None)


def _place(cursor: Cursor | None) -> UUID | None:
    if cursor is None:
        return None
    try:
        return UUID(str(cursor.values[0]))
    except (ValueError, IndexError):
        raise MalformedCursor("Go back to the first page of the list.") from None


async def some(actor: Actor, chosen: Collection[tuple[str, str]]) -> dict[tuple[str, str], Waiting]:
    """Those of some things, each named by kind and id, that still wait and that the person may decide about."""
    ids: dict[str, set[UUID]] = {}
    for kind, item in chosen:
        if kind in KINDS:
            ids.setdefault(kind, set()).add(path_id(KINDS[kind].prefix, item, otherwise=NothingWaits()))
    async with unit_of_work(actor.merchant) as session:
        found = [
            each
            for one in kinds_of(actor)
            if one.name in ids
            for each in await one.waiting(session, actor, Part(only=frozenset(ids[one.name])))
        ]
    return {(each.kind, each.id): each for each in found}


async def item(actor: Actor, *, kind: str, item: str) -> tuple[Kind, Waiting]:
    """One thing that waits, as it is now."""
    found = await some(actor, [(kind, item)])
    if (kind, item) not in found:
        raise NothingWaits()
    return KINDS[kind], found[kind, item]


async def decide(actor: Actor, *, kind: Kind, shown: Waiting, digest: str, approve: bool, reason: str) -> str:
    """Say yes or no to exactly what was shown; gives what came of it in words."""
    if not shown.may_decide:
        raise NothingWaits("You asked for this or decided already; somebody else has to decide.")
    if not approve and not reason.strip():
        raise RefusalNeedsReason(fields={"reason": "Whoever asked has to learn why."})
    verb = kind.approve if approve else kind.reject
    return await verb(actor, item=shown.id, digest=digest, reason=reason.strip())


async def approve_each(actor: Actor, chosen: Sequence[tuple[Waiting, str]]) -> list[tuple[str, str, bool, str]]:
    """Agree to several things, each in a transaction of its own; says for each what came of it."""
    results = []
    for shown, digest in chosen:
        try:
            said, is_done = await KINDS[shown.kind].approve(actor, item=shown.id, digest=digest, reason="Approved with others"), True
        except AppError as refused:
            said, is_done = refused.detail, False
        results.append((shown.title, shown.href, is_done, said))
    return results
