"""Approvals of every kind in one list. Each kind says what waits, and how a yes or no is carried out; a new kind is one entry here."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals.domain import Waiting
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.errors import AppError
from app.core.ids import parse_id
from app.core.money import Money
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
from app.sellers.queries import bank_accounts
from app.sellers.service import bank_accounts as bank_account_service

Look = Callable[[AsyncSession, Actor], Awaitable[list[Waiting]]]
Decide = Callable[..., Awaitable[str]]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind of request is shown and decided. `permission` is what a decider holds; nobody else sees the kind at all."""

    name: str
    label: str
    permissions: frozenset[str]
    waiting: Look
    approve: Decide
    reject: Decide


async def _payouts(session: AsyncSession, actor: Actor) -> list[Waiting]:
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
        for each in await payouts.waiting(session, actor)
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
    minor, currency, parts = digest.split(":", 2)
    async with unit_of_work(actor.merchant) as session:
        await breaks.approve(session, actor, break_id=reconciliation.break_id(item), seen=Money(int(minor), currency), seen_parts=parts)
    return "Moved" if parts else "Written off"


async def _reject_write_off(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    async with unit_of_work(actor.merchant) as session:
        await breaks.reject(session, actor, break_id=reconciliation.break_id(item), reason=reason)
    return "Refused; the break is open again"


def _kind(name: str, label: str, permissions: set[str], look: Look, approve: Decide, reject: Decide) -> Kind:
    return Kind(name=name, label=label, permissions=frozenset(permissions), waiting=look, approve=approve, reject=reject)


KINDS = {
    kind.name: kind
    for kind in (
        _kind("payout", "Payouts", {"payouts.approve"}, _payouts, _approve_payout, _reject_payout),
        _kind(
            "refund",
            "Refunds",
            {"payments.approve", "payouts.approve", "reconciliation.approve"},
            refunds.waiting,
            refunds.approve,
            refunds.reject,
        ),
        _kind("hold", "Holds that stand long", {"payouts.approve"}, long_holds.waiting, _release_hold, _keep_hold),
        _kind("bank_account", "Bank accounts", {"payouts.approve"}, bank_accounts.waiting, _approve_account, _reject_account),
        _kind("credentials", "Credentials", {"connections.write"}, psp.waiting_changes, _approve_credentials, _reject_credentials),
        _kind("write_off", "Write-offs", {"reconciliation.approve"}, break_queries.waiting, _approve_write_off, _reject_write_off),
    )
}


async def waiting(actor: Actor) -> list[tuple[Kind, list[Waiting]]]:
    """What waits, of every kind that the person may decide about at all; oldest first."""
    async with unit_of_work(actor.merchant) as session:
        return [(kind, await kind.waiting(session, actor)) for kind in KINDS.values() if kind.permissions & actor.permissions]


async def item(actor: Actor, *, kind: str, item: str) -> tuple[Kind, Waiting]:
    """One thing that waits, as it is now."""
    found = KINDS.get(kind)
    if found is None or not found.permissions & actor.permissions:
        raise NothingWaits()
    async with unit_of_work(actor.merchant) as session:
        for each in await found.waiting(session, actor):
            if each.id == item:
                return found, each
    raise NothingWaits()


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
