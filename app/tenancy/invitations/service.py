"""Writes about invitations, each in one transaction and each in the merchant's audit."""

import secrets
from uuid import UUID

from sqlalchemy import Select, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, mail
from app.core.actors import Actor, PermissionMissing
from app.core.clock import now
from app.core.errors import Invalid
from app.core.ids import MerchantId, PersonId, new_id
from app.core.secrets import digest
from app.identity import queries as people
from app.identity import service as identity
from app.identity.domain import check_email, normalised
from app.tenancy import queries as teams_now
from app.tenancy import service as teams
from app.tenancy.domain import MemberExists, Role, RoleNotFound
from app.tenancy.invitations import queries
from app.tenancy.invitations.domain import (
    INVITATION,
    LIFETIME,
    InvitationForSomebodyElse,
    InvitationInvalid,
    InvitationNotFound,
    InvitationStatus,
)
from app.tenancy.models import Invitation, Membership, Merchant
from app.tenancy.roles import queries as roles
from app.web.letters import address, letter


async def invite(session: AsyncSession, actor: Actor, *, email: str, role: Role | UUID) -> Invitation:
    """Invite the owner of an e-mail address in a role that the actor may give; an earlier open invitation is replaced."""
    email, inviter = check_email(email), actor.id
    if inviter is None:
        raise InvitationInvalid("Only a person invites people.")
    await teams.check_grant(session, actor, role)
    person = await people.someone(session, email)
    if person is not None and await _is_member(session, actor.merchant, person.id):
        raise MemberExists(fields={"email": "This person is in the team already."})
    for earlier in await session.scalars(_open_for(actor.merchant, email)):
        await _end(session, actor, earlier, event="revoke")
    moment = now()
    row = Invitation(merchant_id=actor.merchant, id=new_id(), email=email, email_lc=normalised(email), created_at=moment)
    row.role = roles.written(role)
    row.status, row.invited_by, row.digest = INVITATION.initial, inviter, b""
    row.sent_at = row.expires_at = moment
    await _send(session, actor, row)
    after = {"email": email, "role": row.role}
    await audit.record(session, actor, action="invitation.sent", object_type="invitation", object_id=row.id, after=after)
    return row


async def _send(session: AsyncSession, actor: Actor, row: Invitation) -> None:
    """Give the invitation a new key and write the mail that carries it; the key before stops working."""
    key = secrets.token_urlsafe(32)
    row.digest, row.sent_at, row.expires_at = digest(key), now(), now() + LIFETIME
    session.add(row)
    await session.flush()
    merchant = await session.get_one(Merchant, actor.merchant)
    role = await roles.role(session, actor, roles.chosen(row.role))
    page = {
        "merchant": merchant.name,
        "by": actor.name,
        "role": role.label,
        "link": address(f"/invitation?key={key}"),
        "until": row.expires_at,
    }
    await mail.write(session, to=row.email, letter=letter("invitation", page))


def _open_for(merchant_id: MerchantId, email: str) -> Select[Invitation]:
    mine = select(Invitation).where(Invitation.merchant_id == merchant_id, Invitation.email_lc == normalised(email))
    return mine.where(Invitation.status == InvitationStatus.OPEN).with_for_update()


async def _is_member(session: AsyncSession, merchant_id: MerchantId, person_id: UUID) -> bool:
    mine = select(Membership.id).where(Membership.merchant_id == merchant_id, Membership.person_id == person_id)
    return await session.scalar(mine) is not None


async def _mine(session: AsyncSession, actor: Actor, invitation_id: UUID) -> Invitation:
    mine = select(Invitation).where(Invitation.merchant_id == actor.merchant, Invitation.id == invitation_id)
    row = await session.scalar(mine.with_for_update())
    if row is None:
        raise InvitationNotFound()
    return row


async def resend(session: AsyncSession, actor: Actor, *, invitation_id: UUID) -> Invitation:
    """Send an open invitation again, for another week; the link sent before stops working."""
    row = await _mine(session, actor, invitation_id)
    INVITATION.next(InvitationStatus(row.status), "revoke")  # only what is open can be sent again
    await teams.check_grant(session, actor, roles.chosen(row.role))
    await _send(session, actor, row)
    await audit.record(
        session, actor, action="invitation.sent_again", object_type="invitation", object_id=row.id, after={"email": row.email}
    )
    return row


async def revoke(session: AsyncSession, actor: Actor, *, invitation_id: UUID) -> None:
    """Take an invitation back; its link stops working at once."""
    await _end(session, actor, await _mine(session, actor, invitation_id), event="revoke")


async def _end(session: AsyncSession, actor: Actor, row: Invitation, *, event: str) -> None:
    status = INVITATION.next(InvitationStatus(row.status), event)
    # only from the state that was seen: of two who follow the link at once, one joins
    gone = update(Invitation).where(Invitation.merchant_id == row.merchant_id, Invitation.id == row.id, Invitation.status == row.status)
    if await session.scalar(gone.values(status=status, ended_at=now()).returning(Invitation.id)) is None:
        raise InvitationInvalid("It was accepted or revoked in the meantime.")
    action, merchant_id = f"invitation.{status}", MerchantId(row.merchant_id)
    await audit.record(
        session, actor, action=action, object_type="invitation", object_id=row.id, after={"email": row.email}, merchant_id=merchant_id
    )


async def accept(session: AsyncSession, *, key: str, person_id: PersonId, email: str) -> MerchantId:
    """Join by an invitation's key. It is good once, for its own address, and only as long as whoever sent it may let people in so."""
    row = await queries.by_key(session, key)
    if row.email_lc != normalised(email):
        raise InvitationForSomebodyElse("Sign in with the address it was sent to.")
    merchant_id = MerchantId(row.merchant_id)
    inviter = await teams_now.colleague(session, merchant_id, row.invited_by)
    if inviter is None:
        raise InvitationInvalid("Whoever sent it does not work there any more. Ask for a new one.")
    house, role = Actor.system(merchant_id, "Invitation"), roles.chosen(row.role)
    try:
        inviter.require("team.write")
        await teams.check_grant(session, inviter, role)
    except RoleNotFound:
        raise InvitationInvalid("The role it was for does not exist any more. Ask for a new one.") from None
    except (Invalid, PermissionMissing):
        raise InvitationInvalid("Whoever sent it may not give that role any more. Ask for a new one.") from None
    await _end(session, house, row, event="accept")
    await teams.add_member(session, house, merchant_id=merchant_id, person_id=person_id, role=role)
    return merchant_id


async def join(session: AsyncSession, *, key: str, name: str, password: str) -> PersonId:
    """Make the account that an invitation is for, and join; the second factor is set up at once afterwards."""
    row = await queries.by_key(session, key)
    merchant = await session.get_one(Merchant, row.merchant_id)
    person = await identity.create_person(session, email=row.email, name=name, password=password, workplace=merchant.name)
    await identity.prepare_totp(session, person)
    person_id = PersonId(person.id)
    await accept(session, key=key, person_id=person_id, email=person.email)
    return person_id
