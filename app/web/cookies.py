"""The four cookies: the login session's id, before sign-in a seed that form tokens are bound to, a sign that somebody has signed in here,
and what binds a sign-in at a provider to the browser that began it.

Over https all carry the ``__Host-`` prefix: Secure, this host only, the whole path. A browser refuses that prefix over plain http,
so an installation whose public address is http (the demo and development, on loopback) uses plain names; production refuses http.
"""

import base64
import binascii

from app.core.settings import settings
from app.web.context import HttpRequest
from app.web.headers import Header

_SEED_BYTES = 32


def secure() -> bool:
    """Whether people reach this installation over https."""
    return settings().public_url.startswith("https://")


def session_name() -> str:
    """The name of the session cookie."""
    return "__Host-countinghouse" if secure() else "countinghouse"


def seed_name() -> str:
    """The name of the cookie that holds the form token's seed before sign-in."""
    return "__Host-countinghouse-form" if secure() else "countinghouse-form"


def device_name() -> str:
    """The name of the cookie by which a browser is known in which somebody has signed in before."""
    return "__Host-countinghouse-device" if secure() else "countinghouse-device"


def provider_name() -> str:
    """The name of the cookie that binds a sign-in at a provider to this browser."""
    return "__Host-countinghouse-provider" if secure() else "countinghouse-provider"


def _cookie(name: str, value: str, *, seconds: int | None = None) -> str:
    flags = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure() else "") + ("" if seconds is None else f"; Max-Age={seconds}")
    return f"{name}={value}{flags}"


def give_session(request: HttpRequest, token: str) -> None:
    """Let the answer hand the browser a new session id; the seed from before sign-in is taken back."""
    request.state.set_cookies = [_cookie(session_name(), token), _cookie(seed_name(), "", seconds=0)]
    request.state.fresh_seed = None


def give_device(request: HttpRequest, token: str) -> None:
    """Let the browser be known by this token at later sign-ins, for a year."""
    request.state.set_cookies = [*request.state.set_cookies, _cookie(device_name(), token, seconds=365 * 86_400)]


def give_provider(request: HttpRequest, token: str) -> None:
    """Let the browser keep what its sign-in at a provider is bound to, for as long as that may take."""
    request.state.set_cookies = [*request.state.set_cookies, _cookie(provider_name(), token, seconds=1_800)]


def drop_session(request: HttpRequest) -> None:
    """Let the answer take the session cookie away."""
    request.state.set_cookies = [_cookie(session_name(), "", seconds=0)]


def read_seed(value: str) -> bytes | None:
    """The seed in a cookie, or nothing when it is not one of ours."""
    try:
        seed = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return None
    return seed if len(seed) == _SEED_BYTES else None


def keep_seed(request: HttpRequest, headers: list[Header]) -> None:
    """When a page with forms goes to somebody who is not signed in, let the browser keep the seed of its form tokens."""
    seed = request.state.fresh_seed
    if seed is not None and any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers):
        text = base64.urlsafe_b64encode(seed).decode().rstrip("=")
        headers.append((b"set-cookie", _cookie(seed_name(), text).encode()))
