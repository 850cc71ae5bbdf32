"""Writes about sellers' bank accounts: nobody alone changes where money goes."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, mail, outbox, secrets
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import MerchantId, SellerId, new_id, public_id
from app.core.money import exponent
from app.sellers import queries as sellers
from app.sellers.domain.bank_accounts import (
    BANK_ACCOUNT,
    COOL_OFF,
    VERIFICATION,
    BankAccountChanged,
    BankAccountId,
    BankAccountIsStale,
    BankAccountKind,
    BankAccountNeedsPerson,
    BankAccountNeedsSecondPerson,
    BankAccountProposalOpen,
    BankAccountProposed,
    BankAccountRetired,
    BankAccountStatus,
    BankDetails,
    Verification,
    VerifiedBy,
    digest_of,
    read_details,
)
from app.sellers.models import BankAccount
from app.sellers.queries import bank_accounts as queries
from app.tenancy import queries as tenancy
from app.web.letters import letter


async def propose_account(
    session: AsyncSession,
    actor: Actor,
    *,
    seller_id: SellerId,
    kind: BankAccountKind,
    currency: str,
    holder_name: str,
    number: str,
    routing: str = "",
) -> BankAccount:
    """Propose where a seller's money in a currency shall go; somebody else has to agree before it counts."""
    exponent(currency)
    if actor.id is None:
        raise BankAccountNeedsPerson("Sign in to propose a bank account.")
    await sellers.seller(session, merchant_id=actor.merchant, seller_id=seller_id)
    details = read_details(kind, number=number, routing=routing, currency=currency)
    account = _proposal(actor, seller_id, details, holder_name)
    account.requested_by, account.requested_by_name = actor.id, actor.name
    try:
        async with session.begin_nested():
            session.add(account)
    except IntegrityError as error:
        raise BankAccountProposalOpen(
            f"A proposal for this seller’s {currency} account waits for approval. Approve or reject that one first."
        ) from error
    await outbox.publish(session, merchant_id=actor.merchant, event=BankAccountProposed(**_told(account)), object_id=account.id)
    await _audit(session, actor, account, "proposed")
    return account


def _proposal(actor: Actor, seller_id: SellerId, details: BankDetails, holder_name: str) -> BankAccount:
    account_id = BankAccountId(new_id())
    fingerprint = secrets.mac(details.canonical, purpose="bank.fingerprint")[:16]
    shown = (str(seller_id), str(account_id), details.kind, details.currency, holder_name, details.bic, details.routing, fingerprint)
    return BankAccount(
        merchant_id=actor.merchant,
        id=account_id,
        seller_id=seller_id,
        status=BankAccountStatus.PROPOSED,
        verification=Verification.UNVERIFIED,
        kind=details.kind,
        country=details.country,
        currency=details.currency,
        holder_name=holder_name,
        bank_name=details.bank_name,
        bic=details.bic,
        routing=details.routing,
        number=secrets.seal(details.number, queries.context(actor.merchant, account_id)),
        last4=details.last4,
        fingerprint=fingerprint,
        digest=digest_of(shown),
        requested_at=now(),
    )


async def approve_account(
    session: AsyncSession, actor: Actor, *, account_id: BankAccountId, digest: str, verified_by: VerifiedBy | None = None
) -> BankAccount:
    """Agree, as a second person, to a proposed account exactly as it was shown. The present one is retired; a cool-off begins, and the seller hears of it."""
    account = await _locked(session, actor.merchant, account_id)
    if actor.id is None or actor.id == account.requested_by:
        raise BankAccountNeedsSecondPerson("You proposed this bank account; somebody else has to approve it.")
    if digest != account.digest:
        raise BankAccountIsStale("The bank account is not what you were shown. Look again, then approve.")
    status = BANK_ACCOUNT.next(BankAccountStatus(account.status), "approve")
    present = await queries.active_account(
        session, merchant_id=actor.merchant, seller_id=SellerId(account.seller_id), currency=account.currency
    )
    if present is not None:
        await retire_account(session, actor, account_id=BankAccountId(present.id), reason="Replaced by a new account")
    _decide(account, actor, status)
    account.approved_by, account.usable_from = actor.id, now() + COOL_OFF
    if verified_by is not None:
        account.verification, account.verified_by = VERIFICATION.next(Verification(account.verification), "verify"), verified_by
    await session.flush()
    told = BankAccountChanged(**_told(account), usable_from=account.usable_from.isoformat())
    await outbox.publish(session, merchant_id=actor.merchant, event=told, object_id=account.id)
    await _write_to_seller(session, account, account.usable_from)
    await _audit(session, actor, account, "approved")
    return account


async def _write_to_seller(session: AsyncSession, account: BankAccount, usable_from: datetime) -> None:
    """Tell the seller where its money is about to go: whoever took over two of the merchant's people cannot do it unseen."""
    merchant_id = MerchantId(account.merchant_id)
    seller = await sellers.seller(session, merchant_id=merchant_id, seller_id=SellerId(account.seller_id))
    if not seller.email:
        return
    merchant = await tenancy.merchant(session, merchant_id)
    page = {
        "merchant": merchant.name,
        "seller": seller.name,
        "holder": account.holder_name,
        "currency": account.currency,
        "last4": account.last4,
        "usable_from": usable_from,
    }
    await mail.write(session, to=seller.email, letter=letter("bank_account", page))


async def reject_account(session: AsyncSession, actor: Actor, *, account_id: BankAccountId, reason: str = "") -> BankAccount:
    """Refuse or withdraw a proposed account; the present one stays in use."""
    account = await _locked(session, actor.merchant, account_id)
    _decide(account, actor, BANK_ACCOUNT.next(BankAccountStatus(account.status), "reject"))
    await _audit(session, actor, account, "rejected", reason)
    return account


async def retire_account(session: AsyncSession, actor: Actor, *, account_id: BankAccountId, reason: str = "") -> BankAccount:
    """Pay nothing to an account any more."""
    account = await _locked(session, actor.merchant, account_id)
    account.status = BANK_ACCOUNT.next(BankAccountStatus(account.status), "retire")
    await session.flush()
    await outbox.publish(session, merchant_id=actor.merchant, event=BankAccountRetired(**_told(account)), object_id=account.id)
    await _audit(session, actor, account, "retired", reason)
    return account


async def verify_account(session: AsyncSession, actor: Actor, *, account_id: BankAccountId, verified_by: VerifiedBy) -> BankAccount:
    """Say that somebody made sure the account is the seller's, and how. Who proposed the account cannot also vouch for it."""
    account = await _locked(session, actor.merchant, account_id)
    if actor.id is None or actor.id == account.requested_by:
        raise BankAccountNeedsSecondPerson("You proposed this bank account; somebody else has to verify it.")
    account.verification, account.verified_by = VERIFICATION.next(Verification(account.verification), "verify"), verified_by
    await _audit(session, actor, account, "verified")
    return account


async def fail_verification(session: AsyncSession, actor: Actor, *, account_id: BankAccountId, reason: str) -> None:
    """Note that a bank sent money back: nothing goes to the account until somebody has verified it again."""
    account = await _locked(session, actor.merchant, account_id)
    if VERIFICATION.can(Verification(account.verification), "fail"):
        account.verification, account.verified_by = VERIFICATION.next(Verification(account.verification), "fail"), None
        await session.flush()
        await _audit(session, actor, account, "verification_failed", reason)


def _decide(account: BankAccount, actor: Actor, status: BankAccountStatus) -> None:
    account.status, account.decided_by_name, account.decided_at = status, actor.name, now()


async def _locked(session: AsyncSession, merchant_id: MerchantId, account_id: BankAccountId) -> BankAccount:
    statement = select(BankAccount).where(BankAccount.merchant_id == merchant_id, BankAccount.id == account_id).with_for_update()
    found = (await session.execute(statement.execution_options(populate_existing=True))).scalar_one_or_none()
    return found or await queries.bank_account(session, merchant_id=merchant_id, account_id=account_id)


def _told(account: BankAccount) -> dict[str, str]:
    return {
        "bank_account_id": public_id("ba", account.id),
        "seller_id": public_id("sel", account.seller_id),
        "currency": account.currency,
        "last4": account.last4,
    }


async def _audit(session: AsyncSession, actor: Actor, account: BankAccount, action: str, reason: str = "") -> None:
    after = {
        "bank_account": public_id("ba", account.id),
        "currency": account.currency,
        "status": account.status,
        "verification": account.verification,
        "holder": account.holder_name,
        "last4": account.last4,
        "fingerprint": account.fingerprint,
    }
    await audit.record(
        session,
        actor,
        action=f"seller.bank_account_{action}",
        object_type="seller",
        object_id=account.seller_id,
        after=after,
        reason=reason or None,
    )
