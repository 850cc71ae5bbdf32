"""Pages about API keys: list, issue (shown once), revoke."""

from datetime import timedelta

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from app.api_access import queries, service
from app.api_access.schemas import KeyForm, KeyShownPage, RevokeForm
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import parse_id
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]


@get("/api-clients", name="api_access:list", guards=[requires("api_clients.read")])
async def list_keys(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """The merchant's API keys."""
    return render(request, "api_access/list.html", await queries.keys(session, actor))


@get("/api-clients/new", name="api_access:new", guards=[requires("api_clients.write")])
async def show_new_key(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """The form for a new key."""
    page = await queries.new_key_page(session, actor)
    return render(request, "api_access/new.html", page, fragment="api_access/_new.html")


@post("/api-clients", name="api_access:issue", status_code=200, guards=[requires("api_clients.write", fresh=True)])
async def issue_key(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """A new key; this answer is the only place that shows it."""
    page = await queries.new_key_page(session, actor)
    answer_invalid_with(request, "api_access/new.html", page, fragment="api_access/_new.html")
    form = await read_form(request, KeyForm)
    expires_at = None if form.expires == "never" else now() + timedelta(days=int(form.expires))
    row, key = await service.issue_key(session, actor, name=form.name, scopes=form.scopes, expires_at=expires_at)
    return render(request, "api_access/shown.html", KeyShownPage(name=row.name, secret=key), fragment="api_access/_shown.html")


@get("/api-clients/{key_id:str}/revoke", name="api_access:revoke_form", guards=[requires("api_clients.write")])
async def show_revoke(request: HttpRequest, key_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """The question before a key is revoked."""
    page = await queries.revoke_page(session, actor, key_id=parse_id("key", key_id))
    return render(request, "api_access/revoke.html", page, fragment="api_access/_revoke.html")


@post("/api-clients/{key_id:str}/revoke", name="api_access:revoke", status_code=200, guards=[requires("api_clients.write", fresh=True)])
async def revoke_key(request: HttpRequest, key_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Kill a key at once."""
    key = parse_id("key", key_id)
    page = await queries.revoke_page(session, actor, key_id=key)
    answer_invalid_with(request, "api_access/revoke.html", page, fragment="api_access/_revoke.html")
    form = await read_form(request, RevokeForm)
    row = await service.revoke_key(session, actor, key_id=key, name=form.name)
    return redirect(request, "/api-clients", toast=f"{row.name} no longer works")


ROUTES = [list_keys, show_new_key, issue_key, show_revoke, revoke_key]
