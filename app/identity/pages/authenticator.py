"""The authenticator app: set up again, or taken away."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncSession

from app.identity import service
from app.identity.pages.shared import exact, in_groups, place_of, qr_code, visitor_of
from app.identity.schemas import AppPage, CodeForm
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import signed_in
from app.web.rendering import answer_invalid_with, redirect, render

_FRESH = [signed_in(fresh=True)]


@get("/security/app", name="authenticator:new", guards=_FRESH)
async def show_app(request: HttpRequest) -> Response[str]:
    """The QR code for another app; the present one works until a code of the new one is entered."""
    visitor = visitor_of(request)
    secret, sealed = service.new_app(visitor.person_id)
    page = AppPage(secret=in_groups(secret), qr_svg=qr_code(secret, visitor.person.email), sealed=sealed)
    return render(request, "identity/app.html", page)


@post("/security/app", name="authenticator:replace", status_code=200, guards=_FRESH)
async def replace_app(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """A first code proves that the new app works; the one before stops."""
    visitor, sealed = visitor_of(request), await exact(request, "sealed")
    secret = service.secret_of(visitor.person_id, sealed)
    page = AppPage(secret=in_groups(secret), qr_svg=qr_code(secret, visitor.person.email), sealed=sealed)
    answer_invalid_with(request, "identity/app.html", page)
    form = await read_form(request, CodeForm)
    await service.replace_app(session, visitor.person_id, sealed=sealed, code=form.code, place=place_of(request))
    return redirect(request, "/security", toast="The new app works from now on", hard=True)


@post("/security/app/remove", name="authenticator:remove", status_code=200, guards=_FRESH)
async def remove_app(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """Take the app away, unless it is the last second factor."""
    await service.remove_app(session, visitor_of(request).person_id, place=place_of(request))
    return redirect(request, "/security", toast="The app does not work any more")


ROUTES = [show_app, replace_app, remove_app]
