"""The authorization server over HTTP: tokens, revocation, introspection, and what client libraries read first."""

from urllib.parse import parse_qsl

import msgspec
from litestar import Response, get, post

from app.api_access import flows, oauth
from app.api_access.domain import SCOPES
from app.web.context import HttpRequest
from app.web.guards import public

_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 20


@post("/oauth/token", name="oauth:token", status_code=200, guards=[public(machine=True)])
async def give_token(request: HttpRequest) -> Response[bytes]:
    """An access token for a client that proves who it is (RFC 6749 4.4)."""
    return await _served(request, "token")


@post("/oauth/revoke", name="oauth:revoke", status_code=200, guards=[public(machine=True)])
async def revoke_token(request: HttpRequest) -> Response[bytes]:
    """End one of the client's tokens; one that is not there is as good as ended (RFC 7009)."""
    return await _served(request, "revocation")


@post("/oauth/introspect", name="oauth:introspect", status_code=200, guards=[public(machine=True)])
async def introspect_token(request: HttpRequest) -> Response[bytes]:
    """Whether one of the client's tokens works, and for what (RFC 7662)."""
    return await _served(request, "introspection")


@get("/.well-known/oauth-authorization-server", name="oauth:metadata", guards=[public()])
async def show_metadata() -> dict[str, object]:
    """Where the endpoints are and what they accept (RFC 8414)."""
    return oauth.metadata(list(SCOPES))


async def _served(request: HttpRequest, endpoint: str) -> Response[bytes]:
    form = await _form(request)
    if isinstance(form, str):
        answer = oauth.malformed(form)
    else:
        call = oauth.OAuthCall(endpoint=endpoint, form=form, authorization=request.headers.get("authorization", ""))
        answer = await flows.serve(call, address=request.state.address, request_id=request.state.request_id)
    headers = {name: value for name, value in answer.headers if name.lower() != "content-type"}
    return Response(msgspec.json.encode(answer.body), status_code=answer.status, headers=headers, media_type="application/json")


async def _form(request: HttpRequest) -> dict[str, str] | str:
    """The form's fields, each of which may come once, empty ones left out (RFC 6749 3.2); or what is wrong with the form."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return f"Send a form: Content-Type: {_FORM}."
    try:
        pairs = parse_qsl((await request.body()).decode(), errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        return "The form cannot be read as UTF-8, or has too many fields."
    form = dict(pairs)
    return form if len(form) == len(pairs) else "Each field may come once only."


ROUTES = [give_token, revoke_token, introspect_token, show_metadata]
