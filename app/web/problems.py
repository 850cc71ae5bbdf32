"""The one place where a failure becomes an answer: a page, an htmx fragment or ``application/problem+json``.

The caller learns what is wrong and what to do; what failed inside goes to the log under the same request id.
"""

import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote, urlsplit

import msgspec
import structlog
from litestar import Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ExceptionHandlersMap, Method
from psycopg import DataError as DriverRefusal
from psycopg import OperationalError as DriverFailure
from psycopg_pool import PoolTimeout
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from app.core.actors import PermissionMissing
from app.core.errors import AppError, Invalid, Unavailable
from app.web import rendering
from app.web.context import HttpRequest, wants_fragment, wants_json
from app.web.guards import NoMerchant, NotSignedIn
from app.web.step_up import FactorTooOld, KeptField, StepUpRequired

log = structlog.get_logger()

PROBLEM_JSON = "application/problem+json"
# PostgreSQL keeps every character but one; the driver says so of text columns, the server of JSON ones.
_UNKEEPABLE = re.compile(r"NUL \(0x00\)|\\u0000 cannot be converted")
_METHODS: tuple[Method, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE")

_HTTP: dict[int, tuple[str, str, str]] = {
    400: (
        "bad_request",
        "The request cannot be read",
        "Check that the body is complete and of the type that the Content-Type header names.",
    ),
    401: ("not_signed_in", "Please sign in", "Sign in and repeat."),
    403: ("forbidden", "You are not allowed to do this", "Ask an owner of this merchant."),
    404: ("not_found", "There is nothing here", "The address is wrong, or the object is not yours."),
    405: ("method_not_allowed", "This address does not answer that method", "See the Allow header for the methods it answers."),
    413: ("body_too_large", "The request is too large", "Send less than one megabyte."),
    415: ("unsupported_media_type", "The body is of the wrong type", "Send JSON to the API and form fields to pages."),
    431: ("headers_too_large", "The request's headers are too large", "Send fewer or shorter headers."),
}


class DatabaseUnavailable(Unavailable):
    """The database does not answer, perhaps not even about what it has done; the same request under the same key finds out."""

    code = "database_unavailable"
    title = "The database does not answer"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A failure as the caller sees it (RFC 9457)."""

    status: int
    code: str
    title: str
    detail: str
    request_id: str
    fields: dict[str, str] = {}
    extra: dict[str, object] = {}

    def body(self) -> bytes:
        """The problem as JSON."""
        document: dict[str, object] = {"type": f"urn:countinghouse:problem:{self.code}", "title": self.title, "status": self.status}
        document |= {"detail": self.detail, "code": self.code, "request_id": self.request_id}
        if self.fields:
            document["fields"] = self.fields
        return msgspec.json.encode({**self.extra, **document}, enc_hook=str)


class ProblemPage(msgspec.Struct, frozen=True, kw_only=True):
    """What the error page shows."""

    problem: Problem


class StepUpPage(msgspec.Struct, frozen=True, kw_only=True):
    """The question for a code, with the form it interrupted."""

    action: str
    kept: list[KeptField]
    problem: str | None


def describe(request: HttpRequest, error: Exception) -> Problem:
    """What the caller is told about a failure."""
    request_id = request.state.request_id
    if isinstance(error, OperationalError | DriverFailure | NoConnection | PoolTimeout):
        # it may have gone away while it committed, or after a provider did what it was asked: only a repetition can tell
        error = DatabaseUnavailable(
            "What you asked for may have been done or not. Repeat it in a moment, with the same Idempotency-Key if it had one, or look first."
        )
    if isinstance(error, DataError | DriverRefusal) and _UNKEEPABLE.search(str(error)):
        error = Invalid("A text holds the character U+0000, which cannot be kept. Leave it out.")
    if isinstance(error, AppError):
        extra = {name: value for name, value in error.extra.items() if value is not None}
        return Problem(
            status=error.status,
            code=error.code,
            title=error.title,
            detail=error.detail,
            fields=error.fields,
            extra=extra,
            request_id=request_id,
        )
    if isinstance(error, ValidationException) and _field_errors(error):
        return Problem(
            status=422,
            code="invalid",
            title="What was sent is not valid",
            detail="Correct the fields named below.",
            fields=_field_errors(error),
            request_id=request_id,
        )
    if isinstance(error, HTTPException) and error.status_code < 500:
        code, title, detail = _HTTP.get(error.status_code, _HTTP[400])
        if error.status_code == 413:
            detail = _most(request)
        return Problem(status=error.status_code, code=code, title=title, detail=detail, request_id=request_id)
    detail = f"It has been noted. If you write to us, name the request {request_id}."
    return Problem(status=500, code=AppError.code, title=AppError.title, detail=detail, request_id=request_id)


def _most(request: HttpRequest) -> str:
    """How much may be sent to this address."""
    handler = request.scope.get("route_handler")
    most = handler.resolve_request_max_body_size() if isinstance(handler, HTTPRouteHandler) else None
    return (
        "Send less."
        if most is None
        else f"Nothing was taken. Send {most >> 20} MB at most."
        if most >= 1 << 20
        else f"Send {most >> 10} kB at most."
    )


def _field_errors(error: ValidationException) -> dict[str, str]:
    extra = error.extra if isinstance(error.extra, list) else []
    return {str(entry.get("key") or "body"): str(entry.get("message", "")) for entry in extra if isinstance(entry, dict)}


async def respond(request: HttpRequest, error: Exception) -> Response[Any]:
    """The answer to a failure, in the form that the caller can use."""
    problem = describe(request, error)
    if problem.status >= 500:
        log.error("request_failed", code=problem.code, path=request.scope["path"], exc_info=error)
    elif problem.status in {403, 429} or (problem.status == 401 and wants_json(request)):
        log.warning("request_refused", code=problem.code, path=request.scope["path"], address=request.state.address)
    headers = _headers(request, error, problem)
    if wants_json(request):
        return Response(problem.body(), status_code=problem.status, headers=headers, media_type=PROBLEM_JSON)
    try:
        return await _shown(request, error, problem, headers)
    except Exception:
        log.exception("error_page_failed")
        return Response(f"{problem.title}\n\n{problem.detail}", status_code=problem.status, headers=headers, media_type=MediaType.TEXT)


async def _shown(request: HttpRequest, error: Exception, problem: Problem, headers: Mapping[str, str]) -> Response[Any]:
    if isinstance(error, NotSignedIn):
        return _to_sign_in(request, problem)
    if isinstance(error, StepUpRequired):
        return _step_up(request, error)
    if isinstance(error, NoMerchant) and request.scope["path"] == "/" and _has_only_the_console(request):
        return rendering.redirect(request, "/operator", hard=True)
    if isinstance(error, AppError):
        again = await rendering.invalid_answer(request, error)
        if again is not None:
            again.headers.update(headers)
            return again
    return rendering.render(
        request,
        "errors/problem.html",
        ProblemPage(problem=problem),
        fragment="errors/_problem.html",
        status=problem.status,
        headers=dict(headers),
    )


def _has_only_the_console(request: HttpRequest) -> bool:
    """Whoever runs the platform and works for no merchant has another start page."""
    web = request.state.web
    return bool(web.is_operator) and web.merchant is None


def _headers(request: HttpRequest, error: Exception, problem: Problem) -> dict[str, str]:
    if isinstance(error, AppError) and "retry_after" in error.extra:
        return {"Retry-After": str(error.extra["retry_after"])}
    if isinstance(error, FactorTooOld):
        return {"WWW-Authenticate": error.challenge}
    if problem.status == 401 and wants_json(request):
        return {"WWW-Authenticate": 'Bearer realm="countinghouse", error="invalid_token"'}
    if isinstance(error, PermissionMissing) and "permission" in error.extra and request.scope["path"].startswith("/v1/"):
        # what a token lacks, as RFC 6750 3.1 puts it
        return {"WWW-Authenticate": f'Bearer realm="countinghouse", error="insufficient_scope", scope="{error.extra["permission"]}"'}
    if problem.status == 405:
        return {"Allow": ", ".join(_allowed(request))}
    if problem.status == 503:
        return {"Retry-After": "5"}
    return {}


def _allowed(request: HttpRequest) -> list[str]:
    router, found = request.app.asgi_router, []
    for method in _METHODS:
        try:
            router.handle_routing(path=request.scope["path"].rstrip("/") or "/", method=method)
        except HTTPException:
            continue
        found.append(str(method))
    return found


def _to_sign_in(request: HttpRequest, problem: Problem) -> Response[Any]:
    """On to the sign-in, or to the step of it that is missing; afterwards back to where the person was."""
    here = request.scope["path"] if request.method == "GET" else "/"
    if request.method == "GET" and request.url.query:
        here += f"?{request.url.query}"
    if request.headers.get("hx-request") == "true":
        current = urlsplit(request.headers.get("hx-current-url", ""))
        here = (current.path or "/") + (f"?{current.query}" if current.query else "")
    visitor = request.state.visitor
    step = "/sign-in" if visitor is None else "/sign-in/second-factor" if visitor.enrolled else "/sign-in/enrol"
    where = f"{step}?next={quote(here, safe='/')}" if here != "/" else step
    if request.headers.get("hx-request") == "true":
        return Response(problem.detail, status_code=401, headers={"HX-Redirect": where}, media_type=MediaType.TEXT)
    return Response(b"", status_code=303, headers={"Location": where}, media_type=MediaType.TEXT)


def _step_up(request: HttpRequest, error: StepUpRequired) -> Response[Any]:
    action = error.path if error.has_form else f"/step-up?next={quote(error.path, safe='/')}"
    page = StepUpPage(action=action, kept=error.kept, problem=error.problem)
    # a form in a dialog, or one that wants a part of the page, gets its question in a dialog; anything else as a page
    headers = {"HX-Retarget": "#modal", "HX-Reswap": "innerHTML"} if wants_fragment(request) else {}
    return rendering.render(request, "identity/step_up.html", page, fragment="identity/_step_up.html", status=error.status, headers=headers)


def _pass_on(_request: HttpRequest, error: Exception) -> Response[Any]:
    """Litestar's handlers cannot await, and showing a form again must: so the frame around the application answers."""
    raise error


EXCEPTION_HANDLERS = cast(ExceptionHandlersMap, {Exception: _pass_on, HTTPException: _pass_on, 500: _pass_on})
"""For Litestar: every failure goes to the frame, which answers with `respond`."""
