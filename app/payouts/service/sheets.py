"""What a transaction writes down about many payouts: collected while it decides, and written with one statement for each table.

Outside of ``together`` everything is written at once, so that a rule about one payout and a rule about thousands are the same lines.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import TypeVar, cast
from uuid import UUID

import msgspec
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, outbox
from app.core.events import Event
from app.core.ids import MerchantId
from app.ledger import service as ledger
from app.ledger.domain import Posting
from app.payouts.models import PayoutHistory

_KEY = "payouts.sheet"
T = TypeVar("T")


class Sheet(msgspec.Struct, kw_only=True):
    """What is to be written for one merchant, in the order in which it was decided."""

    merchant_id: MerchantId
    steps: list[dict[str, object]] = msgspec.field(default_factory=list)
    events: list[tuple[Event, UUID]] = msgspec.field(default_factory=list)
    entries: list[audit.Entry] = msgspec.field(default_factory=list)
    postings: list[Posting] = msgspec.field(default_factory=list)
    known: dict[Hashable, object] = msgspec.field(default_factory=dict)

    async def write(self, session: AsyncSession) -> None:
        """Write everything down: first the payouts themselves, which the rest points to."""
        await session.flush()
        if self.steps:
            await session.execute(insert(PayoutHistory), self.steps)
        await outbox.publish_all(session, merchant_id=self.merchant_id, events=self.events)
        await audit.record_all(session, self.entries)
        await ledger.post(session, merchant_id=self.merchant_id, postings=self.postings)


@asynccontextmanager
async def together(session: AsyncSession, merchant_id: MerchantId) -> AsyncIterator[None]:
    """Within the block nothing is written; at its end everything is. A block inside of another belongs to the outer one."""
    if _KEY in session.info:
        yield
        return
    sheet = session.info[_KEY] = Sheet(merchant_id=merchant_id)
    try:
        yield
    finally:
        del session.info[_KEY]
    await sheet.write(session)


@asynccontextmanager
async def sheet(session: AsyncSession, merchant_id: MerchantId) -> AsyncIterator[Sheet]:
    """The sheet to write on: the one that is open, or one for this moment."""
    async with together(session, merchant_id):
        yield session.info[_KEY]


async def known(session: AsyncSession, key: Hashable, load: Callable[[], Awaitable[T]]) -> T:
    """Something that many payouts need and that is the same for all of them: read once for each block."""
    open_one: Sheet | None = session.info.get(_KEY)
    if open_one is None:
        return await load()
    if key not in open_one.known:
        open_one.known[key] = await load()
    return cast(T, open_one.known[key])


async def audited(session: AsyncSession, entry: audit.Entry) -> None:
    """Record a change in the audit trail."""
    async with sheet(session, entry.actor.merchant) as open_one:
        open_one.entries.append(entry)
