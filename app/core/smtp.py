"""Handing one mail to the mail server that ``MAIL_URL`` names.

``smtps://user:password@host``   TLS from the first byte
``smtp://user:password@host``    TLS by STARTTLS, demanded; only a server on this machine is spoken to without
"""

import smtplib
import ssl
from contextlib import closing
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from smtplib import SMTPException
from urllib.parse import unquote, urlsplit

import msgspec

from app.core.clock import now
from app.core.settings import settings

__all__ = ["Envelope", "SMTPException", "message", "send"]

_SECONDS = 15
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


class Envelope(msgspec.Struct, frozen=True):
    """One mail for one address. The id stays the same at every try."""

    id: str
    to: str
    subject: str
    text: str
    html: str


def message(envelope: Envelope) -> EmailMessage:
    """The mail as it travels: text, and the same as simple HTML."""
    made = EmailMessage()
    sender = settings().mail_from
    made["Message-ID"] = f"<{envelope.id}@{sender.rpartition('@')[2]}>"
    made["Date"] = format_datetime(now())
    made["From"] = Address("Countinghouse", addr_spec=sender)
    made["To"] = Address(addr_spec=envelope.to)
    made["Subject"] = " ".join(envelope.subject.split())
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(envelope.text)
    made.add_alternative(envelope.html, subtype="html")
    return made


def send(envelope: Envelope) -> None:
    """Hand the mail over; raises when the server cannot be reached or does not take it."""
    address = urlsplit(settings().mail_url)
    host = address.hostname or "localhost"
    context = ssl.create_default_context()
    if address.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, address.port or 465, timeout=_SECONDS, context=context)
    else:
        server = smtplib.SMTP(host, address.port or 587, timeout=_SECONDS)
    # not by the server's own context manager: a bad answer to our goodbye would make a mail that was taken look refused
    with closing(server):
        if address.scheme != "smtps" and host not in _HERE:
            server.starttls(context=context)
        if address.username:
            server.login(unquote(address.username), unquote(address.password or ""))
        server.send_message(message(envelope))
