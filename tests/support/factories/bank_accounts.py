"""Sellers' bank accounts for tests, proposed by one person and approved by another."""

from app.core.actors import Actor, ActorKind
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import SellerId, new_id
from app.sellers.domain.bank_accounts import BankAccountId, BankAccountKind, VerifiedBy
from app.sellers.models import BankAccount
from app.sellers.service import bank_accounts as service

GERMAN = "DE89370400440532013000"
FRENCH = "FR1420041010050500013M02606"
ABA, US_NUMBER = "021000021", "123456789"
SORT_CODE, UK_NUMBER = "200415", "38290008"


def somebody(actor: Actor, name: str = "Somebody else") -> Actor:
    """A colleague with the same permissions."""
    return Actor(kind=ActorKind.USER, id=new_id(), name=name, merchant_id=actor.merchant_id, permissions=actor.permissions, factor_at=now())


async def propose(
    actor: Actor,
    seller_id: SellerId,
    *,
    kind: BankAccountKind = BankAccountKind.IBAN,
    number: str = GERMAN,
    routing: str = "",
    currency: str = "EUR",
) -> BankAccount:
    """A proposal by the actor."""
    async with unit_of_work(actor.merchant) as session:
        return await service.propose_account(
            session, actor, seller_id=seller_id, kind=kind, currency=currency, holder_name="Anna Berg", number=number, routing=routing
        )


async def make_account(actor: Actor, seller_id: SellerId, *, verified: bool = True, **details: object) -> BankAccountId:
    """An account that is approved, verified and past its cool-off, as a test needs it: proposed by one colleague, approved by another."""
    account = await propose(somebody(actor, "Proposer"), seller_id, **details)  # type: ignore[arg-type]
    async with unit_of_work(actor.merchant) as session:
        approved = await service.approve_account(
            session,
            somebody(actor, "Approver"),
            account_id=BankAccountId(account.id),
            digest=account.digest,
            verified_by=VerifiedBy.BANK_LETTER if verified else None,
        )
        approved.usable_from = now()
    return BankAccountId(account.id)
