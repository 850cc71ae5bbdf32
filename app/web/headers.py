"""Security headers of every answer, the error pages and the static files included.

A page or fragment gets a policy with its own nonce; anything that is not HTML gets one under which nothing runs. A response that
must differ (the hosted payment page posts to a provider) sets its own ``Content-Security-Policy`` header and keeps the rest.
"""

import secrets
from collections.abc import Iterable

Header = tuple[bytes, bytes]

REPORTS = "/csp-reports"
"""Where browsers report what a page's policy stopped."""
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types htmx; "
    # the older way and the newer one; a browser that knows both takes the newer
    f"report-uri {REPORTS}; report-to csp"
)
_ENDPOINTS = f'csp="{REPORTS}"'.encode()
_DATA_POLICY = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

_FIXED: tuple[Header, ...] = (
    (b"strict-transport-security", b"max-age=63072000; includeSubDomains"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-permitted-cross-domain-policies", b"none"),
    (
        b"permissions-policy",
        (
            b"accelerometer=(), autoplay=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), "
            b"microphone=(), midi=(), payment=(), usb=(), xr-spatial-tracking=(), publickey-credentials-get=(self)"
        ),
    ),
)
# who serves, and with what, is nobody's business
_DROPPED = frozenset({b"server", b"x-powered-by"})


def new_nonce() -> str:
    """A fresh nonce for one response's content security policy."""
    return secrets.token_urlsafe(18)


def page_policy(nonce: str) -> str:
    """The content security policy of a page or fragment with this nonce."""
    return _PAGE_POLICY.format(nonce=nonce)


def secured(headers: Iterable[Header], *, nonce: str, request_id: str) -> list[Header]:
    """The headers of an answer with everything a browser must be told; what the response set itself stays."""
    kept = [(name.lower(), value) for name, value in headers]
    kept = [pair for pair in kept if pair[0] not in _DROPPED]
    present = {name for name, _ in kept}
    kept.extend(pair for pair in _FIXED if pair[0] not in present)
    if b"content-security-policy" not in present:
        if _is_html(kept):
            kept += [(b"content-security-policy", page_policy(nonce).encode()), (b"reporting-endpoints", _ENDPOINTS)]
        else:
            kept.append((b"content-security-policy", _DATA_POLICY))
    if b"cache-control" not in present:
        kept.append((b"cache-control", b"no-store"))
    kept.append((b"x-request-id", request_id.encode()))
    return kept


def _is_html(headers: Iterable[Header]) -> bool:
    return any(name == b"content-type" and value.startswith((b"text/html", b"application/xhtml")) for name, value in headers)
