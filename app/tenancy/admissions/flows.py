"""Coming in by a merchant's own provider: look up whose it is, ask the provider outside of any transaction, admit."""

from uuid import UUID

from app.core.db import unit_of_work
from app.core.ids import MerchantId
from app.identity.domain.providers import Provider, ProviderAnswer
from app.identity.providers import flows as ways
from app.identity.providers import service as attempts
from app.identity.service.events import Place
from app.tenancy.admissions import queries, service
from app.tenancy.sso.queries import as_provider, provider_id_of
from app.web.sessions import Bound


async def provider(provider_id: UUID) -> Provider:
    """A merchant's provider by which people sign in."""
    async with unit_of_work(None) as session:
        return as_provider(await queries.open_provider(session, provider_id))


async def still_there(key: str) -> Provider | None:
    """The merchant's provider of this key, unless it was disabled or removed meanwhile."""
    async with unit_of_work(None) as session:
        row = await queries.find_provider(session, provider_id_of(key))
        return None if row is None else as_provider(row)


async def finish(provider_id: UUID, answer: ProviderAnswer, *, browser: str, place: Place, signed_in: bool) -> ways.Outcome:
    """Let somebody in with what their team's provider proves: into that team, and nowhere else.

    Whoever is signed in here already is asked whether to connect an account that is nobody's yet.
    """
    asked = await provider(provider_id)
    attempt, proof = await ways.take_up(asked, answer, browser=browser, place=place)
    async with unit_of_work(None) as session:
        row = await queries.open_provider(session, provider_id)
        person_id = await service.admit(session, row, proof, signed_in=signed_in)
        if person_id is None:
            await attempts.keep_for_linking(session, attempt, proof)
            return ways.Outcome(next_path=attempt.next_path)
        bound = Bound(merchant_id=MerchantId(row.merchant_id), provider_id=row.id)
        return await ways.open_session(session, asked, attempt, proof, person_id, place=place, bound=bound)
