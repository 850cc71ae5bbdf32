"""Who may call a route. Every route declares exactly one of these in ``guards=[…]``; an undeclared route stops the server at start.

``requires("payments.refund")``              a signed-in person or an API key with that permission
``requires("payments.refund", fresh=True)``  people must also have shown their second factor a few minutes ago
``signed_in()``                              any person with both factors, whatever the role
``password_proven()``                        the pages between the password and the second factor
``public()``                                 everybody; ``public(machine=True)`` for callers that are not browsers (no form token)
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import msgspec
from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from app.core.actors import Actor, ActorKind
from app.core.clock import now
from app.core.errors import AppError, Forbidden, Invalid
from app.core.settings import settings
from app.web import csrf
from app.web.context import CSRF_FIELD, HttpRequest
from app.web.sessions import Visitor

STEP_UP_FIELD = "step_up_code"


class NotSignedIn(AppError):
    """Nobody is signed in, or the session has ended; sign in and repeat."""

    status = 401
    code = "not_signed_in"
    title = "Please sign in"


class KeptField(msgspec.Struct, frozen=True):
    """One field of the form that the step-up interrupted."""

    name: str
    value: str


class StepUpRequired(Forbidden):
    """This needs a second factor shown in the last minutes; answer with the dialog, which sends the same form again with a code."""

    code = "step_up_required"
    title = "Confirm it is you"

    def __init__(self, *, path: str, kept: list[KeptField], problem: str | None, has_form: bool) -> None:
        super().__init__(problem or "Enter a code from your authenticator app to go on.")
        self.path, self.kept, self.problem, self.has_form = path, kept, problem, has_form


StepUp = Callable[[HttpRequest, Visitor, str], Awaitable[Visitor]]
"""Check a code and renew the session; answered by a higher floor. Raises Invalid when the code is not right."""


class Guard:
    """A declaration on a route, and its enforcement: identity first, then the form token, then permission, then freshness."""

    def __init__(self, audience: str, *, permission: str | None = None, fresh: bool = False, machine: bool = False) -> None:
        self.audience, self.permission, self.fresh, self.machine = audience, permission, fresh, machine

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        request = cast(HttpRequest, connection)
        if self.audience == "public":
            await self._check_form(request)
            return
        actor, visitor = request.state.actor, request.state.visitor
        if self.audience == "password_proven":
            if visitor is None:
                raise NotSignedIn("Your session has ended. Sign in again; nothing was lost that was saved.")
        elif actor is None or (self.audience == "signed_in" and visitor is None):
            raise NotSignedIn(request.state.refusal or "Your session has ended. Sign in again; nothing was lost that was saved.")
        await self._check_form(request)
        if self.permission is not None:
            actor.require(self.permission)
        if self.fresh and actor.kind is ActorKind.USER:
            await _demand_fresh_factor(request, actor, visitor)

    async def _check_form(self, request: HttpRequest) -> None:
        actor = request.state.actor
        by_key = actor is not None and actor.kind.is_program
        if request.method not in csrf.SAFE_METHODS and not self.machine and not by_key:
            await csrf.check(request, request.state.csrf_seed)


def requires(permission: str, *, fresh: bool = False) -> Guard:
    """Only those whose role or API key has the permission; with ``fresh``, people must have just shown their second factor."""
    return Guard("permission", permission=permission, fresh=fresh)


def signed_in(*, fresh: bool = False) -> Guard:
    """Any person who has shown both factors."""
    return Guard("signed_in", fresh=fresh)


def password_proven() -> Guard:
    """Somebody whose password was right; the second factor may still be missing."""
    return Guard("password_proven")


def public(*, machine: bool = False) -> Guard:
    """Everybody. Machines (webhooks, health checks) carry no form token and must prove themselves another way."""
    return Guard("public", machine=machine)


async def _demand_fresh_factor(request: HttpRequest, actor: Actor, visitor: Visitor) -> None:
    if actor.factor_at is not None and now() - actor.factor_at <= timedelta(minutes=settings().step_up_minutes):
        return
    has_form = request.method not in csrf.SAFE_METHODS
    fields = [(name, value) for name, value in (await request.form()).multi_items() if isinstance(value, str)] if has_form else []
    code = next((value for name, value in fields if name == STEP_UP_FIELD), "")
    problem = None
    if code:
        try:
            await request.app.state.step_up(request, visitor, code)
        except Invalid as refused:
            problem = refused.detail
        else:
            return
    kept = [KeptField(name, value) for name, value in fields if name not in {STEP_UP_FIELD, CSRF_FIELD}]
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if any("secret" in field.name for field in kept):
        # a credential must not travel through the dialog's page: the form is opened again and filled in anew
        raise StepUpRequired(path=path, kept=[], problem=problem, has_form=False)
    raise StepUpRequired(path=path, kept=kept, problem=problem, has_form=has_form)


def declaration_of(handler: HTTPRouteHandler) -> Guard | None:
    """The one declaration of a route, or nothing when it has none."""
    found = [guard for guard in handler.resolve_guards() if isinstance(guard, Guard)]
    return found[0] if len(found) == 1 else None


def declared_routes(app: Litestar) -> list[tuple[str, str, HTTPRouteHandler]]:
    """Every route of the application as (method, path, handler), without the OPTIONS answers that the framework adds."""
    rows = []
    for route in app.routes:
        for handler in getattr(route, "route_handlers", []):
            if isinstance(handler, HTTPRouteHandler):
                rows += [(str(method), route.path, handler) for method in sorted(handler.http_methods) if method != "OPTIONS"]
    return rows


def refuse_undeclared(app: Litestar) -> None:
    """Stop the server when a route does not say who may call it."""
    missing = [f"{method} {path}" for method, path, handler in declared_routes(app) if declaration_of(handler) is None]
    if missing:
        raise RuntimeError("These routes declare no permission; add one of app.web.guards to guards=[…]: " + ", ".join(missing))
