"""What the pages of sign-in share: who is there, from where, and where they go next."""

import segno

from app.identity import service
from app.identity.domain import totp_address
from app.identity.providers.pages import place_of
from app.web import cookies
from app.web.context import HttpRequest
from app.web.requests import safe_path
from app.web.sessions import Visitor

__all__ = ["exact", "in_groups", "place_of", "posted_next", "qr_code", "visitor_of", "welcome"]


def visitor_of(request: HttpRequest) -> Visitor:
    """Who is signed in, perhaps with the first factor only."""
    visitor: Visitor = request.state.visitor
    return visitor


def welcome(request: HttpRequest, email: str, token: str) -> None:
    """The sign-in is complete: hand over the session's new id, and let this browser be known next time."""
    cookies.give_session(request, token)
    cookies.give_device(request, service.device_token(email))


async def posted_next(request: HttpRequest) -> str:
    """Where the form says to go next; a path of our own."""
    value = (await request.form()).get("next")
    return safe_path(value if isinstance(value, str) else None)


async def exact(request: HttpRequest, name: str) -> str:
    """A field as it was sent: of a password the spaces around it count, and a key's answer is not text."""
    value = (await request.form()).get(name)
    return value if isinstance(value, str) else ""


def qr_code(secret: str, email: str) -> str:
    """The QR code that an authenticator app scans, as SVG."""
    made = segno.make(totp_address(secret, email=email), error="m")
    return str(
        made.svg_inline(scale=1, border=2, dark="#14171f", light="#ffffff", omitsize=True, title="QR code for your authenticator app")
    )


def in_groups(secret: str) -> str:
    """A secret as it is typed: four characters at a time."""
    return " ".join(secret[i : i + 4] for i in range(0, len(secret), 4))
