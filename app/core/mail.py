"""Mail: written in the transaction that gives cause for it, sent by a worker afterwards, shown on a page where nobody's mail server is asked.

A mail may carry a link that opens something, so what it says is sealed in its own row: events, jobs, logs and the audit trail know only
its id. Once it has left, the text is forgotten. A mail whose sending was cut off is sent again under the same Message-ID, by which a
mailbox knows the second copy.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import CheckConstraint, Index, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.core import outbox, smtp
from app.core.clock import now
from app.core.db import Base, unit_of_work
from app.core.events import Event
from app.core.ids import new_id
from app.core.secrets import seal, unseal
from app.core.settings import settings

log = structlog.get_logger()

BATCH = 20
_GIVEN_UP_AFTER = timedelta(days=3)
_KEPT = timedelta(days=14)
_WHILE_SENDING = timedelta(minutes=5)
_LONGEST_PAUSE = timedelta(hours=1)


class Letter(msgspec.Struct, frozen=True):
    """What a mail says, as text and as simple HTML."""

    subject: str
    text: str
    html: str


class Mail(Base):
    __tablename__ = "mail"
    __table_args__ = (
        CheckConstraint("state in ('waiting', 'sent', 'given_up')", name="state"),
        Index("ix_mail_due", "retry_at", postgresql_where=text("state = 'waiting'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    recipient: Mapped[str]
    subject: Mapped[str]
    sealed_body: Mapped[str | None]
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    retry_at: Mapped[datetime]
    error: Mapped[str | None]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]


class MailWritten(Event, frozen=True, kw_only=True):
    """A mail is waiting to be sent; its id is the event's object."""

    topic: ClassVar[str] = "mail.written"


def possible() -> bool:
    """Whether this installation can send mail, or shows it on a page instead."""
    return bool(settings().mail_url) or shown_on_a_page()


def shown_on_a_page() -> bool:
    """Whether mails stay here to be read on a page: everywhere but in production, without a mail server."""
    return not settings().mail_url and settings().environment != "production"


def _context(mail_id: UUID) -> str:
    return f"mail.sealed_body:{mail_id}"


async def write(session: AsyncSession, *, to: str, letter: Letter) -> UUID:
    """Write a mail beside the change it tells of; it leaves when the transaction does."""
    mail_id, moment = new_id(), now()
    sealed = seal(msgspec.json.encode(letter).decode(), _context(mail_id))
    session.add(
        Mail(
            id=mail_id,
            recipient=to,
            subject=letter.subject,
            sealed_body=sealed,
            state="waiting",
            attempts=0,
            retry_at=moment,
            created_at=moment,
        )
    )
    await session.flush()
    await outbox.publish(session, merchant_id=None, event=MailWritten(), object_id=mail_id)
    return mail_id


def letter_of(mail: Mail) -> Letter | None:
    """What a mail says, as long as it is kept."""
    return None if mail.sealed_body is None else msgspec.json.decode(unseal(mail.sealed_body, _context(mail.id)), type=Letter)


async def recent(session: AsyncSession, *, most: int = 50) -> list[Mail]:
    """The mails that are still kept here, the newest first."""
    return list(await session.scalars(select(Mail).where(Mail.sealed_body.is_not(None)).order_by(Mail.id.desc()).limit(most)))


Send = Callable[[smtp.Envelope], None]


async def send_due(send: Send = smtp.send) -> int:
    """Send the mails whose time has come; gives how many left. What a server refuses is tried again, ever more rarely, for three days."""
    if not settings().mail_url:
        return 0
    sent = 0
    for mail in await _claim():
        letter = letter_of(mail)
        if letter is None:
            continue
        envelope = smtp.Envelope(id=mail.id.hex, to=mail.recipient, subject=letter.subject, text=letter.text, html=letter.html)
        try:
            await asyncio.to_thread(send, envelope)
        except (OSError, smtp.SMTPException) as failure:
            await _failed(mail, f"{type(failure).__name__}: {failure}")
        else:
            await _sent(mail.id)
            sent += 1
    return sent


async def _claim() -> list[Mail]:
    """Take mails that are due. Until the time at which a lost worker's are taken again, no other worker sees them."""
    moment = now()
    due = select(Mail.id).where(Mail.state == "waiting", Mail.retry_at <= moment).order_by(Mail.retry_at).limit(BATCH)
    async with unit_of_work(None) as session:
        mine = update(Mail).where(Mail.id.in_(due.with_for_update(skip_locked=True)))
        taken = mine.values(attempts=Mail.attempts + 1, retry_at=moment + _WHILE_SENDING).returning(Mail)
        return list(await session.scalars(taken))


async def _sent(mail_id: UUID) -> None:
    async with unit_of_work(None) as session:
        done = update(Mail).where(Mail.id == mail_id).values(state="sent", sent_at=now(), sealed_body=None, error=None)
        await session.execute(done)
    log.info("mail_sent", mail=str(mail_id))


async def _failed(mail: Mail, error: str) -> None:
    over = now() - mail.created_at > _GIVEN_UP_AFTER
    pause = min(_LONGEST_PAUSE, timedelta(seconds=15 * 2 ** min(mail.attempts, 12)))
    changes: dict[str, object] = {"error": error[:500], "retry_at": now() + pause}
    if over:
        changes |= {"state": "given_up", "sealed_body": None}
    async with unit_of_work(None) as session:
        await session.execute(update(Mail).where(Mail.id == mail.id).values(**changes))
    log.warning("mail_given_up" if over else "mail_failed", mail=str(mail.id), attempts=mail.attempts, error=error[:200])


async def forget(session: AsyncSession) -> None:
    """Remove mails that are two weeks old."""
    await session.execute(_FORGET, {"before": now() - _KEPT})


_FORGET = text("delete from mail where created_at < :before")
