"""Pages about OAuth clients: list, add (secret shown once), show, new secret or keys, disable, enable, revoke."""

from datetime import timedelta

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from app.api_access import oauth, queries
from app.api_access.domain import AuthMethod, ClientState
from app.api_access.schemas import ClientForm, ClientPage, KeysForm, RevokeForm, SecretForm, ShownPage
from app.api_access.service import clients as service
from app.core.actors import Actor
from app.core.ids import parse_id, public_id
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
NEW = ("api_access/client_new.html", "api_access/_client_new.html")
SECRET = ("api_access/client_secret.html", "api_access/_client_secret.html")
KEYS = ("api_access/client_keys.html", "api_access/_client_keys.html")
REVOKE = ("api_access/client_revoke.html", "api_access/_client_revoke.html")


@get("/api-clients/oauth", name="api_clients:list", guards=[requires("api_clients.read")])
async def list_clients(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """The merchant's OAuth clients."""
    asked = request.query_params
    state = asked.get("state", "")
    page = await queries.clients(
        session, actor, query=asked.get("q", "").strip(), state=state if state in set(ClientState) else "", after=asked.get("after")
    )
    return render(request, "api_access/clients.html", page)


@get("/api-clients/oauth/new", name="api_clients:new", guards=[requires("api_clients.write")])
async def show_new_client(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """The form for a new OAuth client."""
    return render(request, NEW[0], await queries.new_client_page(session, actor), fragment=NEW[1])


@post("/api-clients/oauth", name="api_clients:add", status_code=200, guards=[requires("api_clients.write", fresh=True)])
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
    )
    client_id = public_id("cli", row.id)
    if secret is None:
        return redirect(request, f"/api-clients/oauth/{client_id}", toast=f"{row.name} can ask for tokens")
    return _shown(request, row.name, client_id, secret)


def _shown(request: HttpRequest, name: str, client_id: str, secret: str) -> Response[str]:
    page = ShownPage(name=name, secret=secret, client_id=client_id, back=f"/api-clients/oauth/{client_id}")
    return render(request, "api_access/shown.html", page, fragment="api_access/_shown.html")


async def _page(session: AsyncSession, actor: Actor, client_id: str) -> ClientPage:
    return await queries.client_page(session, actor, client_id=parse_id("cli", client_id), token_url=oauth.endpoints()["token"])


@get("/api-clients/oauth/{client_id:str}", name="api_clients:show", guards=[requires("api_clients.read")])
async def show_client(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """One OAuth client."""
    return render(request, "api_access/client.html", await _page(session, actor, client_id))


@get("/api-clients/oauth/{client_id:str}/secret", name="api_clients:secret_form", guards=[requires("api_clients.write")])
async def show_secret(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """How a client's secret is replaced."""
    return render(request, SECRET[0], await _page(session, actor, client_id), fragment=SECRET[1])


@post(
    "/api-clients/oauth/{client_id:str}/secret",
    name="api_clients:secret",
    status_code=200,
    guards=[requires("api_clients.write", fresh=True)],
)
async def rotate_secret(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """A new secret; this answer is the only place that shows it."""
    answer_invalid_with(request, SECRET[0], await _page(session, actor, client_id), fragment=SECRET[1])
    form = await read_form(request, SecretForm)
    row, secret = await service.rotate_secret(
        session, actor, client_id=parse_id("cli", client_id), overlap=timedelta(hours=int(form.overlap))
    )
    return _shown(request, row.name, client_id, secret)


@get("/api-clients/oauth/{client_id:str}/keys", name="api_clients:keys_form", guards=[requires("api_clients.write")])
async def show_keys(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """How a client's public keys are replaced."""
    return render(request, KEYS[0], await _page(session, actor, client_id), fragment=KEYS[1])


@post(
    "/api-clients/oauth/{client_id:str}/keys", name="api_clients:keys", status_code=200, guards=[requires("api_clients.write", fresh=True)]
)
async def change_keys(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Replace the public keys of a client that signs."""
    answer_invalid_with(request, KEYS[0], await _page(session, actor, client_id), fragment=KEYS[1])
    form = await read_form(request, KeysForm)
    row = await service.change_keys(session, actor, client_id=parse_id("cli", client_id), jwks=form.jwks, jwks_url=form.jwks_url)
    return redirect(request, f"/api-clients/oauth/{client_id}", toast=f"{row.name} signs with other keys now")


@post(
    "/api-clients/oauth/{client_id:str}/disable",
    name="api_clients:disable",
    status_code=200,
    guards=[requires("api_clients.write", fresh=True)],
)
async def disable_client(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Refuse the client and its tokens at once."""
    row = await service.disable_client(session, actor, client_id=parse_id("cli", client_id))
    return redirect(request, f"/api-clients/oauth/{client_id}", toast=f"{row.name} is refused from now on")


@post(
    "/api-clients/oauth/{client_id:str}/enable",
    name="api_clients:enable",
    status_code=200,
    guards=[requires("api_clients.write", fresh=True)],
)
async def enable_client(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Let a disabled client get tokens again."""
    row = await service.enable_client(session, actor, client_id=parse_id("cli", client_id))
    return redirect(request, f"/api-clients/oauth/{client_id}", toast=f"{row.name} can ask for tokens again")


@get("/api-clients/oauth/{client_id:str}/revoke", name="api_clients:revoke_form", guards=[requires("api_clients.write")])
async def show_revoke(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """The question before a client is revoked."""
    return render(request, REVOKE[0], await _page(session, actor, client_id), fragment=REVOKE[1])


@post(
    "/api-clients/oauth/{client_id:str}/revoke",
    name="api_clients:revoke",
    status_code=200,
    guards=[requires("api_clients.write", fresh=True)],
)
async def revoke_client(request: HttpRequest, client_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """End a client and its tokens for good."""
    answer_invalid_with(request, REVOKE[0], await _page(session, actor, client_id), fragment=REVOKE[1])
    form = await read_form(request, RevokeForm)
    row = await service.revoke_client(session, actor, client_id=parse_id("cli", client_id), name=form.name)
    return redirect(request, "/api-clients/oauth", toast=f"{row.name} no longer works")


ROUTES = [
    *(list_clients, show_new_client, add_client, show_client, show_secret, rotate_secret, show_keys, change_keys),
    *(disable_client, enable_client, show_revoke, revoke_client),
]
