"""Writes about sellers."""

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, outbox
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import SellerId, new_id, public_id
from app.core.money import exponent
from app.sellers import queries
from app.sellers.domain import SELLER, FeeTerms, SellerAdded, SellerReferenceTaken, SellerStatus
from app.sellers.models import PlatformFee, Seller


async def add_seller(session: AsyncSession, actor: Actor, *, reference: str, name: str, email: str = "", country: str = "") -> Seller:
    """Add a seller, who can then be named in orders and has a wallet in every currency it sells in."""
    moment = now()
    seller = Seller(
        merchant_id=actor.merchant,
        id=new_id(),
        reference=reference,
        name=name,
        name_lc=name.lower(),
        email=email,
        country=country,
        status=SellerStatus.ACTIVE,
        created_at=moment,
        updated_at=moment,
    )
    try:
        async with session.begin_nested():
            session.add(seller)
    except IntegrityError as error:
        raise SellerReferenceTaken(
            f"A seller with the reference “{reference}” exists already.", fields={"reference": "This reference is taken."}
        ) from error
    public = public_id("sel", seller.id)
    await outbox.publish(session, merchant_id=actor.merchant, event=SellerAdded(seller_id=public, reference=reference), object_id=seller.id)
    await audit.record(
        session, actor, action="seller.added", object_type="seller", object_id=seller.id, after={"reference": reference, "name": name}
    )
    return seller


async def edit_seller(session: AsyncSession, actor: Actor, *, seller_id: SellerId, name: str, email: str, country: str) -> Seller:
    """Change how a seller is called and reached."""
    seller = await queries.seller(session, merchant_id=actor.merchant, seller_id=seller_id)
    before = {"name": seller.name, "email": seller.email, "country": seller.country}
    seller.name, seller.name_lc, seller.email, seller.country, seller.updated_at = name, name.lower(), email, country, now()
    after = {"name": name, "email": email, "country": country}
    await audit.record(session, actor, action="seller.edited", object_type="seller", object_id=seller_id, before=before, after=after)
    return seller


async def change_status(session: AsyncSession, actor: Actor, *, seller_id: SellerId, event: str, reason: str = "") -> Seller:
    """Block a seller from new orders, or let it sell again."""
    statement = select(Seller).where(Seller.merchant_id == actor.merchant, Seller.id == seller_id).with_for_update()
    seller = (await session.execute(statement)).scalar_one_or_none() or await queries.seller(
        session, merchant_id=actor.merchant, seller_id=seller_id
    )
    before = seller.status
    seller.status, seller.updated_at = SELLER.next(SellerStatus(before), event), now()
    await audit.record(
        session,
        actor,
        action=f"seller.{event}ed",
        object_type="seller",
        object_id=seller_id,
        before={"status": before},
        after={"status": seller.status},
        reason=reason or None,
    )
    return seller


async def set_fee(session: AsyncSession, actor: Actor, *, currency: str, terms: FeeTerms, seller_id: SellerId | None = None) -> None:
    """Set what the platform keeps of sales in a currency, for everybody or for one seller; payments already started keep their terms."""
    exponent(currency)
    if seller_id is not None:
        await queries.seller(session, merchant_id=actor.merchant, seller_id=seller_id)
    values = {"basis_points": terms.basis_points, "fixed_minor": terms.fixed_minor, "updated_at": now()}
    row = insert(PlatformFee).values(merchant_id=actor.merchant, id=new_id(), seller_id=seller_id, currency=currency, **values)
    await session.execute(row.on_conflict_do_update(index_elements=["merchant_id", "seller_id", "currency"], set_=values))
    after = {"currency": currency, "basis_points": terms.basis_points, "fixed_minor": terms.fixed_minor}
    await audit.record(session, actor, action="seller.fee_set", object_type="seller", object_id=seller_id, after=after)


async def remove_fee(session: AsyncSession, actor: Actor, *, currency: str, seller_id: SellerId | None = None) -> bool:
    """Take a rule away: a seller follows the merchant's again, a merchant keeps nothing in that currency. Taking it away twice changes nothing."""
    if seller_id is not None:
        await queries.seller(session, merchant_id=actor.merchant, seller_id=seller_id)
    owned = PlatformFee.seller_id.is_(None) if seller_id is None else PlatformFee.seller_id == seller_id
    statement = delete(PlatformFee).where(PlatformFee.merchant_id == actor.merchant, owned, PlatformFee.currency == currency)
    removed = (await session.execute(statement.returning(PlatformFee.basis_points, PlatformFee.fixed_minor))).one_or_none()
    if removed is None:
        return False
    before = {"currency": currency, "basis_points": removed.basis_points, "fixed_minor": removed.fixed_minor}
    after = {"currency": currency}
    await audit.record(session, actor, action="seller.fee_removed", object_type="seller", object_id=seller_id, before=before, after=after)
    return True
