"""Who comes in by a merchant's own provider: known people, people whom the merchant's rule lets join, and nobody else."""

from uuid import UUID

from sqlalchemy import insert, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import MerchantId, PersonId
from app.identity import queries as people
from app.identity.domain.providers import IdentityTaken, Proof, ProviderSignInRefused
from app.identity.providers import service as ways
from app.identity.service import absences, events
from app.identity.service.events import Place
from app.tenancy import service as teams
from app.tenancy.admissions import queries
from app.tenancy.domain import Role, RoleNotFound
from app.tenancy.models import SsoIdentity, SsoProvider
from app.tenancy.roles import queries as roles
from app.tenancy.sso.domain import domain_of, read_rules, role_for
from app.tenancy.sso.queries import provider_id_of

_HOUSE = "Single sign-on"


async def admit(session: AsyncSession, row: SsoProvider, proof: Proof, *, signed_in: bool) -> PersonId | None:
    """Whose sign-in at a merchant's provider this is, as a member of the team; joined by the merchant's rule where it lets them.

    Nobody when the account waits to be connected: by whoever is signed in, or by the person here whose address it has, since an address
    alone proves nothing. Whether there is such a person is told for proven domains only; a provider can claim any address.
    """
    known = await queries.identity(session, row, proof.subject)
    if known is None:
        if signed_in:
            return None
        if await _is_of_proven_domain(session, row, proof) and await people.someone(session, proof.email) is not None:
            return None
        await _require_role(session, row, proof)
        person = await ways.make_person(session, proof)
        if person is None:
            # the same sign-in at the same moment was first; or somebody disabled has the address
            known = await queries.identity(session, row, proof.subject)
        else:
            known = await _connect(session, row, proof, PersonId(person.id))
    return None if known is None else await _member(session, row, proof, known)


async def _member(session: AsyncSession, row: SsoProvider, proof: Proof, known: SsoIdentity) -> PersonId:
    person_id = PersonId(known.person_id)
    await absences.admit(session, await people.person(session, person_id))
    if not await people.is_active(session, person_id):
        raise ProviderSignInRefused(_nobody(row))
    await session.refresh(known)
    if not await queries.is_member(session, row.merchant_id, person_id):
        if known.joined_at is not None:
            raise ProviderSignInRefused("You were taken out of this team. Ask an owner or admin to invite you again.")
        await _join(session, row, proof, person_id)
    mine = update(SsoIdentity).where(SsoIdentity.merchant_id == row.merchant_id, SsoIdentity.provider_id == row.id)
    used = {"last_used_at": now(), "joined_at": known.joined_at or now()}
    await session.execute(mine.where(SsoIdentity.subject == proof.subject).values(**used))
    return person_id


async def _join(session: AsyncSession, row: SsoProvider, proof: Proof, person_id: PersonId) -> None:
    role = await _require_role(session, row, proof)
    merchant_id = MerchantId(row.merchant_id)
    house = Actor.system(merchant_id, _HOUSE)
    await teams.add_member(session, house, merchant_id=merchant_id, person_id=person_id, role=role)


async def _require_role(session: AsyncSession, row: SsoProvider, proof: Proof) -> Role | UUID:
    """The role in which the rule lets somebody join; refused for addresses that are not verified or not of a proven domain."""
    role = role_for(read_rules(row.role_rules), row.default_role, proof.claims)
    if role is None or role == Role.OWNER or not await _is_of_proven_domain(session, row, proof):
        raise ProviderSignInRefused(_nobody(row))
    chosen = roles.chosen(role)
    try:
        await roles.role(session, Actor.system(MerchantId(row.merchant_id), _HOUSE), chosen)
    except RoleNotFound:
        raise ProviderSignInRefused("The role you would join in does not exist any more. Tell an owner of the team.") from None
    return chosen


async def _is_of_proven_domain(session: AsyncSession, row: SsoProvider, proof: Proof) -> bool:
    return proof.email_verified and domain_of(proof.email) in await queries.proven_domains(session, row)


def _nobody(row: SsoProvider) -> str:
    return f"Nobody in this team is connected with this account of {row.name}. Ask an owner or admin of the team to invite you."


async def _connect(session: AsyncSession, row: SsoProvider, proof: Proof, person_id: PersonId) -> SsoIdentity | None:
    values = {"merchant_id": row.merchant_id, "provider_id": row.id, "subject": proof.subject, "person_id": person_id}
    values |= {"email": proof.email, "created_at": now()}
    await session.execute(upsert(SsoIdentity).values(values).on_conflict_do_nothing())
    return await queries.identity(session, row, proof.subject)


async def confirm_link(session: AsyncSession, person_id: PersonId, *, browser: str, place: Place) -> SsoProvider:
    """Connect the account that this browser has proven to the person who has proven theirs; once. Gives the provider."""
    waiting = await ways.take_link(session, browser=browser, of_merchants=True)
    row = await queries.open_provider(session, provider_id_of(waiting.provider))
    if waiting.issuer != row.issuer:
        raise ProviderSignInRefused(f"{row.name} is another provider now than the one you were at. Begin again at the sign-in page.")
    values = {"merchant_id": row.merchant_id, "provider_id": row.id, "subject": waiting.subject or "", "person_id": person_id}
    values |= {"email": waiting.email or "", "created_at": now()}
    try:
        await session.execute(insert(SsoIdentity), [values])
    except IntegrityError:
        raise IdentityTaken("It belongs to somebody else of this team.") from None
    house = Actor.system(MerchantId(row.merchant_id), _HOUSE)
    after = {"person": str(person_id), "email": waiting.email}
    await audit.record(session, house, action="sso.account_connected", object_type="sso_provider", object_id=row.id, after=after)
    sentence = f"An account of {row.name}, a team’s provider, was connected to yours. It can be used to sign in to that team."
    who = await people.person(session, person_id)
    await events.tell(session, who, place, subject="A way to sign in was added", sentence=sentence)
    return row
