"""A mail server for tests that takes what it is given, and the mails that wait in the database."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage

from app.core import mail
from app.core.db import unit_of_work
from app.core.mail import Letter


class MailServer:
    """Speaks as much SMTP as one mail needs."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.refuses = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One conversation."""
        writer.write(b"220 test\r\n")
        while line := (await reader.readline()).decode().strip():
            if line.upper() == "DATA" and not self.refuses:
                writer.write(b"354 go on\r\n")
                body = await reader.readuntil(b"\r\n.\r\n")
                self.taken.append(message_from_bytes(body[:-3].replace(b"\r\n..", b"\r\n."), policy=policy.default))  # type: ignore[arg-type]
                writer.write(b"250 taken\r\n")
            else:
                writer.write(b"451 later\r\n" if line.upper() == "DATA" else b"250 ok\r\n")
            await writer.drain()
            if line.upper() == "QUIT":
                break
        writer.close()


@asynccontextmanager
async def mail_server() -> AsyncIterator[tuple[MailServer, str]]:
    """A mail server on a free port, with its MAIL_URL."""
    server = MailServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        yield server, f"smtp://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def letters(*, to: str | None = None) -> list[Letter]:
    """What waits in the database, the newest first."""
    async with unit_of_work(None) as session:
        rows = [row for row in await mail.recent(session) if to in (None, row.recipient)]
        return [letter for row in rows if (letter := mail.letter_of(row)) is not None]


async def link_in_mail(*, to: str) -> str:
    """The path of the link in the newest mail to an address."""
    found = re.search(r"https?://[^/\s]+(/\S+)", (await letters(to=to))[0].text)
    assert found, "the mail has no link"
    return found[1]
