"""Pages of a forgotten password."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from app.identity.domain import ResetLinkInvalid
from app.identity.flows import resets as flows
from app.identity.pages.shared import exact, place_of
from app.identity.schemas import ForgottenForm, ForgottenPage, ResetForm, ResetPage
from app.identity.service import resets
from app.web import cookies
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import public
from app.web.rendering import answer_invalid_with, redirect, render


@get("/forgot", name="passwords:forgotten", guards=[public()])
async def show_forgotten(request: HttpRequest) -> Response[str]:
    """Where somebody asks for a link to choose a new password."""
    return render(request, "identity/forgotten.html", ForgottenPage())


@post("/forgot", name="passwords:ask", status_code=200, guards=[public()])
async def ask(request: HttpRequest) -> Response[str]:
    """The same answer, whether or not there is such a person."""
    answer_invalid_with(request, "identity/forgotten.html", ForgottenPage())
    form = await read_form(request, ForgottenForm)
    await flows.ask(email=form.email, place=place_of(request))
    return render(request, "identity/forgotten.html", ForgottenPage(asked=form.email))


@get("/reset", name="passwords:reset_form", guards=[public()])
async def show_reset(request: HttpRequest, session: NamedDependency[AsyncSession], key: FromQuery[str] = "") -> Response[str]:
    """The form for the new password, behind the link of the mail."""
    if not await resets.is_open(session, key):
        raise ResetLinkInvalid("The link was used already or is older than an hour. Ask for a new one.")
    return render(request, "identity/reset.html", ResetPage(key=key))


@post("/reset", name="passwords:reset", status_code=200, guards=[public()])
async def reset(request: HttpRequest) -> Response[str]:
    """A new password; the sign-in with the second factor follows."""
    key = await exact(request, "key")
    answer_invalid_with(request, "identity/reset.html", ResetPage(key=key))
    await read_form(request, ResetForm)
    await flows.reset_password(key=key, password=await exact(request, "password"), place=place_of(request))
    cookies.drop_session(request)
    return redirect(request, "/sign-in", toast="The new password holds. Sign in with it and your second factor.", hard=True)


ROUTES = [show_forgotten, ask, show_reset, reset]
