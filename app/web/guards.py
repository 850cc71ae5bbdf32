"""Who may call a route. Every route declares exactly one of these in ``guards=[…]``; an undeclared route stops the server at start.

``requires("payments.refund")``              a signed-in person or an API key with that permission
``requires("payments.refund", fresh=True)``  people must also have shown their second factor lately, as the permission says
``may_export()``                             who may take files away; each taking is an entry of the audit trail
``signed_in()``                              any person with both factors, whatever the role; with ``own``, not by a merchant's provider's word
``password_proven()``                        the pages between the password and the second factor
``operator()``                               people who run the platform; with ``visiting``, while a visit with its reason is open
``public()``                                 everybody; ``public(machine=True)`` for callers that are not browsers (no form token)
"""

from typing import Any, cast

import msgspec
from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from app.core.actors import Actor, ActorKind
from app.core.audit import record
from app.core.db import unit_of_work
from app.core.errors import AppError, Forbidden, NotFound
from app.web import csrf, step_up
from app.web.context import HttpRequest
from app.web.sessions import MERCHANTS_PROVIDER, Visitor


class NotSignedIn(AppError):
    """Nobody is signed in, or the session has ended; sign in and repeat."""

    status = 401
    code = "not_signed_in"
    title = "Please sign in"


class NoSuchPlace(NotFound):
    """There is nothing at this address."""

    code = "no_such_place"
    title = "There is nothing at this address"


class NoMerchant(Forbidden):
    """You are signed in, but there is no merchant that lets you in this way: be invited, or use the team's single sign-on."""

    code = "no_merchant"
    title = "No merchant lets you in this way"


class VisitNeeded(Forbidden):
    """Looking across merchants needs a visit with a reason; open one first."""

    code = "operator_visit_needed"
    title = "Open a visit first"


class Guard:
    """A declaration on a route, and its enforcement: identity first, then the form token, then permission, then freshness."""

    def __init__(
        self,
        audience: str,
        *,
        permission: str | None = None,
        fresh: bool = False,
        noted: bool = False,
        machine: bool = False,
        visiting: bool = False,
        own: bool = False,
    ) -> None:
        self.audience, self.permission, self.fresh, self.noted = audience, permission, fresh, noted
        self.machine, self.visiting, self.own = machine, visiting, own

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        request = cast(HttpRequest, connection)
        if self.audience == "public":
            await self._check_form(request)
            return
        actor, visitor = request.state.actor, request.state.visitor
        if self.audience == "password_proven":
            if visitor is None:
                raise NotSignedIn("Your session has ended. Sign in again; nothing was lost that was saved.")
        elif actor is None or (self.audience in {"signed_in", "operator"} and visitor is None):
            raise NotSignedIn(request.state.refusal or "Your session has ended. Sign in again; nothing was lost that was saved.")
        await self._check_form(request)
        if self.audience == "operator":
            actor = self._admit_operator(request, visitor)
        if self.permission is not None:
            _require(actor, visitor, self.permission)
        if visitor is not None and (self.fresh or (self.own and visitor.factor == MERCHANTS_PROVIDER)):
            await step_up.demand(request, actor, visitor, permission=self.permission, own=self.audience == "signed_in")
            if self.audience == "operator":
                # a step-up makes the person anew
                self._admit_operator(request, request.state.visitor)
        action = "export.taken" if self.noted else request.app.state.sensitive.get(handler.name)
        if action is not None:
            await _note_reading(request, request.state.actor, action)

    def _admit_operator(self, request: HttpRequest, visitor: Visitor) -> Actor:
        operating = visitor.operating
        if operating is None:
            # whoever does not run the platform learns nothing of this place
            raise NoSuchPlace()
        if self.visiting and operating.visit is None:
            raise VisitNeeded("Say on the console’s first page what you need to look at, and why.")
        person: Actor = request.state.actor
        # of no merchant, and without anything that a membership of theirs would allow
        actor = msgspec.structs.replace(person, kind=ActorKind.OPERATOR, merchant_id=None, permissions=frozenset(), limits={})
        request.state.actor = request.state.web.actor = actor
        return actor

    async def _check_form(self, request: HttpRequest) -> None:
        actor = request.state.actor
        by_key = actor is not None and actor.kind.is_program
        if request.method not in csrf.SAFE_METHODS and not self.machine and not by_key:
            await csrf.check(request, request.state.csrf_seed)


def _require(actor: Actor, visitor: Visitor | None, permission: str) -> None:
    if visitor is not None and visitor.merchant_id is None:
        raise NoMerchant("Ask an owner to invite you. If your team signs in through a provider of its own, choose Single sign-on.")
    actor.require(permission)


def requires(permission: str, *, fresh: bool = False) -> Guard:
    """Only those whose role or API key has the permission; with ``fresh``, people must have just shown their second factor."""
    return Guard("permission", permission=permission, fresh=fresh)


def may_export() -> Guard:
    """Those who may take files away, with a fresh second factor; that they did is in the audit trail before the first byte leaves."""
    return Guard("permission", permission="reports.export", fresh=True, noted=True)


def signed_in(*, fresh: bool = False, own: bool = False) -> Guard:
    """Any person who has shown both factors; with ``own``, a factor of their own: the account is good at other merchants, too."""
    return Guard("signed_in", fresh=fresh, own=own)


def operator(*, visiting: bool = False, fresh: bool = False) -> Guard:
    """People who run the platform; for everybody else the place does not exist. With ``visiting`` only while their visit is open."""
    return Guard("operator", visiting=visiting, fresh=fresh)


def password_proven() -> Guard:
    """Somebody whose password was right; the second factor may still be missing."""
    return Guard("password_proven")


def public(*, machine: bool = False) -> Guard:
    """Everybody. Machines (webhooks, health checks) carry no form token and must prove themselves another way."""
    return Guard("public", machine=machine)


async def _note_reading(request: HttpRequest, actor: Actor, action: str) -> None:
    asked = {name: str(value)[:200] for name, value in request.query_params.items()}
    async with unit_of_work(actor.merchant) as session:
        seen = {"file" if action == "export.taken" else "page": request.url.path} | asked
        await record(session, actor, action=action, object_type="merchant", object_id=actor.merchant, after=seen)


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
