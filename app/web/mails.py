"""The page of mails, where no mail server is set: what would have been sent can be read there. Never in production."""

from datetime import datetime

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import mail
from app.core.errors import NotFound
from app.core.settings import settings
from app.web.context import HttpRequest
from app.web.guards import public
from app.web.letters import links
from app.web.rendering import render


class MailsHidden(NotFound):
    """Mails are shown on a page only in the demo and in development, where no mail server is set."""

    code = "mails_hidden"
    title = "Mails are not shown here"


class MailRow(msgspec.Struct, frozen=True, kw_only=True):
    to: str
    subject: str
    text: str
    links: list[str]
    at: datetime


class MailsPage(msgspec.Struct, kw_only=True):
    """The mails this installation has written lately."""

    mails: list[MailRow]


@get("/dev/mails", name="mails:list", guards=[public()])
async def show_mails(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """What was written to whom, the newest first."""
    if not mail.shown_on_a_page():
        raise MailsHidden
    found = [(row, mail.letter_of(row)) for row in await mail.recent(session)]
    rows = [
        MailRow(to=row.recipient, subject=row.subject, text=letter.text, links=_ours(letter.text), at=row.created_at)
        for row, letter in found
        if letter is not None
    ]
    return render(request, "dev/mails.html", MailsPage(mails=rows))


def _ours(text: str) -> list[str]:
    """The paths in the text that lead here; followed on this page's own host, whatever the public address is."""
    home = settings().public_url.rstrip("/")
    return [link.removeprefix(home) for link in links(text) if link.startswith(home + "/")]


ROUTES = [show_mails]
