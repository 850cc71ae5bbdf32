"""What every page knows before its own data: who asks, for which merchant, and with which tokens."""

import msgspec
from litestar import Request
from litestar.datastructures import State

from app.core.actors import Actor

HttpRequest = Request[object, object, State]

CSRF_FIELD = "csrf_token"
CSRF_HEADER = "x-csrf-token"


class PersonBadge(msgspec.Struct, frozen=True, kw_only=True):
    """The signed-in person as the user menu shows them."""

    name: str
    email: str
    initials: str


class MerchantBadge(msgspec.Struct, frozen=True, kw_only=True):
    """A merchant the person may enter; `counterpart` is the public id of its sandbox or live twin."""

    id: str
    name: str
    initials: str
    is_sandbox: bool
    counterpart: str | None
    role: str


class WebContext(msgspec.Struct, kw_only=True):
    """One request as the layout sees it; the request middleware puts it on `request.state.web`."""

    request_id: str
    nonce: str
    csrf_token: str
    path: str
    fragment: bool = False
    theme: str = "auto"
    density: str = "compact"
    actor: Actor | None = None
    person: PersonBadge | None = None
    merchant: MerchantBadge | None = None
    merchants: list[MerchantBadge] = msgspec.field(default_factory=list)
    is_operator: bool = False

    def can(self, permission: str) -> bool:
        """Whether the person asking may do this."""
        return self.actor is not None and self.actor.can(permission)


def web_context(request: HttpRequest) -> WebContext:
    """The context the request middleware prepared."""
    context: WebContext = request.state.web
    return context


def wants_fragment(request: HttpRequest) -> bool:
    """Whether htmx asked for a part of the page only.

    litestar-htmx still reads the headers of htmx 2, so they are read here.
    """
    return request.headers.get("hx-request") == "true" and request.headers.get("hx-request-type") == "partial"


_FOR_PROGRAMS = ("/v1/", "/webhooks/", "/oauth/", "/.well-known/")


def wants_json(request: HttpRequest) -> bool:
    """Whether the caller is a program: the API, a webhook sender, or anybody who accepts JSON and not HTML."""
    accept = request.headers.get("accept", "")
    return request.scope["path"].startswith(_FOR_PROGRAMS) or ("json" in accept and "html" not in accept)
