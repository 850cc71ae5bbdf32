"""Pages about OAuth clients: list, add (secret shown once), show, change, new secret or keys, disable, enable, revoke."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from app.api_access import oauth, queries
from app.api_access.domain import AuthMethod, ClientState
from app.api_access.schemas import ClientForm, ClientPage, EditForm, EditPage, KeysForm, RevokeForm, SecretForm, ShownPage, end_of
from app.api_access.service import clients as service
from app.core.actors import Actor
from app.core.ids import parse_id, public_id
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
Read = Callable[[AsyncSession, Actor, str], Awaitable[ClientPage | EditPage]]
LIST = "/api-clients/oauth"
ONE = LIST + "/{client_id:str}"
NEW = ("api_access/client_new.html", "api_access/_client_new.html")
CHANGING = [requires("api_clients.write", fresh=True)]


async def _page(session: AsyncSession, actor: Actor, client_id: str) -> ClientPage:
    return await queries.client_page(session, actor, client_id=parse_id("cli", client_id), token_url=oauth.endpoints()["token"])


async def _edit_page(session: AsyncSession, actor: Actor, client_id: str) -> EditPage:
    return await queries.client_edit_page(session, actor, client_id=parse_id("cli", client_id))


READ: dict[str, Read] = {"edit": _edit_page}
"""What the dialogs about a client are shown; the client's own page where nothing else is said."""


async def _dialog(request: HttpRequest, session: AsyncSession, actor: Actor, client_id: str, act: str) -> tuple[str, object, str]:
    page = await READ.get(act, _page)(session, actor, client_id)
    return f"api_access/client_{act}.html", page, f"api_access/_client_{act}.html"


def _asks(act: str) -> HTTPRouteHandler:
    """The dialog before an act on a client."""

    @get(f"{ONE}/{act}", name=f"api_clients:{act}_form", guards=[requires("api_clients.write")])
    async def show(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
        template, page, fragment = await _dialog(request, session, actor, client_id, act)
        return render(request, template, page, fragment=fragment)

    return show


def _does(act: str) -> Callable[[Callable[..., Awaitable[Response[str]]]], HTTPRouteHandler]:
    """The route of an act on a client."""
    return post(f"{ONE}/{act}", name=f"api_clients:{act}", status_code=200, guards=CHANGING)


async def _invalid_answers(request: HttpRequest, session: AsyncSession, actor: Actor, client_id: str, act: str) -> None:
    template, page, fragment = await _dialog(request, session, actor, client_id, act)
    answer_invalid_with(request, template, page, fragment=fragment)


def _done(request: HttpRequest, client_id: str, toast: str) -> Response[str]:
    return redirect(request, f"{LIST}/{client_id}", toast=toast)


def _shown(request: HttpRequest, name: str, client_id: str, secret: str) -> Response[str]:
    page = ShownPage(name=name, secret=secret, client_id=client_id, back=f"{LIST}/{client_id}")
    return render(request, "api_access/shown.html", page, fragment="api_access/_shown.html")


@get(LIST, name="api_clients:list", guards=[requires("api_clients.read")])
async def list_clients(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """The merchant's OAuth clients."""
    asked = request.query_params
    state = asked.get("state", "")
    page = await queries.clients(
        session, actor, query=asked.get("q", "").strip(), state=state if state in set(ClientState) else "", after=asked.get("after")
    )
    return render(request, "api_access/clients.html", page)


@get(f"{LIST}/new", name="api_clients:new", guards=[requires("api_clients.write")])
async def show_new_client(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """The form for a new OAuth client."""
    return render(request, NEW[0], await queries.new_client_page(session, actor), fragment=NEW[1])


@post(LIST, name="api_clients:add", status_code=200, guards=CHANGING)
async def add_client(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """A new OAuth client; this answer is the only place that shows its secret."""
    answer_invalid_with(request, NEW[0], await queries.new_client_page(session, actor), fragment=NEW[1])
    form = await read_form(request, ClientForm)
    row, secret = await service.add_client(
        session,
        actor,
        name=form.name,
        scopes=form.scopes,
        method=AuthMethod(form.method),
        jwks=form.jwks,
        jwks_url=form.jwks_url,
        networks=form.networks,
        requests_per_minute=form.requests_per_minute,
        expires_at=end_of(form.expires),
    )
    client_id = public_id("cli", row.id)
    if secret is None:
        return _done(request, client_id, f"{row.name} can ask for tokens")
    return _shown(request, row.name, client_id, secret)


@get(ONE, name="api_clients:show", guards=[requires("api_clients.read")])
async def show_client(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """One OAuth client."""
    return render(request, "api_access/client.html", await _page(session, actor, client_id))


@_does("edit")
async def edit_client(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Another name, reach or limit; it holds from the next request on."""
    await _invalid_answers(request, session, actor, client_id, "edit")
    form = await read_form(request, EditForm)
    row = await service.change_client(
        session,
        actor,
        client_id=parse_id("cli", client_id),
        name=form.name,
        scopes=form.scopes,
        networks=form.networks,
        requests_per_minute=form.requests_per_minute,
        ends=form.ends,
    )
    return _done(request, client_id, f"{row.name} is changed; it holds at once")


@_does("secret")
async def rotate_secret(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """A new secret; this answer is the only place that shows it."""
    await _invalid_answers(request, session, actor, client_id, "secret")
    overlap = timedelta(hours=int((await read_form(request, SecretForm)).overlap))
    row, secret = await service.rotate_secret(session, actor, client_id=parse_id("cli", client_id), overlap=overlap)
    return _shown(request, row.name, client_id, secret)


@_does("keys")
async def change_keys(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Replace the public keys of a client that signs."""
    await _invalid_answers(request, session, actor, client_id, "keys")
    form = await read_form(request, KeysForm)
    row = await service.change_keys(session, actor, client_id=parse_id("cli", client_id), jwks=form.jwks, jwks_url=form.jwks_url)
    return _done(request, client_id, f"{row.name} signs with other keys now")


@_does("disable")
async def disable_client(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Refuse the client and its tokens at once."""
    row = await service.disable_client(session, actor, client_id=parse_id("cli", client_id))
    return _done(request, client_id, f"{row.name} is refused from now on")


@_does("enable")
async def enable_client(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Let a disabled client get tokens again."""
    row = await service.enable_client(session, actor, client_id=parse_id("cli", client_id))
    return _done(request, client_id, f"{row.name} can ask for tokens again")


@_does("revoke")
async def revoke_client(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """End a client and its tokens for good."""
    await _invalid_answers(request, session, actor, client_id, "revoke")
    form = await read_form(request, RevokeForm)
    row = await service.revoke_client(session, actor, client_id=parse_id("cli", client_id), name=form.name)
    return redirect(request, LIST, toast=f"{row.name} no longer works")


ROUTES = [
    *(list_clients, show_new_client, add_client, show_client, *map(_asks, ("edit", "secret", "keys", "revoke"))),
    *(edit_client, rotate_secret, change_keys, disable_client, enable_client, revoke_client),
]
