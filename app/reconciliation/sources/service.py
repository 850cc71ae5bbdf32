"""Writes about sources: where settlement files and bank statements come from."""

from uuid import UUID

import msgspec
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now, timezones
from app.core.ids import ConnectionId, new_id
from app.payouts import queries as payouts
from app.payouts.domain import FundingAccountId
from app.psp import queries as psp
from app.reconciliation.domain.breaks import SourceInvalid, SourceNameTaken
from app.reconciliation.domain.formats import CSV, FORMATS
from app.reconciliation.domain.formats.mapped import ColumnMapping
from app.reconciliation.domain.lines import Side
from app.reconciliation.models import Source


async def add_source(
    session: AsyncSession,
    actor: Actor,
    *,
    name: str,
    format: str,
    connection_id: ConnectionId | None = None,
    funding_id: FundingAccountId | None = None,
    mapping: ColumnMapping | None = None,
    time_zone: str = "UTC",
    file_days: int | None = None,
) -> Source:
    """Add where files come from: an account at a provider (with its connection), or at a bank (with the one payouts are made from, if it is that).

    ``time_zone`` is the one in which it counts its days; a file is missed after ``file_days`` working days without one.
    """
    known = FORMATS.get(format)
    if known is None:
        raise SourceInvalid("Choose one of the formats.", fields={"format": "Choose one of the formats."})
    side = _side(format, known.side, connection_id, mapping)
    if connection_id is not None:
        await psp.connection(session, merchant_id=actor.merchant, connection_id=connection_id)
    if time_zone not in timezones():
        raise SourceInvalid("Name a time zone.", fields={"time_zone": "For example Europe/Berlin."})
    if funding_id is not None:
        await _check_bank(session, actor, side, funding_id)
    source = Source(
        merchant_id=actor.merchant,
        id=new_id(),
        name=name,
        side=side,
        format=format,
        connection_id=connection_id,
        funding_account_id=funding_id,
        mapping=msgspec.to_builtins(mapping) if mapping else None,
        time_zone=time_zone,
        file_days=file_days,
        created_at=now(),
    )
    await _keep(session, source)
    after = {"name": name, "format": format}
    await audit.record(session, actor, action="reconciliation.source_added", object_type="recon_source", object_id=source.id, after=after)
    return source


async def _keep(session: AsyncSession, source: Source) -> None:
    try:
        async with session.begin_nested():
            session.add(source)
    except IntegrityError as error:
        raise _taken(source.name, str(error.orig)) from error


def _taken(name: str, what: str) -> SourceNameTaken:
    """What a unique index refused, by its name."""
    if "funding_account" in what:
        message = "This bank account has a source already."
        return SourceNameTaken(message, fields={"bank": message})
    if "connection" in what:
        message = "This connection has a source already."
        return SourceNameTaken(message, fields={"connection": message})
    return SourceNameTaken(f"There is a source called “{name}” already.", fields={"name": "This name is taken."})


async def _check_bank(session: AsyncSession, actor: Actor, side: Side, funding_id: FundingAccountId) -> None:
    if side is not Side.BANK:
        raise SourceInvalid("A provider’s files are about its connection.", fields={"bank": "Leave this empty for a provider."})
    await payouts.funding_account(session, merchant_id=actor.merchant, funding_id=funding_id)


def _side(name: str, side: Side, connection_id: UUID | None, mapping: ColumnMapping | None) -> Side:
    if name == CSV:
        if mapping is None:
            raise SourceInvalid("A CSV source needs a mapping.", fields={"mapping": "Say which column holds what."})
        mapping.check()
        side = mapping.side
    if side is Side.PSP and connection_id is None:
        raise SourceInvalid("Choose the connection these files are about.", fields={"connection": "Choose a connection."})
    if side is Side.BANK and connection_id is not None:
        raise SourceInvalid("A bank statement belongs to no connection.", fields={"connection": "Leave this empty for a bank."})
    return side


async def set_mapping(session: AsyncSession, actor: Actor, *, source: Source, mapping: ColumnMapping) -> None:
    """Change how a source's CSV files are read; files that were imported stay as they were read."""
    mapping.check()
    if source.format != CSV or mapping.side != source.side:
        raise SourceInvalid("This source is not read by a mapping, or the mapping is for the other side.")
    source.mapping = msgspec.to_builtins(mapping)
    await audit.record(session, actor, action="reconciliation.mapping_changed", object_type="recon_source", object_id=source.id)
