"""Writes about connections: adding one, switching it on and off, and changing its credentials by one person or by two."""

import hashlib
from collections.abc import Collection, Mapping
from functools import lru_cache
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, outbound, outbox, secrets
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import ConnectionId, MerchantId, new_id, public_id
from app.core.settings import settings
from app.psp import queries
from app.psp.adapters import ADAPTERS
from app.psp.domain import (
    CONNECTION,
    CREDENTIAL_CHANGE,
    BalanceAdapter,
    Capability,
    ChangeIsStale,
    ChangeNeedsSecondPerson,
    ChangePolicy,
    ChangeStatus,
    Config,
    ConnectionChanged,
    ConnectionNameTaken,
    ConnectionNotActive,
    ConnectionSettingsInvalid,
    ConnectionStatus,
    CredentialChangeId,
    Provider,
    ProviderUnknown,
    PspAdapter,
    ReportingAdapter,
    ReportsNotOffered,
    Result,
    is_secret,
)
from app.psp.models import Connection, ConnectionPolicy, CredentialChange

MAX_NAME = 80


def provider(name: str) -> Provider:
    """The provider of this name."""
    found = ADAPTERS.get(name)
    if found is None:
        raise ProviderUnknown(f"There is no payment provider called “{name[:40]}”.")
    return found


def read_config(of: Provider, values: Mapping[str, str]) -> Config:
    """Check a connection's settings; everything that is wrong is said at once, field by field."""
    problems: dict[str, str] = {}
    for field in msgspec.structs.fields(of.config):
        value = values.get(field.name, "").strip()
        try:
            msgspec.convert(value, field.type)
            if not value and field.required:
                problems[field.name] = "Fill this in."
        except msgspec.ValidationError:
            problems[field.name] = "This does not look right." if value else "Fill this in."
    if "api_base_url" not in problems:
        try:
            outbound.check_url(values["api_base_url"].strip(), allow_insecure=settings().allow_insecure_psp_urls)
        except outbound.AddressRefused as refused:
            problems["api_base_url"] = refused.detail
    if problems:
        raise ConnectionSettingsInvalid("Check the settings of the connection.", fields=problems)
    known = {field.name: values.get(field.name, "").strip() for field in msgspec.structs.fields(of.config)}
    return msgspec.convert(known, of.config)


async def add_connection(session: AsyncSession, actor: Actor, *, psp: str, name: str, values: Mapping[str, str]) -> Connection:
    """Add a connection to a provider. It takes no payments until it is enabled."""
    of = provider(psp)
    if not 0 < len(name) <= MAX_NAME:
        raise ConnectionSettingsInvalid(
            "Check the settings of the connection.", fields={"name": "Give it a name of at most 80 characters."}
        )
    config = read_config(of, values)
    moment, connection_id = now(), ConnectionId(new_id())
    connection = Connection(
        merchant_id=actor.merchant,
        id=connection_id,
        name=name,
        psp=psp,
        status=ConnectionStatus.DRAFT,
        config=_public(of, config),
        credentials=_sealed(of, config, merchant_id=actor.merchant, connection_id=connection_id),
        credentials_version=1,
        fingerprints=_fingerprints(of, config),
        tested={},
        created_at=moment,
        updated_at=moment,
    )
    try:
        async with session.begin_nested():
            session.add(connection)
    except IntegrityError as error:
        taken = {"name": "Another connection has this name."}
        raise ConnectionNameTaken(f"There is a connection called “{name}” already.", fields=taken) from error
    await _changed(
        session, actor, connection, action="added", after={"name": name, "psp": psp, **connection.config, **connection.fingerprints}
    )
    return connection


async def enable_connection(session: AsyncSession, actor: Actor, *, connection_id: ConnectionId) -> Connection:
    """Let a connection take payments."""
    return await _switch(session, actor, connection_id=connection_id, event="enable")


async def disable_connection(session: AsyncSession, actor: Actor, *, connection_id: ConnectionId) -> Connection:
    """Stop new payments on a connection; captures, refunds and webhooks of older ones go on."""
    return await _switch(session, actor, connection_id=connection_id, event="disable")


async def record_test(session: AsyncSession, actor: Actor, *, connection_id: ConnectionId, result: Result) -> Connection:
    """Keep what a test call to the provider showed."""
    connection = await _locked(session, merchant_id=actor.merchant, connection_id=connection_id)
    connection.tested_at = now()
    connection.tested = {"outcome": result.outcome, "code": result.code or "", "message": result.message or "", **result.evidence}
    await audit.record(
        session,
        actor,
        action="connection.tested",
        object_type="connection",
        object_id=connection_id,
        after={"outcome": result.outcome, "code": result.code},
    )
    return connection


async def set_policy(session: AsyncSession, actor: Actor, *, policy: ChangePolicy) -> None:
    """Say whether new credentials need a second person; going back to one person is for those who set which acts need a second one."""
    before = await queries.change_policy(session, merchant_id=actor.merchant)
    if before is ChangePolicy.FOUR_EYES and policy is ChangePolicy.SINGLE:
        # not for whoever changes credentials: an admin would do both alone, one after the other
        actor.require("rules.write")
    values = {"policy": policy, "updated_at": now()}
    row = insert(ConnectionPolicy).values(merchant_id=actor.merchant, **values)
    await session.execute(row.on_conflict_do_update(index_elements=["merchant_id"], set_=values))
    await audit.record(
        session,
        actor,
        action="connection.policy_set",
        object_type="merchant",
        object_id=actor.merchant,
        before={"policy": before},
        after={"policy": policy},
    )


async def propose_change(
    session: AsyncSession, actor: Actor, *, connection_id: ConnectionId, values: Mapping[str, str]
) -> CredentialChange:
    """Change the settings or credentials of a connection: at once, or when a second person agrees. An empty secret keeps the present one."""
    connection = await _locked(session, merchant_id=actor.merchant, connection_id=connection_id)
    of = provider(connection.psp)
    present = _secrets(connection)
    given = {name: value for name, value in values.items() if value.strip() or name not in present}
    config = read_config(of, {**present, **given})
    _refuse_to_send_elsewhere(connection, _public(of, config), kept=present.keys() - given.keys())
    await _withdraw_pending(session, actor, connection)
    change_id, policy = CredentialChangeId(new_id()), await queries.change_policy(session, merchant_id=actor.merchant)
    change = CredentialChange(
        merchant_id=actor.merchant,
        id=change_id,
        connection_id=connection_id,
        status=ChangeStatus.PENDING,
        policy=policy,
        config=_public(of, config),
        credentials=_sealed(of, config, merchant_id=actor.merchant, connection_id=change_id),
        fingerprints=_fingerprints(of, config),
        base_version=connection.credentials_version,
        digest="",
        requested_by=actor.id,
        requested_by_name=actor.name,
        requested_at=now(),
    )
    change.digest = _digest(change)
    session.add(change)
    await session.flush()
    await _audit_change(session, actor, change, "credentials_proposed", before=_shown(connection))
    if policy is ChangePolicy.SINGLE:
        await _apply(session, actor, connection, change)
    return change


def _refuse_to_send_elsewhere(connection: Connection, config: Mapping[str, str], *, kept: Collection[str]) -> None:
    """A secret nobody can read must not be learned by pointing the connection at a server of one's own: a new server needs its secrets entered anew."""
    if kept and _servers(config) != _servers(connection.config):
        problem = "Enter it again: the one we keep was given for another server."
        raise ConnectionSettingsInvalid("Check the settings of the connection.", fields=dict.fromkeys(kept, problem))


def _servers(config: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    addresses = {name: urlsplit(value.lower()) for name, value in config.items() if name.endswith("_url")}
    return {name: (address.scheme, address.netloc) for name, address in addresses.items()}


async def approve_change(session: AsyncSession, actor: Actor, *, change_id: CredentialChangeId, digest: str) -> CredentialChange:
    """Agree to somebody else's change of credentials, exactly as it was shown; it is used from now on."""
    connection, change = await _locked_change(session, actor, change_id=change_id)
    if actor.id is None or actor.id == change.requested_by:
        raise ChangeNeedsSecondPerson("You proposed this change; somebody else has to approve it.")
    if digest != change.digest or change.base_version != connection.credentials_version:
        raise ChangeIsStale("The connection or the change is not what you were shown. Look again, then approve.")
    change.approved_by = actor.id
    await _apply(session, actor, connection, change)
    return change


async def reject_change(session: AsyncSession, actor: Actor, *, change_id: CredentialChangeId) -> CredentialChange:
    """Refuse or withdraw a proposed change of credentials; the present ones stay in use."""
    _, change = await _locked_change(session, actor, change_id=change_id)
    _decide(change, actor, "reject")
    await _audit_change(session, actor, change, "credentials_rejected")
    return change


async def adapter_for(
    session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId, must_be_active: bool = False
) -> PspAdapter:
    """The adapter of a connection, ready to be called after the transaction; with `must_be_active` only if it takes payments now."""
    connection = await queries.connection(session, merchant_id=merchant_id, connection_id=connection_id)
    if must_be_active and connection.status != ConnectionStatus.ACTIVE:
        raise ConnectionNotActive(f"The connection “{connection.name}” is {connection.status}.")
    return adapter_of(connection)


async def reporter_for(session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId) -> ReportingAdapter:
    """The adapter of a connection whose provider lets reports be fetched, ready to be called after the transaction."""
    adapter = await adapter_for(session, merchant_id=merchant_id, connection_id=connection_id)
    if Capability.REPORTS not in adapter.capabilities or not isinstance(adapter, ReportingAdapter):
        raise ReportsNotOffered("This provider's reports cannot be fetched; hand its files in.")
    return adapter


async def balance_adapter(session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId) -> BalanceAdapter | None:
    """The adapter of a connection, ready to be asked after the transaction what its provider owes; nothing when the provider cannot be asked."""
    adapter = await adapter_for(session, merchant_id=merchant_id, connection_id=connection_id)
    return adapter if Capability.BALANCE in adapter.capabilities and isinstance(adapter, BalanceAdapter) else None


def reporting_providers() -> list[str]:
    """The providers whose reports can be fetched."""
    return [name for name, of in ADAPTERS.items() if Capability.REPORTS in of.capabilities]


async def values_for(session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId) -> tuple[str, dict[str, str]]:
    """The provider of a connection and its settings, credentials in clear, for another port to the same provider."""
    connection = await queries.connection(session, merchant_id=merchant_id, connection_id=connection_id)
    return connection.psp, connection.config | _secrets(connection)


def adapter_of(connection: Connection) -> PspAdapter:
    """The adapter of a connection that was read already."""
    config = msgspec.json.encode(connection.config)
    return _adapter(connection.psp, MerchantId(connection.merchant_id), connection.id, connection.credentials, config)


# Keyed by the sealed text itself: new credentials are a new entry, and what a key no longer opens is never served from memory.
@lru_cache(maxsize=512)
def _adapter(psp: str, merchant_id: MerchantId, connection_id: UUID, credentials: str, config: bytes) -> PspAdapter:
    of = provider(psp)
    opened = secrets.unseal(credentials, _context(merchant_id, connection_id))
    values = msgspec.json.decode(config, type=dict[str, str]) | msgspec.json.decode(opened, type=dict[str, str])
    return of.adapter(msgspec.convert(values, of.config))


def _context(merchant_id: MerchantId, row_id: UUID) -> str:
    return f"psp.credentials:{merchant_id}:{row_id}"


def _public(of: Provider, config: Config) -> dict[str, str]:
    return {name: value for name, value in msgspec.structs.asdict(config).items() if not is_secret(of.config, name)}


def _private(of: Provider, config: Config) -> dict[str, str]:
    return {name: value for name, value in msgspec.structs.asdict(config).items() if is_secret(of.config, name)}


def _sealed(of: Provider, config: Config, *, merchant_id: MerchantId, connection_id: UUID) -> str:
    return secrets.seal(msgspec.json.encode(_private(of, config)).decode(), _context(merchant_id, connection_id))


def _secrets(row: Connection | CredentialChange) -> dict[str, str]:
    opened = secrets.unseal(row.credentials, _context(MerchantId(row.merchant_id), row.id))
    return msgspec.json.decode(opened, type=dict[str, str])


def _fingerprints(of: Provider, config: Config) -> dict[str, str]:
    """What may be shown of each secret: its last four characters and a keyed fingerprint that tells two secrets apart."""
    return {name: f"…{value[-4:]} · {secrets.mac(value, purpose='psp.fingerprint')[:8]}" for name, value in _private(of, config).items()}


def _digest(change: CredentialChange) -> str:
    seen = (str(change.connection_id), change.base_version, sorted(change.config.items()), sorted(change.fingerprints.items()))
    return hashlib.sha256(msgspec.json.encode(seen)).hexdigest()


async def _apply(session: AsyncSession, actor: Actor, connection: Connection, change: CredentialChange) -> None:
    of = provider(connection.psp)
    config = msgspec.convert(change.config | _secrets(change), of.config)
    _decide(change, actor, "apply")
    before = _shown(connection)
    connection.config, connection.fingerprints = change.config, change.fingerprints
    connection.credentials = _sealed(of, config, merchant_id=MerchantId(connection.merchant_id), connection_id=connection.id)
    connection.credentials_version += 1
    connection.updated_at = now()
    await _audit_change(session, actor, change, "credentials_changed", before=before)
    await _tell(session, actor, connection)


def _shown(row: Connection | CredentialChange) -> dict[str, str]:
    return {**row.config, **row.fingerprints}


def _decide(change: CredentialChange, actor: Actor, event: str) -> None:
    change.status = CREDENTIAL_CHANGE.next(ChangeStatus(change.status), event)
    change.decided_by_name, change.decided_at = actor.name, now()


async def _withdraw_pending(session: AsyncSession, actor: Actor, connection: Connection) -> None:
    pending = await queries.pending_change(session, merchant_id=actor.merchant, connection_id=ConnectionId(connection.id))
    if pending is not None:
        _decide(pending, actor, "reject")
        await session.flush()
        await _audit_change(session, actor, pending, "credentials_rejected")


async def _switch(session: AsyncSession, actor: Actor, *, connection_id: ConnectionId, event: str) -> Connection:
    connection = await _locked(session, merchant_id=actor.merchant, connection_id=connection_id)
    before = connection.status
    connection.status, connection.updated_at = CONNECTION.next(ConnectionStatus(before), event), now()
    await _changed(session, actor, connection, action=f"{event}d", before={"status": before}, after={"status": connection.status})
    return connection


async def _locked(session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId) -> Connection:
    statement = select(Connection).where(Connection.merchant_id == merchant_id, Connection.id == connection_id).with_for_update()
    found = (await session.execute(statement)).scalar_one_or_none()
    return found or await queries.connection(session, merchant_id=merchant_id, connection_id=connection_id)


async def _locked_change(session: AsyncSession, actor: Actor, *, change_id: CredentialChangeId) -> tuple[Connection, CredentialChange]:
    seen = await queries.credential_change(session, merchant_id=actor.merchant, change_id=change_id)
    connection = await _locked(session, merchant_id=actor.merchant, connection_id=ConnectionId(seen.connection_id))
    await session.refresh(seen)
    return connection, seen


async def _audit_change(
    session: AsyncSession, actor: Actor, change: CredentialChange, action: str, *, before: Mapping[str, str] | None = None
) -> None:
    after = {"change": public_id("chg", change.id), "status": change.status, "policy": change.policy, **_shown(change)}
    action = f"connection.{action}"
    await audit.record(session, actor, action=action, object_type="connection", object_id=change.connection_id, before=before, after=after)


async def _tell(session: AsyncSession, actor: Actor, connection: Connection) -> None:
    event = ConnectionChanged(connection_id=public_id("con", connection.id), status=connection.status)
    await session.flush()
    await outbox.publish(session, merchant_id=actor.merchant, event=event, object_id=connection.id)


async def _changed(
    session: AsyncSession,
    actor: Actor,
    connection: Connection,
    *,
    action: str,
    after: Mapping[str, object],
    before: Mapping[str, object] | None = None,
) -> None:
    await _tell(session, actor, connection)
    await audit.record(
        session, actor, action=f"connection.{action}", object_type="connection", object_id=connection.id, before=before, after=after
    )
