"""Where browsers report what a page's content policy stopped: a line in the log and a number, and nothing in the database.

Anybody can send a report, and what it says may be made up. So it is small, limited per address, and of the addresses in it only the path of
a page and the origin of what was stopped are kept: a query may hold a key, and a sample of a script whatever stood in it.
"""

import re
from urllib.parse import urlsplit

import msgspec
import structlog
from litestar import Response, post
from litestar.exceptions import HTTPException

from app.core.errors import Invalid
from app.web import headers, metrics
from app.web.context import HttpRequest
from app.web.guards import public

log = structlog.get_logger()

MAX_REPORT = 32_000
"""Largest body in bytes; browsers gather a minute's reports in one."""
MOST = 20
"""So many reports of one body are looked at."""
_LONGEST = 200
_OTHER = "other"
_KEYWORD = re.compile(r"[a-z-]{1,40}")
_OLD, _NEW = "application/csp-report", "application/reports+json"
_DIRECTIVES = frozenset(
    ["base-uri", "form-action", "frame-ancestors", "require-trusted-types-for", "sandbox", "trusted-types"]
    + ["script-src", "script-src-attr", "script-src-elem", "style-src", "style-src-attr", "style-src-elem"]
    + [f"{kind}-src" for kind in ("child", "connect", "default", "font", "frame", "img", "manifest", "media", "object", "worker")]
)


class _Violation(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """What the older way (``report-uri``) says."""

    document_uri: str | None = None
    effective_directive: str | None = None
    violated_directive: str | None = None
    blocked_uri: str | None = None
    source_file: str | None = None
    line_number: int | None = None
    disposition: str | None = None


class _Enveloped(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    csp_report: _Violation


_NEW_NAMES = {
    "documentURL": "document-uri",
    "effectiveDirective": "effective-directive",
    "blockedURL": "blocked-uri",
    "sourceFile": "source-file",
    "lineNumber": "line-number",
}
"""What the newer way (``report-to``) calls the same."""


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    body: msgspec.Raw


@post(headers.REPORTS, name="violations:report", status_code=204, guards=[public(machine=True)], request_max_body_size=MAX_REPORT)
async def take_reports(request: HttpRequest) -> Response[None]:
    """Write down what browsers were kept from doing."""
    for each in _read(request.content_type[0], await request.body())[:MOST]:
        facts = _facts(each)
        metrics.VIOLATIONS.labels(facts["directive"]).inc()
        log.warning("csp_violation", **facts, line=each.line_number, address=request.state.address)
    return Response(None, status_code=204)


def _read(kind: str, body: bytes) -> list[_Violation]:
    try:
        if kind == _OLD:
            return [msgspec.json.decode(body, type=_Enveloped).csp_report]
        if kind == _NEW:
            reports = msgspec.json.decode(body, type=list[_Report])
            return [_from_newer(msgspec.json.decode(each.body, type=dict[str, object])) for each in reports if each.type == "csp-violation"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Invalid("This is no report of a content security policy.") from None
    raise HTTPException(status_code=415)


def _from_newer(body: dict[str, object]) -> _Violation:
    return msgspec.convert({_NEW_NAMES.get(name, name): said for name, said in body.items()}, _Violation)


def _facts(violation: _Violation) -> dict[str, str]:
    named = (violation.effective_directive or violation.violated_directive or "").partition(" ")[0]
    return {
        "directive": named if named in _DIRECTIVES else _OTHER,
        "page": _path(violation.document_uri),
        "blocked": _origin(violation.blocked_uri),
        "source": _path(violation.source_file),
        "disposition": "report" if violation.disposition == "report" else "enforce",
    }


def _path(address: str | None) -> str:
    try:
        return urlsplit(address or "").path[:_LONGEST]
    except ValueError:
        return _OTHER


def _origin(address: str | None) -> str:
    """The origin of what was stopped, or the word for what has none (inline, eval, data)."""
    if _KEYWORD.fullmatch(address or ""):
        return address or ""
    try:
        parts = urlsplit(address or "")
    except ValueError:
        return _OTHER
    return (
        f"{parts.scheme}://{parts.hostname}"[:_LONGEST] if parts.hostname else parts.scheme if _KEYWORD.fullmatch(parts.scheme) else _OTHER
    )


ROUTES = [take_reports]
