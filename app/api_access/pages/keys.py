"""Pages about API keys: list, issue (shown once), rotate, revoke."""

from datetime import timedelta

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from app.api_access import queries, service
from app.api_access.domain import KeyState
from app.api_access.schemas import EditForm, KeyForm, RevokeForm, RotateForm, ShownPage, end_of
from app.core.actors import Actor
from app.core.ids import parse_id
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
BACK = "/api-clients"


@get("/api-clients", name="api_access:list", guards=[requires("api_clients.read")])
async def list_keys(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """The merchant's API keys."""
    asked = request.query_params
    state = asked.get("state", "")
    page = await queries.keys(
        session, actor, query=asked.get("q", "").strip(), state=state if state in set(KeyState) else "", after=asked.get("after")
    )
    return render(request, "api_access/list.html", page)


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
    row, key = await service.issue_key(
        session,
        actor,
        name=form.name,
        scopes=form.scopes,
        expires_at=end_of(form.expires),
        networks=form.networks,
        requests_per_minute=form.requests_per_minute,
    )
    return _shown(request, row.name, key)


def _shown(request: HttpRequest, name: str, key: str) -> Response[str]:
    return render(request, "api_access/shown.html", ShownPage(name=name, secret=key, back=BACK), fragment="api_access/_shown.html")


@get("/api-clients/{key_id:str}/edit", name="api_access:edit_form", guards=[requires("api_clients.write")])
async def show_edit(request: HttpRequest, key_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """The form that changes a key."""
    page = await queries.key_edit_page(session, actor, key_id=parse_id("key", key_id))
    return render(request, "api_access/edit.html", page, fragment="api_access/_edit.html")


@post("/api-clients/{key_id:str}/edit", name="api_access:edit", status_code=200, guards=[requires("api_clients.write", fresh=True)])
async def edit_key(request: HttpRequest, key_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Another name, reach, limit or end; it holds from the next request on."""
    key = parse_id("key", key_id)
    page = await queries.key_edit_page(session, actor, key_id=key)
    answer_invalid_with(request, "api_access/edit.html", page, fragment="api_access/_edit.html")
    form = await read_form(request, EditForm)
    row = await service.change_key(
        session,
        actor,
        key_id=key,
        name=form.name,
        scopes=form.scopes,
        networks=form.networks,
        requests_per_minute=form.requests_per_minute,
        ends=form.ends,
    )
    return redirect(request, BACK, toast=f"{row.name} is changed; it holds at once")


@get("/api-clients/{key_id:str}/rotate", name="api_access:rotate_form", guards=[requires("api_clients.write")])
async def show_rotate(request: HttpRequest, key_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """How a key is replaced."""
    page = await queries.key_page(session, actor, key_id=parse_id("key", key_id))
    return render(request, "api_access/rotate.html", page, fragment="api_access/_rotate.html")


@post("/api-clients/{key_id:str}/rotate", name="api_access:rotate", status_code=200, guards=[requires("api_clients.write", fresh=True)])
async def rotate_key(request: HttpRequest, key_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """A new key in place of an old one; this answer is the only place that shows it."""
    key = parse_id("key", key_id)
    page = await queries.key_page(session, actor, key_id=key)
    answer_invalid_with(request, "api_access/rotate.html", page, fragment="api_access/_rotate.html")
    form = await read_form(request, RotateForm)
    row, secret = await service.rotate_key(
        session, actor, key_id=key, overlap=timedelta(hours=int(form.overlap)), expires_at=end_of(form.expires)
    )
    return _shown(request, row.name, secret)


@get("/api-clients/{key_id:str}/revoke", name="api_access:revoke_form", guards=[requires("api_clients.write")])
async def show_revoke(request: HttpRequest, key_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """The question before a key is revoked."""
    page = await queries.key_page(session, actor, key_id=parse_id("key", key_id))
    return render(request, "api_access/revoke.html", page, fragment="api_access/_revoke.html")


@post("/api-clients/{key_id:str}/revoke", name="api_access:revoke", status_code=200, guards=[requires("api_clients.write", fresh=True)])
async def revoke_key(request: HttpRequest, key_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Kill a key at once."""
    key = parse_id("key", key_id)
    page = await queries.key_page(session, actor, key_id=key)
    answer_invalid_with(request, "api_access/revoke.html", page, fragment="api_access/_revoke.html")
    form = await read_form(request, RevokeForm)
    row = await service.revoke_key(session, actor, key_id=key, name=form.name)
    return redirect(request, BACK, toast=f"{row.name} no longer works")


ROUTES = [list_keys, show_new_key, issue_key, show_edit, edit_key, show_rotate, rotate_key, show_revoke, revoke_key]
