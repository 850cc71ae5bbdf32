"""Reads about connections, their health, proposed credentials and the webhook inbox."""

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.approvals.domain import EVERYTHING, Part, Waiting
from app.approvals.queries import part_of
from app.core.actors import Actor
from app.core.clock import now
from app.core.db import read
from app.core.ids import ConnectionId, MerchantId, PspEventId, public_id
from app.core.money import Money
from app.core.paging import fetch_page
from app.core.settings import settings
from app.psp.domain import (
    LATENCY_STEPS,
    WINDOW,
    ChangeNotFound,
    ChangePolicy,
    ChangeStatus,
    Circuit,
    ConnectionNotActive,
    ConnectionNotFound,
    ConnectionStatus,
    CredentialChangeId,
    EventKind,
    EventNotFound,
    InboxStatus,
    Provider,
    PspEvent,
    Setting,
    Window,
    circuit,
    percentile,
    settings_of,
)
from app.psp.models import Connection, ConnectionHealth, ConnectionPolicy, CredentialChange, InboxEvent
from app.psp.schemas import (
    ChangeView,
    ConnectionDetailPage,
    ConnectionListPage,
    ConnectionRow,
    EventListPage,
    EventRow,
    FieldView,
    HealthView,
    ProviderOption,
)

_NAMES = "select id, name from psp_connection where merchant_id = %(merchant)s order by name"
HALF_HOURS = 48
RECENT_EVENTS = 20
Providers = dict[str, Provider]
_COUNTERS = (ConnectionHealth.calls, ConnectionHealth.succeeded, ConnectionHealth.technical, ConnectionHealth.bad_signatures)
_LATENCIES = [ConnectionHealth.latencies[step + 1] for step in range(len(LATENCY_STEPS) + 1)]


async def connection(session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId) -> Connection:
    """One connection."""
    found = await session.get(Connection, (merchant_id, connection_id))
    if found is None:
        raise ConnectionNotFound("There is no connection with this id for this merchant.")
    return found


async def active_connections(session: AsyncSession, *, merchant_id: MerchantId) -> list[Connection]:
    """The connections that take payments, oldest first."""
    statement = select(Connection).where(Connection.merchant_id == merchant_id, Connection.status == ConnectionStatus.ACTIVE)
    return list((await session.execute(statement.order_by(Connection.created_at, Connection.id))).scalars())


async def default_connection(session: AsyncSession, *, merchant_id: MerchantId) -> ConnectionId:
    """The connection that takes a payment when nobody chose one: the oldest that is active and not failing."""
    found = await active_connections(session, merchant_id=merchant_id)
    if not found:
        raise ConnectionNotActive("No connection takes payments. Add one under Connections and enable it.")
    circuits = await _circuits(session, merchant_id=merchant_id) if len(found) > 1 else {}
    healthy = [one for one in found if circuits.get(one.id) is not Circuit.OPEN]
    return ConnectionId((healthy or found)[0].id)


async def connection_names(session: AsyncSession, *, merchant_id: MerchantId) -> dict[ConnectionId, str]:
    """What the connections are called."""
    found = await read(session, _NAMES, {"merchant": merchant_id})
    return {ConnectionId(row.id): row.name for row in found}


async def connections_of(session: AsyncSession, *, merchant_id: MerchantId, providers: Collection[str]) -> dict[ConnectionId, str]:
    """The connections to some providers, by name."""
    statement = select(Connection.id, Connection.name).where(Connection.merchant_id == merchant_id, Connection.psp.in_(providers))
    return {ConnectionId(row.id): row.name for row in await session.execute(statement.order_by(Connection.name))}


async def change_policy(session: AsyncSession, *, merchant_id: MerchantId) -> ChangePolicy:
    """Who must agree before a connection uses new credentials."""
    statement = select(ConnectionPolicy.policy).where(ConnectionPolicy.merchant_id == merchant_id)
    return ChangePolicy((await session.execute(statement)).scalar_one_or_none() or ChangePolicy.SINGLE)


async def credential_change(session: AsyncSession, *, merchant_id: MerchantId, change_id: CredentialChangeId) -> CredentialChange:
    """One proposed change of credentials."""
    found = await session.get(CredentialChange, (merchant_id, change_id))
    if found is None:
        raise ChangeNotFound("There is no change of credentials with this id for this merchant.")
    return found


async def pending_change(session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId) -> CredentialChange | None:
    """The change of credentials that waits for a second person, if there is one."""
    where = (CredentialChange.merchant_id == merchant_id, CredentialChange.connection_id == connection_id)
    statement = select(CredentialChange).where(*where, CredentialChange.status == ChangeStatus.PENDING)
    return (await session.execute(statement)).scalar_one_or_none()


async def how_many_wait(session: AsyncSession, actor: Actor) -> int:
    """How many changes of credentials wait for a second person."""
    mine = (CredentialChange.merchant_id == actor.merchant, CredentialChange.status == ChangeStatus.PENDING)
    return await session.scalar(select(func.count()).select_from(CredentialChange).where(*mine)) or 0


async def waiting_changes(session: AsyncSession, actor: Actor, part: Part = EVERYTHING) -> list[Waiting]:
    """Changes of credentials that wait for a second person, oldest first."""
    of_connection = (Connection.merchant_id == CredentialChange.merchant_id) & (Connection.id == CredentialChange.connection_id)
    statement = select(CredentialChange, Connection.name).join(Connection, of_connection)
    mine = statement.where(CredentialChange.merchant_id == actor.merchant, CredentialChange.status == ChangeStatus.PENDING)
    rows = await session.execute(part_of(mine, CredentialChange.id, part))
    return [_waiting(actor, change, name) for change, name in rows]


def _waiting(actor: Actor, change: CredentialChange, name: str) -> Waiting:
    return Waiting(
        kind="credentials",
        id=public_id("chg", change.id),
        title=f"Credentials of {name}",
        detail=", ".join(change.fingerprints) or "Settings",
        href=f"/connections/{public_id('con', change.connection_id)}",
        digest=change.digest,
        requested_by=change.requested_by_name,
        requested_at=change.requested_at,
        may_decide=actor.can("connections.write") and actor.id != change.requested_by,
        facts=[*change.config.items(), *((name, f"ends in {mark}") for name, mark in change.fingerprints.items())],
    )


async def psp_event(session: AsyncSession, *, merchant_id: MerchantId, event_id: PspEventId) -> InboxEvent:
    """One webhook of the inbox."""
    found = await session.get(InboxEvent, (merchant_id, event_id))
    if found is None:
        raise EventNotFound("There is no PSP event with this id for this merchant.")
    return found


async def received_event(session: AsyncSession, *, merchant_id: MerchantId, event_id: PspEventId) -> tuple[PspEvent, ConnectionId]:
    """A webhook of the inbox in the words of the port, and the connection it came by."""
    row = await psp_event(session, merchant_id=merchant_id, event_id=event_id)
    event = PspEvent(
        provider_event_id=row.provider_event_id,
        kind=EventKind(row.kind),
        provider_reference=row.provider_reference,
        our_reference=row.our_reference,
        amount=None if row.amount_minor is None or row.currency is None else Money(row.amount_minor, row.currency),
        occurred_at=row.occurred_at,
        payload=row.payload,
    )
    return event, ConnectionId(row.connection_id)


async def events_of(session: AsyncSession, *, merchant_id: MerchantId, references: Collection[str]) -> list[EventRow]:
    """What providers told us about these references of ours, newest first."""
    statement = select(InboxEvent).where(InboxEvent.merchant_id == merchant_id, InboxEvent.our_reference.in_(list(references)))
    rows = (await session.execute(statement.order_by(InboxEvent.received_at.desc(), InboxEvent.id.desc()).limit(200))).scalars()
    return [EventRow.of(row) for row in rows]


async def event_list_page(
    session: AsyncSession, *, merchant_id: MerchantId, only_failed: bool = False, after: str | None = None
) -> EventListPage:
    """Everything providers told us, newest first, by keyset; or only what could not be applied, which has an index of its own."""
    statement = select(*_EVENT).where(InboxEvent.merchant_id == merchant_id)
    keys: list[InstrumentedAttribute[Any]] = [InboxEvent.id]
    if only_failed:
        statement = statement.where(text(f"status = '{InboxStatus.FAILED}'"))
        keys = [InboxEvent.received_at, InboxEvent.id]
    page = await fetch_page(session, statement, keys=keys, after=after)
    return EventListPage(rows=page.map(EventRow.of).items, only_failed=only_failed, next=page.next, previous=page.previous)


_EVENT = (
    InboxEvent.id,
    InboxEvent.provider_event_id,
    InboxEvent.kind,
    InboxEvent.provider_reference,
    InboxEvent.our_reference,
    InboxEvent.amount_minor,
    InboxEvent.currency,
    InboxEvent.status,
    InboxEvent.error,
    InboxEvent.attempts,
    InboxEvent.occurred_at,
    InboxEvent.received_at,
    InboxEvent.body,
)


async def circuit_of(session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId) -> Circuit:
    """Whether calls to a connection should be let through, judged from the technical failures of the last minutes."""
    return (await _circuits(session, merchant_id=merchant_id)).get(connection_id, Circuit.CLOSED)


async def connection_list_page(session: AsyncSession, actor: Actor, *, providers: Providers) -> ConnectionListPage:
    """All connections with their health; what needs a person comes first."""
    rows = await _rows(session, merchant_id=actor.merchant, providers=providers)
    order = {"failing": 0, "degraded": 1, "draft": 2, "active": 3, "disabled": 4}
    return ConnectionListPage(
        rows=sorted(rows, key=lambda row: (not row.has_pending_change, order[row.state], row.name)),
        providers=[provider_option(one) for one in providers.values()],
        policy=await change_policy(session, merchant_id=actor.merchant),
    )


async def connection_detail_page(
    session: AsyncSession, actor: Actor, *, connection_id: ConnectionId, providers: Providers
) -> ConnectionDetailPage:
    """One connection with everything that can be done about it."""
    found = await connection(session, merchant_id=actor.merchant, connection_id=connection_id)
    rows = await _rows(session, merchant_id=actor.merchant, providers=providers, only=connection_id)
    of = providers[found.psp]
    settings_form = settings_of(of.config)
    pending = await pending_change(session, merchant_id=actor.merchant, connection_id=connection_id)
    titles = {setting.name: setting.title for setting in settings_form}
    return ConnectionDetailPage(
        row=rows[0],
        fields=field_views(found, settings_form),
        credentials_version=found.credentials_version,
        created_at=found.created_at,
        updated_at=found.updated_at,
        tested_at=found.tested_at,
        tested=found.tested,
        webhook_url=webhook_url(connection_id),
        webhook_kinds=list(of.webhook_kinds),
        capabilities=sorted(of.capabilities),
        policy=await change_policy(session, merchant_id=actor.merchant),
        pending=ChangeView.of(pending, found, titles=titles, viewer=actor.id) if pending else None,
        events=await _recent_events(session, merchant_id=actor.merchant, connection_id=connection_id),
    )


def provider_option(of: Provider) -> ProviderOption:
    """A provider as the list of providers shows it."""
    return ProviderOption(name=of.name, title=of.title, monogram=of.monogram, methods=", ".join(of.methods))


def field_views(found: Connection, form: list[Setting]) -> list[FieldView]:
    """The settings of a connection as they may be shown: secrets by fingerprint only."""
    return [
        FieldView(
            setting=setting,
            value="" if setting.is_secret else found.config.get(setting.name, ""),
            fingerprint=found.fingerprints.get(setting.name),
        )
        for setting in form
    ]


def webhook_url(connection_id: UUID) -> str:
    """The address the provider sends its webhooks to."""
    return f"{settings().public_url.rstrip('/')}/webhooks/{public_id('con', connection_id)}"


async def _rows(
    session: AsyncSession, *, merchant_id: MerchantId, providers: Providers, only: ConnectionId | None = None
) -> list[ConnectionRow]:
    # The newest event by one step into the index for each connection; grouping would read every event there is.
    newest = (
        select(InboxEvent.received_at)
        .where(InboxEvent.merchant_id == Connection.merchant_id, InboxEvent.connection_id == Connection.id)
        .order_by(InboxEvent.received_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    statement = select(Connection, newest).where(Connection.merchant_id == merchant_id)
    if only is not None:
        statement = statement.where(Connection.id == only)
    found = [(row[0], row[1]) for row in await session.execute(statement)]
    health = await _health(session, merchant_id=merchant_id)
    waiting = select(CredentialChange.connection_id).where(
        CredentialChange.merchant_id == merchant_id, CredentialChange.status == ChangeStatus.PENDING
    )
    pending = set((await session.execute(waiting)).scalars())
    return [_row(one, providers[one.psp], health.get(one.id, HealthView()), heard, one.id in pending) for one, heard in found]


def _row(found: Connection, of: Provider, health: HealthView, heard: datetime | None, has_pending: bool) -> ConnectionRow:
    troubled = {Circuit.OPEN: "failing", Circuit.HALF_OPEN: "degraded", Circuit.CLOSED: found.status}[health.circuit]
    return ConnectionRow(
        id=public_id("con", found.id),
        name=found.name,
        psp=found.psp,
        title=of.title,
        monogram=of.monogram,
        account=found.config.get("account", ""),
        methods=", ".join(of.methods),
        status=found.status,
        state=troubled if found.status == ConnectionStatus.ACTIVE else found.status,
        health=health,
        last_event_at=heard,
        has_pending_change=has_pending,
    )


class _Day(msgspec.Struct):
    halves: dict[int, tuple[int, int]] = msgspec.field(default_factory=dict)
    latencies: list[int] = msgspec.field(default_factory=lambda: [0] * (len(LATENCY_STEPS) + 1))
    calls: int = 0
    good: int = 0
    technical: int = 0
    bad_signatures: int = 0


async def _health(session: AsyncSession, *, merchant_id: MerchantId) -> dict[UUID, HealthView]:
    moment = now()
    age = func.floor(func.extract("epoch", literal(moment) - ConnectionHealth.minute_at) / 1800)
    sums = [func.sum(column) for column in (*_COUNTERS, *_LATENCIES)]
    statement = (
        select(ConnectionHealth.connection_id, age, *sums)
        .where(ConnectionHealth.merchant_id == merchant_id, ConnectionHealth.minute_at > moment - timedelta(hours=24))
        .group_by(ConnectionHealth.connection_id, age)
    )
    days: dict[UUID, _Day] = defaultdict(_Day)
    for connection_id, half, calls, succeeded, technical, bad_signatures, *latencies in await session.execute(statement):
        day = days[connection_id]
        day.halves[max(0, int(half))] = (int(calls), int(technical))
        day.calls += int(calls)
        day.good += int(succeeded)
        day.technical += int(technical)
        day.bad_signatures += int(bad_signatures)
        day.latencies = [a + int(b) for a, b in zip(day.latencies, latencies, strict=True)]
    circuits = await _circuits(session, merchant_id=merchant_id)
    return {key: _view(day, circuits.get(key, Circuit.CLOSED)) for key, day in days.items()}


def _view(day: _Day, state: Circuit) -> HealthView:
    halves = [day.halves.get(age, (0, 0)) for age in reversed(range(HALF_HOURS))]
    return HealthView(
        calls=day.calls,
        success=day.good / day.calls if day.calls else None,
        p95_ms=percentile(day.latencies, 0.95),
        technical=day.technical,
        bad_signatures=day.bad_signatures,
        circuit=state,
        strip=[_tone(calls, technical) for calls, technical in halves],
        spark=[float(calls) for calls, _ in halves],
    )


def _tone(calls: int, technical: int) -> str:
    if not calls:
        return "none"
    if not technical:
        return "ok"
    return "bad" if technical * 2 >= calls else "warn"


async def _circuits(session: AsyncSession, *, merchant_id: MerchantId) -> dict[UUID, Circuit]:
    moment = now()
    statement = (
        select(
            ConnectionHealth.connection_id,
            func.sum(ConnectionHealth.calls),
            func.sum(ConnectionHealth.technical),
            func.max(ConnectionHealth.failed_at),
            func.max(ConnectionHealth.succeeded_at),
        )
        .where(ConnectionHealth.merchant_id == merchant_id, ConnectionHealth.minute_at > moment - WINDOW)
        .group_by(ConnectionHealth.connection_id)
    )
    windows = {
        row[0]: Window(calls=int(row[1]), technical=int(row[2]), failed_at=row[3], succeeded_at=row[4])
        for row in await session.execute(statement)
    }
    return {key: circuit(window, moment) for key, window in windows.items()}


async def _recent_events(session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId) -> list[EventRow]:
    where = (InboxEvent.merchant_id == merchant_id, InboxEvent.connection_id == connection_id)
    statement = select(InboxEvent).where(*where).order_by(InboxEvent.received_at.desc()).limit(RECENT_EVENTS)
    return [EventRow.of(row) for row in (await session.execute(statement)).scalars()]
