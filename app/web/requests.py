"""The frame around every request: its id, the caller's true address, who asks, and what every answer carries.

It wraps the whole application, so an unknown address, a wrong method and a failure outside any handler are framed as well. Who a
cookie or an API key belongs to is answered by higher floors; app.main hands them in with ``install``.
"""

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import cast
from urllib.parse import urlsplit

import msgspec
import structlog
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from litestar.utils import normalize_path
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor, ActorKind
from app.core.db import unit_of_work
from app.core.ids import PersonId, new_id
from app.core.settings import settings
from app.web import cookies, csrf, limits, metrics, problems
from app.web.addresses import check_host, client_address, limit_key
from app.web.bodies import StrictRequest
from app.web.context import HttpRequest, WebContext
from app.web.guards import refuse_undeclared
from app.web.headers import REPORTS, new_nonce, secured
from app.web.sessions import LoadVisitor, Visitor
from app.web.step_up import StepUp

log = structlog.get_logger()

MAX_BODY = 1_000_000
"""Largest request body in bytes; a bigger one is answered 413 before it is read."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_UNTOUCHED = ("/static/", "/healthz", "/readyz")
_MACHINES = ("/webhooks/", "/oauth/", "/.well-known/", REPORTS)
# apart from pages: one that is stopped again and again must not shut its reader out
REPORTS_PER_MINUTE = limits.Limit(name="report", requests=60, chunk=10)
NOBODY = Actor(kind=ActorKind.USER, name="Somebody")


class KeyHolder(msgspec.Struct, frozen=True):
    """Who an API key speaks for; or, without an actor, why it does not."""

    actor: Actor | None
    refusal: str = ""
    requests_per_minute: int = 0


LoadKeyHolder = Callable[[str, HttpRequest], Awaitable[KeyHolder]]
"""Given the bearer token, whose key it is; answered by a higher floor in one statement."""


def install(app: Litestar, *, visitors: LoadVisitor, key_holders: LoadKeyHolder, step_up: StepUp, sensitive: Mapping[str, str]) -> None:
    """Put the frame around the application and tell it who knows people and keys, and which pages (by route) leave which audit entry."""
    refuse_undeclared(app)
    if settings().environment == "production" and not cookies.secure():
        raise RuntimeError("COUNTINGHOUSE_PUBLIC_URL must begin with https:// in production; session cookies travel over TLS only.")
    app.state.step_up, app.state.sensitive = step_up, sensitive
    app.asgi_handler = Frame(app.asgi_handler, visitors, key_holders)


def _as_routed(scope: Scope) -> Scope:
    """The request as the router will read it, so that who asks is judged by the address that answers.

    The router takes ``//v1/orders`` for ``/v1/orders``; a frame that does not would let a session in where only keys belong. And a HEAD is a
    GET whose body the server leaves away.
    """
    method = "GET" if scope.get("method") == "HEAD" else scope.get("method")
    return cast(Scope, {**scope, "method": method, "path": normalize_path(scope["path"])})


class Frame:
    """Wraps the application's ASGI entry."""

    def __init__(self, app: ASGIApp, visitors: LoadVisitor, key_holders: LoadKeyHolder) -> None:
        self.app, self.visitors, self.key_holders = app, visitors, key_holders

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Frame one request."""
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        scope = _as_routed(scope)
        request: HttpRequest = StrictRequest(scope, receive, send)
        _prepare(request)
        answer = _Answer(request, send)
        with structlog.contextvars.bound_contextvars(request_id=request.state.request_id):
            try:
                await self._identify(request)
                await self.app(scope, receive, answer.send)
            except Exception as error:
                if answer.status:
                    raise
                response = await problems.respond(request, error)
                await response.to_asgi_response(app=None, request=request)(scope, receive, answer.send)
            finally:
                _note(request, answer.status, time.perf_counter() - started)

    async def _identify(self, request: HttpRequest) -> None:
        path = request.scope["path"]
        if path.startswith(_UNTOUCHED):
            return
        check_host(request)
        if path.startswith("/v1/"):
            await self._identify_key(request)
            return
        await _count(request, _limit_of(path), limit_key(request.state.address))
        if not path.startswith(_MACHINES):
            await self._identify_visitor(request)

    async def _identify_key(self, request: HttpRequest) -> None:
        state: State = request.state
        holder = await self._key_holder(request)
        state.actor, state.refusal = holder.actor, holder.refusal
        state.web.actor = holder.actor
        if holder.actor is None:
            # only after the look: a key that works is not made to wait for what others try from the same address
            await _count(request, _stranger_limit(), limit_key(state.address))
        else:
            await _count(request, _key_limit(holder.requests_per_minute), str(holder.actor.id))

    async def _key_holder(self, request: HttpRequest) -> KeyHolder:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return KeyHolder(None, "Send an API key or an access token: Authorization: Bearer ch_…")
        return await self.key_holders(token.strip(), request)

    async def _identify_visitor(self, request: HttpRequest) -> None:
        jar = _jar(request)
        token = jar.get(cookies.session_name(), "")
        visitor = await self.visitors(token) if token else None
        if visitor is not None:
            become(request, visitor)
            return
        if token:
            # an id that nobody issued, or that has ended, is taken away and never adopted
            cookies.drop_session(request)
        known = cookies.read_seed(jar.get(cookies.seed_name(), ""))
        request.state.csrf_seed = known or csrf.new_seed()
        request.state.fresh_seed = None if known else request.state.csrf_seed
        request.state.web.csrf_token = csrf.token_for(request.state.csrf_seed)


async def _count(request: HttpRequest, limit: limits.Limit, who: str) -> None:
    """Count a request against a limit, which its answer tells of; refuse it when the limit is reached."""
    verdict = await limits.count(limit, who)
    request.state.limit_headers = verdict.headers()
    if not verdict.admitted:
        raise limits.TooManyRequests(f"Try again in {verdict.reset_seconds} seconds.", retry_after=verdict.reset_seconds)


def become(request: HttpRequest, visitor: Visitor) -> None:
    """From here on the request is this visitor's: after the cookie was read, and again after a step-up."""
    state = request.state
    state.visitor, state.csrf_seed, state.fresh_seed = visitor, visitor.csrf_seed, None
    state.actor = _actor(request, visitor) if visitor.complete else None
    web: WebContext = state.web
    web.csrf_token = csrf.token_for(visitor.csrf_seed)
    web.theme, web.density = visitor.theme, visitor.density
    if visitor.complete:
        web.actor, web.person = state.actor, visitor.person
        web.merchant, web.merchants = visitor.merchant, visitor.merchants
        web.is_operator = visitor.operating is not None


def _actor(request: HttpRequest, visitor: Visitor) -> Actor:
    return Actor(
        kind=ActorKind.USER,
        id=visitor.person_id,
        name=visitor.person.name,
        merchant_id=visitor.merchant_id,
        permissions=visitor.permissions,
        request_id=request.state.request_id,
        address=request.state.address,
        factor_at=visitor.factor_at,
        limits=visitor.limits,
    )


def _prepare(request: HttpRequest) -> None:
    sent = request.headers.get("x-request-id", "")
    request_id = sent if _REQUEST_ID.fullmatch(sent) else new_id().hex
    path = request.scope["path"]
    fragment = request.headers.get("hx-request") == "true" and request.headers.get("hx-request-type") == "partial"
    web = WebContext(request_id=request_id, nonce=new_nonce(), csrf_token="", path=path, fragment=fragment)
    state: State = request.state
    state.web, state.request_id, state.address = web, request_id, client_address(request)
    state.visitor = state.actor = state.fresh_seed = None
    state.refusal, state.csrf_seed = "", csrf.new_seed()
    state.set_cookies, state.limit_headers = [], []


class _Answer:
    """Sends the answer on with its headers, and remembers its status."""

    def __init__(self, request: HttpRequest, send: Send) -> None:
        self.request, self._send, self.status = request, send, 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            state = self.request.state
            self.status = message["status"]
            headers = secured(message["headers"], nonce=state.web.nonce, request_id=state.request_id)
            headers += state.limit_headers
            cookies.keep_seed(self.request, headers)
            headers += [(b"set-cookie", cookie.encode()) for cookie in state.set_cookies]
            message["headers"] = headers
        await self._send(message)


def _note(request: HttpRequest, status: int, seconds: float) -> None:
    handler = request.scope.get("route_handler")
    route = getattr(handler, "name", None) or "none"
    metrics.observe(request.method, route, status or 500, seconds)
    if not request.scope["path"].startswith(_UNTOUCHED):
        log.info(
            "request",
            method=request.method,
            path=request.scope["path"],
            route=route,
            status=status or 500,
            ms=round(seconds * 1000, 1),
            address=request.state.address,
        )


def _jar(request: HttpRequest) -> dict[str, str]:
    try:
        jar: SimpleCookie = SimpleCookie(request.headers.get("cookie", ""))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in jar.items()}


def _limit_of(path: str) -> limits.Limit:
    if path == REPORTS:
        return REPORTS_PER_MINUTE
    return _webhook_limit() if path.startswith("/webhooks/") else _page_limit()


def _page_limit() -> limits.Limit:
    requests = settings().requests_per_minute
    return limits.Limit(name="address", requests=requests, chunk=max(1, requests // 30))


def _stranger_limit() -> limits.Limit:
    # apart from pages: a program with an old key must not shut people in the same office out
    return msgspec.structs.replace(_page_limit(), name="stranger")


def _webhook_limit() -> limits.Limit:
    # a provider sends everything from a few addresses; what it is refused it sends again, later and out of order
    requests = settings().api_requests_per_minute
    return limits.Limit(name="webhook", requests=requests, chunk=max(1, requests // 100))


def _key_limit(requests: int) -> limits.Limit:
    requests = requests or settings().api_requests_per_minute
    return limits.Limit(name="key", requests=requests, chunk=max(1, requests // 100))


def safe_path(text: str | None) -> str:
    """Where to go next: a path of our own, or the start page when the text is anything else."""
    text = text or "/"
    plain = text.startswith("/") and not text.startswith(("//", "/\\")) and "\\" not in text and text.isprintable() and " " not in text
    parts = urlsplit(text) if plain else None
    if parts is None or parts.scheme or parts.netloc or parts.path.startswith(("/sign-in", "/sign-out", "/step-up")):
        return "/"
    return text


def provide_actor(request: HttpRequest) -> Actor:
    """Who asks; on public routes possibly nobody in particular."""
    actor: Actor | None = request.state.actor
    return actor or NOBODY


async def provide_session(actor: NamedDependency[Actor]) -> AsyncIterator[AsyncSession]:
    """The handler's transaction, committed after the handler returned and before its answer is sent."""
    person_id = PersonId(actor.id) if actor.kind is ActorKind.USER and actor.id else None
    async with unit_of_work(actor.merchant_id, person_id=person_id) as session:
        yield session


DEPENDENCIES = {"actor": Provide(provide_actor, sync_to_thread=False), "session": Provide(provide_session)}
