"""What crosses the edge of psp: forms in, pages out. No struct here ever holds a secret on its way out."""

from datetime import datetime
from urllib.parse import urlencode

import msgspec

from app.core.ids import public_id
from app.core.money import Money
from app.psp.domain import CONNECTION, ChangePolicy, Circuit, ConnectionStatus, InboxStatus, Setting
from app.psp.models import Connection, CredentialChange, InboxEvent


class ProviderOption(msgspec.Struct, frozen=True, kw_only=True):
    """A provider that can be connected."""

    name: str
    title: str
    monogram: str
    methods: str


class HealthView(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection did in the last 24 hours; `strip` holds half hours, oldest first: ok, warn, bad or empty."""

    calls: int = 0
    success: float | None = None
    p95_ms: int | None = None
    technical: int = 0
    bad_signatures: int = 0
    circuit: Circuit = Circuit.CLOSED
    strip: list[str] = []
    spark: list[float] = []


class ConnectionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as a card of the list."""

    id: str
    name: str
    psp: str
    title: str
    monogram: str
    account: str
    methods: str
    status: str
    state: str
    health: HealthView
    last_event_at: datetime | None
    has_pending_change: bool


class ConnectionListPage(msgspec.Struct, frozen=True, kw_only=True):
    """All connections of a merchant, those that need a person first."""

    rows: list[ConnectionRow]
    providers: list[ProviderOption]
    policy: ChangePolicy


class FieldView(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a settings form; of a secret only what tells it apart is known."""

    setting: Setting
    value: str = ""
    fingerprint: str | None = None


class ConnectionFormPage(msgspec.Struct, frozen=True, kw_only=True):
    """The form that adds a connection, or changes one."""

    provider: ProviderOption
    fields: list[FieldView]
    connection_id: str | None = None
    name: str = ""
    needs_second_person: bool = False

    @property
    def action(self) -> str:
        """Where the form is posted to."""
        return f"/connections/{self.connection_id}/settings" if self.connection_id else f"/connections/new/{self.provider.name}"


class ProviderListPage(msgspec.Struct, frozen=True, kw_only=True):
    """The providers to choose from for a new connection."""

    providers: list[ProviderOption]


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """A proposed change of credentials, as an approver sees it."""

    id: str
    status: str
    digest: str
    requested_by_name: str
    requested_at: datetime
    decided_by_name: str | None
    decided_at: datetime | None
    differences: list[tuple[str, str, str]]
    is_mine: bool

    @classmethod
    def of(cls, change: CredentialChange, connection: Connection, *, titles: dict[str, str], viewer: object) -> "ChangeView":
        """What differs between the connection and the proposal; secrets by fingerprint."""
        before, after = connection.config | connection.fingerprints, change.config | change.fingerprints
        names = [name for name in titles if before.get(name) != after.get(name)]
        return cls(
            id=public_id("chg", change.id),
            status=change.status,
            digest=change.digest,
            requested_by_name=change.requested_by_name,
            requested_at=change.requested_at,
            decided_by_name=change.decided_by_name,
            decided_at=change.decided_at,
            differences=[(titles[name], before.get(name, "–"), after.get(name, "–")) for name in names],
            is_mine=change.requested_by == viewer,
        )


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook in the inbox, with its redacted body."""

    id: str
    provider_event_id: str
    kind: str
    provider_reference: str
    our_reference: str | None
    amount: Money | None
    status: str
    error: str | None
    attempts: int
    occurred_at: datetime
    received_at: datetime
    body: str

    @classmethod
    def of(cls, event: InboxEvent) -> "EventRow":
        """The row of an event."""
        amount = None if event.amount_minor is None or event.currency is None else Money(event.amount_minor, event.currency)
        return cls(
            id=public_id("pev", event.id),
            provider_event_id=event.provider_event_id,
            kind=event.kind,
            provider_reference=event.provider_reference,
            our_reference=event.our_reference,
            amount=amount,
            status=event.status,
            error=event.error,
            attempts=event.attempts,
            occurred_at=event.occurred_at,
            received_at=event.received_at,
            body=_indented(event.body),
        )


def _indented(body: str) -> str:
    try:
        return msgspec.json.format(body, indent=2)
    except msgspec.DecodeError:
        return body


class EventListPage(msgspec.Struct, frozen=True, kw_only=True):
    """What providers told us, newest first: about one object, or everything."""

    rows: list[EventRow]
    is_of_object: bool = False
    only_failed: bool = False
    next: str | None = None
    previous: str | None = None

    def href(self, *, after: str = "", only_failed: bool | None = None) -> str:
        """The address of this list with something changed; any change leads back to the first page."""
        failed = self.only_failed if only_failed is None else only_failed
        query = urlencode({name: value for name, value in (("status", InboxStatus.FAILED if failed else ""), ("after", after)) if value})
        return f"/psp-events?{query}" if query else "/psp-events"

    @property
    def views(self) -> list[tuple[str, str, bool, None]]:
        """The saved views."""
        return [
            ("All", self.href(only_failed=False), not self.only_failed, None),
            ("Failed", self.href(only_failed=True), self.only_failed, None),
        ]


class ConnectionDetailPage(msgspec.Struct, frozen=True, kw_only=True):
    """One connection: settings, health, webhook address, proposed changes, recent events."""

    row: ConnectionRow
    fields: list[FieldView]
    credentials_version: int
    created_at: datetime
    updated_at: datetime
    tested_at: datetime | None
    tested: dict[str, str]
    webhook_url: str
    webhook_kinds: list[str]
    capabilities: list[str]
    policy: ChangePolicy
    pending: ChangeView | None
    events: list[EventRow]

    @property
    def actions(self) -> list[str]:
        """What may be done with the connection now."""
        return CONNECTION.events(ConnectionStatus(self.row.status))


class ConnectionForm(msgspec.Struct, kw_only=True):
    """The one field every connection has; the others are the provider's own."""

    name: str


class PolicyForm(msgspec.Struct, kw_only=True):
    """Who must agree to new credentials."""

    policy: ChangePolicy


class ApprovalForm(msgspec.Struct, kw_only=True):
    """What the approver was shown."""

    digest: str
