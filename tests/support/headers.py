"""What every answer must tell a browser, whatever became of the request; asked of every answer that any test gets over HTTP."""

import re
from collections.abc import Mapping

_EXACT = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_POLICY = ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'")
_PAGE_POLICY = ("require-trusted-types-for 'script'", "object-src 'none'", "script-src 'self' 'nonce-", "report-to csp")


def wrong_with(headers: Mapping[str, str], *, path: str) -> list[str]:
    """What is missing or too generous in the headers of an answer; cookies are looked at too."""
    found = [f"{name}: {headers.get(name)}" for name, value in _EXACT.items() if headers.get(name) != value]
    age = re.search(r"max-age=(\d+)", headers.get("strict-transport-security", ""))
    if age is None or int(age[1]) < 31_536_000 or "includeSubDomains" not in headers["strict-transport-security"]:
        found.append("strict-transport-security")
    policy = headers.get("content-security-policy", "")
    expected = _POLICY + (_PAGE_POLICY if headers.get("content-type", "").startswith("text/html") else ())
    found += [f"no {part} in the policy" for part in expected if part not in policy]
    if "unsafe" in policy:
        found.append("an unsafe policy")
    if "geolocation=()" not in headers.get("permissions-policy", "") or not headers.get("x-request-id"):
        found.append("permissions-policy or x-request-id")
    if not path.startswith("/static/") and headers.get("cache-control") != "no-store":
        found.append(f"cache-control: {headers.get('cache-control')}")
    found += [f"{name} is told" for name in ("server", "x-powered-by") if name in headers]
    return found + wrong_cookies(headers.get("set-cookie", ""))


def wrong_cookies(text: str) -> list[str]:
    """Cookies that scripts or other sites could use."""
    cookies = re.split(r", (?=[\w-]+=)", text) if text else []
    needed = ("HttpOnly", "SameSite=Lax", "Path=/")
    return [f"{one.partition('=')[0]} is not {part}" for one in cookies for part in needed if part.lower() not in one.lower()]
