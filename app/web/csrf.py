"""Proof that a form was sent by our own page.

The token is an HMAC over a seed that lives in the login session (or, before sign-in, in a cookie of its own), so a token that was
made for another session is worth nothing. The seed survives the rotation of the session id at step-up: a form that was open in
another tab keeps working. A browser that says a request came from another site is refused before the token is looked at.
"""

import hmac
import secrets
from hashlib import sha256

from app.core.errors import Forbidden
from app.web.context import CSRF_FIELD, CSRF_HEADER, HttpRequest

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LABEL = b"countinghouse csrf v1"


class CrossSiteRequest(Forbidden):
    """The request did not come from one of our pages, or the page was open for too long."""

    code = "cross_site_request"
    title = "This form is no longer valid"


def new_seed() -> bytes:
    """A new seed to bind tokens to."""
    return secrets.token_bytes(32)


def token_for(seed: bytes) -> str:
    """The token that forms carry for this seed."""
    return hmac.new(seed, _LABEL, sha256).hexdigest()


async def check(request: HttpRequest, seed: bytes) -> None:
    """Refuse an unsafe request that does not prove it comes from our own page."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise CrossSiteRequest("The request came from another site, so nothing was done.")
    sent = request.headers.get(CSRF_HEADER) or await _field(request)
    if not hmac.compare_digest(sent.encode(), token_for(seed).encode()):
        raise CrossSiteRequest("The form was open for too long or belongs to another session. Load the page again and repeat.")


async def _field(request: HttpRequest) -> str:
    content_type = request.headers.get("content-type", "")
    if not content_type.startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
        return ""
    value = (await request.form()).get(CSRF_FIELD, "")
    return value if isinstance(value, str) else ""
