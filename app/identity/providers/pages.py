"""Pages of signing in through a provider, of connected accounts, and the provider's own notice of a sign-out."""

import re
import secrets
from urllib.parse import quote

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import parse_id
from app.core.secrets import SecretUnreadable, mac, mac_matches, seal, unseal
from app.core.settings import settings
from app.identity import flows as people
from app.identity import oauth
from app.identity import queries as accounts
from app.identity.domain.providers import Provider, ProviderAnswer, of_merchant
from app.identity.providers import flows, queries, service
from app.identity.schemas import ConfirmPage, ConnectionsPage, LogoutForm, ProviderTroublePage, SignedOutPage
from app.identity.service import events
from app.identity.service.events import Happening, Place
from app.web import cookies
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import public, signed_in
from app.web.rendering import answer_invalid_with, redirect, render
from app.web.requests import safe_path
from app.web.sessions import Visitor

CONFIRM = "/security/providers/confirm"
_BROWSER = re.compile(r"[A-Za-z0-9_-]{43}")
_FAREWELL = "identity.farewell"
_ANSWER = {"state": "state", "code": "code", "issuer": "iss", "error": "error"}


def _visitor(request: HttpRequest) -> Visitor:
    visitor: Visitor = request.state.visitor
    return visitor


def place_of(request: HttpRequest) -> Place:
    """Where the caller acts from."""
    agent, device = request.headers.get("user-agent", ""), request.cookies.get(cookies.device_name(), "")
    return Place(address=request.state.address, user_agent=agent, device=device)


def browser_of(request: HttpRequest) -> str:
    """What this browser's attempts are bound to; empty when it holds nothing of ours."""
    held = request.cookies.get(cookies.provider_name(), "")
    return held if _BROWSER.fullmatch(held) else ""


def _asked(request: HttpRequest, name: str) -> str:
    """A parameter of the address; the framework keeps the name ``state`` to itself, so all are read in this one way."""
    return str(request.query_params.get(name, ""))


def _leave_to(address: str) -> Response[str]:
    return Response("", status_code=303, headers={"Location": address, "Cache-Control": "no-store"}, media_type="text/html")


async def _begin(request: HttpRequest, key: str, *, after: str, connecting: bool) -> Response[str]:
    return await leave_for(request, queries.provider(key), after=after, connecting=connecting)


async def leave_for(request: HttpRequest, provider: Provider, *, after: str, connecting: bool = False) -> Response[str]:
    """Send the browser to a provider, and remember which browser it was."""
    browser = browser_of(request) or secrets.token_urlsafe(32)
    address = await flows.begin(provider, browser=browser, next_path=after, connecting=connecting)
    cookies.give_provider(request, browser)
    return _leave_to(address)


def answer_of(request: HttpRequest) -> ProviderAnswer:
    """What the provider sent the browser back with."""
    return ProviderAnswer(**{name: _asked(request, short) for name, short in _ANSWER.items()})


@get("/sign-in/with/{provider:str}", name="providers:begin", guards=[public()])
async def begin(request: HttpRequest, provider: FromPath[str], next: FromQuery[str] = "/") -> Response[str]:
    """Go to a provider to sign in there.

    A link and not a form: our pages may send forms only to ourselves, and browsers hold redirects of a form to that as well.
    """
    return await _begin(request, provider, after=safe_path(next), connecting=False)


@get("/security/providers/{provider:str}/connect", name="providers:connect", guards=[signed_in(own=True)])
async def connect(request: HttpRequest, provider: FromPath[str]) -> Response[str]:
    """Go to a provider to prove an account there that is to be connected to one's own."""
    return await _begin(request, provider, after="/security/providers", connecting=True)


@get("/sign-in/with/{provider:str}/callback", name="providers:finish", guards=[public()])
async def finish(request: HttpRequest, provider: FromPath[str]) -> Response[str]:
    """The provider sent the browser back."""
    trouble = ProviderTroublePage(provider=queries.provider(provider).name)
    answer_invalid_with(request, "identity/provider_trouble.html", trouble)
    outcome = await flows.finish(provider, answer_of(request), browser=browser_of(request), place=place_of(request))
    return await arrive(request, outcome, confirm=CONFIRM)


async def arrive(request: HttpRequest, outcome: flows.Outcome, *, confirm: str) -> Response[str]:
    """Hand over the session a sign-in at a provider led to; without one, ask for a sign-in here before the two are connected."""
    if not outcome.token:
        return redirect(request, confirm if request.state.actor is not None else f"/sign-in?next={quote(confirm, safe='/')}", hard=True)
    # whoever signs in again leaves the session that this browser held before
    if request.state.visitor is not None:
        await people.leave(request.state.visitor)
    cookies.give_session(request, outcome.token)
    if outcome.complete:
        return redirect(request, outcome.next_path, hard=True)
    step = "/sign-in/second-factor" if outcome.enrolled else "/sign-in/enrol"
    return redirect(request, f"{step}?next={quote(outcome.next_path, safe='/')}", hard=True)


@get("/security/providers", name="providers:list", guards=[signed_in(own=True)])
async def show_connections(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """The accounts of sign-in providers that are connected to one's own."""
    rows = await queries.identities(session, _visitor(request).person_id)
    return render(request, "identity/providers.html", ConnectionsPage(rows=rows, providers=queries.choices()))


@get(CONFIRM, name="providers:confirm_form", guards=[signed_in(own=True)])
async def show_confirm(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """Both sides are proven; whether to connect them is asked."""
    waiting = await queries.waiting_link(session, browser_of(request))
    if waiting is None:
        return redirect(request, "/security/providers", hard=True)
    name = queries.provider(waiting.provider).name
    page = ConfirmPage(provider=name, email=waiting.email or "an account without an address", account=_visitor(request).person.email)
    return render(request, "identity/provider_confirm.html", page)


@post(CONFIRM, name="providers:confirm", status_code=200, guards=[signed_in(fresh=True)])
async def confirm(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """Connect the provider's account to one's own."""
    answer_invalid_with(request, "identity/provider_trouble.html", ProviderTroublePage(provider="the provider"))
    who = _visitor(request).person_id
    key = await service.confirm_link(session, who, browser=browser_of(request))
    name, place = queries.provider(key).name, place_of(request)
    await events.note(session, who, Happening.PROVIDER_CONNECTED, place, about=name)
    sentence = f"An account of {name} was connected to yours. It can be used to sign in."
    await events.tell(session, await accounts.person(session, who), place, subject="A way to sign in was added", sentence=sentence)
    return redirect(request, "/security/providers", toast=f"You can sign in with {name} now", hard=True)


@post("/security/providers/{identity_id:str}/disconnect", name="providers:disconnect", status_code=200, guards=[signed_in(fresh=True)])
async def disconnect(request: HttpRequest, identity_id: FromPath[str], session: NamedDependency[AsyncSession]) -> Response[str]:
    """Disconnect a provider's account."""
    visitor = _visitor(request)
    page = ConnectionsPage(rows=await queries.identities(session, visitor.person_id), providers=queries.choices())
    answer_invalid_with(request, "identity/providers.html", page)
    issuer = await service.unlink(session, visitor.person_id, parse_id("idn", identity_id))
    place, who = place_of(request), await accounts.person(session, visitor.person_id)
    await events.note(session, visitor.person_id, Happening.PROVIDER_DISCONNECTED, place, about=issuer)
    sentence = f"Your account of {issuer} was disconnected. It cannot be used to sign in any more."
    await events.tell(session, who, place, subject="A way to sign in was removed", sentence=sentence)
    return redirect(request, "/security/providers", toast="Disconnected")


@post("/sign-in/with/{provider:str}/signed-out", name="providers:signed_out_there", status_code=200, guards=[public(machine=True)])
async def signed_out_there(request: HttpRequest, provider: FromPath[str]) -> Response[str]:
    """A provider says that somebody signed out there (OpenID Connect Back-Channel Logout)."""
    form = await read_form(request, LogoutForm)
    await flows.end_sessions(queries.provider(provider), logout_token=form.logout_token)
    return Response("", headers={"Cache-Control": "no-store"}, media_type="text/plain")


@get("/sign-in/signed-out", name="providers:signed_out", guards=[public()])
async def signed_out(request: HttpRequest) -> Response[str]:
    """Back from signing out at the provider."""
    known = mac_matches(_asked(request, "state"), browser_of(request), purpose=_FAREWELL)
    return redirect(request, "/sign-in", toast="You are signed out here and there" if known else None, hard=True)


def farewell_path(request: HttpRequest, key: str, id_token: str) -> str:
    """Where somebody goes who has signed out here and came from a provider; what the provider needs travels sealed for this browser."""
    browser = browser_of(request) or secrets.token_urlsafe(32)
    cookies.give_provider(request, browser)
    page = "/sign-in/sso/farewell" if of_merchant(key) else "/sign-in/farewell"
    return f"{page}?kept={seal(f'{key} {id_token}', f'{_FAREWELL}:{browser}')}"


def kept_for(request: HttpRequest, kept: str) -> tuple[str, str]:
    """From which provider this browser's session had come, and its ID token; empty when this was kept for another browser."""
    try:
        key, _, id_token = unseal(kept, f"{_FAREWELL}:{browser_of(request)}").partition(" ")
    except SecretUnreadable:
        return "", ""
    return key, id_token


async def part_from(request: HttpRequest, provider: Provider, *, id_token: str) -> Response[str]:
    """Signed out here; the provider, which may sign one in again at once, is a link away."""
    address = await flows.end_session_address(provider)
    if not address:
        return redirect(request, "/sign-in", toast="You are signed out", hard=True)
    back = f"{settings().public_url}/sign-in/signed-out"
    url = oauth.end_session_url(provider, address, id_token=id_token, state=mac(browser_of(request), purpose=_FAREWELL), back=back)
    return render(request, "identity/signed_out.html", SignedOutPage(provider=provider.name, url=url))


@get("/sign-in/farewell", name="providers:farewell", guards=[public()])
async def show_farewell(request: HttpRequest, kept: FromQuery[str] = "") -> Response[str]:
    """Signed out here; the provider, which may sign one in again at once, is a link away."""
    key, id_token = kept_for(request, kept)
    provider = queries.still_there(key)
    if provider is None:
        # kept for another browser, or the provider was taken out of the settings: there is nothing more to do there
        return redirect(request, "/sign-in", toast="You are signed out" if key else None, hard=True)
    return await part_from(request, provider, id_token=id_token)


ROUTES = [
    begin,
    connect,
    finish,
    show_connections,
    show_confirm,
    confirm,
    disconnect,
    signed_out_there,
    signed_out,
    show_farewell,
]
