"""Passkeys and security keys: signing in with one, adding and removing them. Everything here has another way without JavaScript."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import path_id
from app.core.secrets import digest
from app.identity import flows, queries, service
from app.identity.domain import AlreadyEnrolled
from app.identity.domain.passkeys import PasskeyNotFound
from app.identity.pages.shared import exact, place_of, posted_next, visitor_of, welcome
from app.identity.queries import device
from app.identity.schemas import PasskeyForm, PasskeyPage, RecoveryCodesPage, SignInPage
from app.identity.service import passkeys
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import password_proven, public, signed_in
from app.web.rendering import answer_invalid_with, redirect, render

_JSON = "application/json"


def _asker(request: HttpRequest) -> str:
    """Before sign-in a question is put to the browser whose form token this is."""
    return f"form:{digest(request.state.csrf_seed.hex()).hex()}"


@post("/sign-in/passkey/ask", name="passkeys:ask_anybody", status_code=200, guards=[public()])
async def ask_anybody(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """What the browser needs to find a passkey for this site."""
    return Response(await passkeys.ask_anybody(session, asker=_asker(request)), media_type=_JSON)


@post("/sign-in/passkey", name="passkeys:sign_in", status_code=200, guards=[public()])
async def sign_in(request: HttpRequest) -> Response[str]:
    """A passkey that made sure of its owner is both factors."""
    after = await posted_next(request)
    answer_invalid_with(request, "identity/sign_in.html", SignInPage(next=after))
    token, email = await flows.sign_in_with_passkey(answer=await exact(request, "answer"), asker=_asker(request), place=place_of(request))
    if request.state.visitor is not None:
        await flows.leave(request.state.visitor)
    welcome(request, email, token)
    return redirect(request, after, hard=True)


@post("/passkeys/ask", name="passkeys:ask", status_code=200, guards=[password_proven()])
async def ask(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """What the browser needs to have a person's key answer as the second factor."""
    return Response(await passkeys.ask_person(session, visitor_of(request).person_id), media_type=_JSON)


@post("/passkeys/ask-new", name="passkeys:ask_new", status_code=200, guards=[password_proven()])
async def ask_new(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """What the browser needs to make a new passkey."""
    visitor = visitor_of(request)
    if visitor.enrolled and not visitor.complete:
        raise AlreadyEnrolled("Sign in with the factor you have, then add another one.")
    return Response(await passkeys.ask_new(session, await queries.person(session, visitor.person_id)), media_type=_JSON)


@post("/sign-in/enrol/passkey", name="passkeys:enrol", status_code=200, guards=[password_proven()])
async def enrol(request: HttpRequest) -> Response[str]:
    """A passkey as the first second factor; the answer shows the recovery codes, once."""
    visitor, after = visitor_of(request), await posted_next(request)
    name = device(request.headers.get("user-agent", ""))
    token, codes = await flows.enrol_passkey(visitor, answer=await exact(request, "answer"), name=name, place=place_of(request))
    welcome(request, visitor.person.email, token)
    return render(request, "identity/recovery_codes_first.html", RecoveryCodesPage(codes=codes, next=after))


def _page(request: HttpRequest) -> PasskeyPage:
    return PasskeyPage(name=device(request.headers.get("user-agent", "")))


@get("/security/passkeys/new", name="passkeys:new", guards=[signed_in(own=True)])
async def show_new(request: HttpRequest) -> Response[str]:
    """The form for another passkey or security key."""
    return render(request, "identity/passkey.html", _page(request), fragment="identity/_passkey.html")


@post("/security/passkeys", name="passkeys:add", status_code=200, guards=[signed_in(fresh=True)])
async def add(request: HttpRequest) -> Response[str]:
    """Keep a new passkey."""
    answer_invalid_with(request, "identity/passkey.html", _page(request), fragment="identity/_passkey.html")
    form = await read_form(request, PasskeyForm)
    await flows.add_passkey(visitor_of(request), answer=await exact(request, "answer"), name=form.name, place=place_of(request))
    return redirect(request, "/security", toast=f"“{form.name}” is added")


@post("/security/passkeys/{passkey_id:str}/remove", name="passkeys:remove", status_code=200, guards=[signed_in(fresh=True)])
async def remove(request: HttpRequest, passkey_id: FromPath[str], session: NamedDependency[AsyncSession]) -> Response[str]:
    """Forget a passkey, unless it is the last second factor."""
    which = path_id("pky", passkey_id, otherwise=PasskeyNotFound())
    name = await service.remove_passkey(session, visitor_of(request).person_id, passkey_id=which, place=place_of(request))
    return redirect(request, "/security", toast=f"“{name}” is removed")


ROUTES = [ask_anybody, sign_in, ask, ask_new, enrol, show_new, add, remove]
