"""Pages of coming in by a team's own provider: from an e-mail address to the provider and back."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import public_id
from app.identity.pages.shared import place_of, posted_next, visitor_of
from app.identity.providers import flows as ways
from app.identity.providers import pages as provider_pages
from app.identity.providers.pages import browser_of
from app.identity.schemas import LogoutForm, ProviderTroublePage
from app.tenancy.admissions import flows, queries, service
from app.tenancy.admissions.schemas import SsoConnectedPage, SsoEmailForm, SsoSignInPage
from app.tenancy.sso.queries import provider_id_of
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import public, signed_in
from app.web.rendering import answer_invalid_with, redirect, render
from app.web.requests import safe_path

Session = NamedDependency[AsyncSession]
CONFIRM = "/security/sso/confirm"
ASKED, TROUBLE = "tenancy/sso_sign_in.html", "identity/provider_trouble.html"


@get("/sign-in/sso", name="admissions:ask", guards=[public()])
async def show_question(request: HttpRequest, session: Session, next: FromQuery[str] = "/") -> Response[str]:
    """Which address somebody works with; for who has signed in another way it is known."""
    visitor, after = request.state.visitor, safe_path(next)
    known = visitor is not None and visitor.complete
    page = await queries.way_for(session, visitor.person.email, after=after) if known else SsoSignInPage(next=after)
    return render(request, ASKED, page)


@post("/sign-in/sso", name="admissions:find", status_code=200, guards=[public()])
async def find(request: HttpRequest, session: Session) -> Response[str]:
    """The way for an address. A link leads on and not this form: browsers hold a form's redirects to our own pages."""
    after = await posted_next(request)
    answer_invalid_with(request, ASKED, SsoSignInPage(next=after))
    form = await read_form(request, SsoEmailForm)
    return render(request, ASKED, await queries.way_for(session, form.email, after=after))


@get("/sign-in/sso/{provider:str}", name="admissions:begin", guards=[public()])
async def begin(request: HttpRequest, provider: FromPath[str], next: FromQuery[str] = "/") -> Response[str]:
    """Go to the team's provider."""
    asked = await flows.provider(provider_id_of(provider))
    return await provider_pages.leave_for(request, asked, after=safe_path(next))


@get("/sign-in/sso/{provider:str}/callback", name="admissions:finish", guards=[public()])
async def finish(request: HttpRequest, provider: FromPath[str]) -> Response[str]:
    """The team's provider sent the browser back."""
    provider_id = provider_id_of(provider)
    answer_invalid_with(request, TROUBLE, ProviderTroublePage(provider=(await flows.provider(provider_id)).name))
    answer = provider_pages.answer_of(request)
    here = request.state.actor is not None
    outcome = await flows.finish(provider_id, answer, browser=browser_of(request), place=place_of(request), signed_in=here)
    return await provider_pages.arrive(request, outcome, confirm=CONFIRM)


@post("/sign-in/sso/{provider:str}/signed-out", name="admissions:signed_out_there", status_code=200, guards=[public(machine=True)])
async def signed_out_there(request: HttpRequest, provider: FromPath[str]) -> Response[str]:
    """The team's provider says that somebody signed out there (OpenID Connect Back-Channel Logout)."""
    told = await flows.provider(provider_id_of(provider))
    form = await read_form(request, LogoutForm)
    await ways.end_sessions(told, logout_token=form.logout_token)
    return Response("", headers={"Cache-Control": "no-store"}, media_type="text/plain")


@get("/sign-in/sso/farewell", name="admissions:farewell", guards=[public()])
async def show_farewell(request: HttpRequest, kept: FromQuery[str] = "") -> Response[str]:
    """Signed out here; the team's provider is a link away."""
    key, id_token = provider_pages.kept_for(request, kept)
    provider = await flows.still_there(key) if key else None
    if provider is None:
        return redirect(request, "/sign-in", toast="You are signed out" if key else None, hard=True)
    return await provider_pages.part_from(request, provider, id_token=id_token)


@get(CONFIRM, name="admissions:confirm_form", guards=[signed_in(own=True)])
async def show_confirm(request: HttpRequest, session: Session) -> Response[str]:
    """Both sides are proven; whether to connect them is asked."""
    page = await queries.confirm_page(session, browser_of(request), account=visitor_of(request).person.email)
    if page is None:
        return redirect(request, "/", hard=True)
    return render(request, "tenancy/sso_confirm.html", page)


@post(CONFIRM, name="admissions:confirm", status_code=200, guards=[signed_in(fresh=True)])
async def confirm(request: HttpRequest, session: Session) -> Response[str]:
    """Connect the account; the team is a link away, by the provider."""
    answer_invalid_with(request, TROUBLE, ProviderTroublePage(provider="the provider"))
    row = await service.confirm_link(session, visitor_of(request).person_id, browser=browser_of(request), place=place_of(request))
    return render(request, "tenancy/sso_connected.html", SsoConnectedPage(key=public_id("sso", row.id), provider=row.name))


ROUTES = [show_question, find, begin, finish, signed_out_there, show_farewell, show_confirm, confirm]
