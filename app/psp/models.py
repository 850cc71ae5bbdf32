"""Tables of psp."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.psp.domain import CONNECTION, CREDENTIAL_CHANGE, INBOX, ChangePolicy

POLICY_CHECK = f"policy in ({', '.join(repr(policy.value) for policy in ChangePolicy)})"
_CONNECTION = ["psp_connection.merchant_id", "psp_connection.id"]


class Connection(Base):
    """An account at a provider; `credentials` is sealed, `fingerprints` is what may be shown of it."""

    __tablename__ = "psp_connection"
    __table_args__ = (
        UniqueConstraint("merchant_id", "name"),
        CheckConstraint(CONNECTION.check_sql("status"), name="status"),
        CheckConstraint("credentials_version > 0", name="credentials_version"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    psp: Mapped[str]
    status: Mapped[str]
    config: Mapped[dict[str, str]]
    credentials: Mapped[str]
    credentials_version: Mapped[int]
    fingerprints: Mapped[dict[str, str]]
    tested_at: Mapped[datetime | None]
    tested: Mapped[dict[str, str]] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ConnectionPolicy(Base):
    """Who must agree before a merchant's connections use new credentials; without a row, one person does."""

    __tablename__ = "psp_policy"
    __table_args__ = (CheckConstraint(POLICY_CHECK, name="policy"),)

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    policy: Mapped[str]
    updated_at: Mapped[datetime]


class CredentialChange(Base):
    """New credentials somebody proposes for a connection; `digest` is the hash of what an approver is shown."""

    __tablename__ = "psp_credential_change"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "connection_id"], _CONNECTION, name="fk_psp_credential_change_connection"),
        CheckConstraint(CREDENTIAL_CHANGE.check_sql("status"), name="status"),
        CheckConstraint(POLICY_CHECK, name="policy"),
        CheckConstraint("approved_by <> requested_by", name="two_people"),
        CheckConstraint("status <> 'applied' or policy = 'single' or approved_by is not null", name="approved"),
        Index(
            "uq_psp_credential_change_pending",
            "merchant_id",
            "connection_id",
            unique=True,
            postgresql_where=text("status = 'pending'"),
        ),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    connection_id: Mapped[UUID]
    status: Mapped[str]
    policy: Mapped[str]
    config: Mapped[dict[str, str]]
    credentials: Mapped[str]
    fingerprints: Mapped[dict[str, str]]
    base_version: Mapped[int]
    digest: Mapped[str]
    requested_by: Mapped[UUID | None]
    requested_by_name: Mapped[str]
    requested_at: Mapped[datetime]
    approved_by: Mapped[UUID | None]
    decided_by_name: Mapped[str | None]
    decided_at: Mapped[datetime | None]


class InboxEvent(Base):
    """A provider's webhook, verified and stored once; the body is redacted."""

    __tablename__ = "psp_event"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "connection_id"], _CONNECTION, name="fk_psp_event_connection"),
        UniqueConstraint("merchant_id", "connection_id", "provider_event_id"),
        CheckConstraint(INBOX.check_sql("status"), name="status"),
        Index("ix_psp_event_reference", "merchant_id", "our_reference"),
        Index("ix_psp_event_received", "merchant_id", "connection_id", "received_at"),
        Index("ix_psp_event_failed", "merchant_id", "received_at", postgresql_where=text("status = 'failed'")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    connection_id: Mapped[UUID]
    provider_event_id: Mapped[str]
    kind: Mapped[str]
    provider_reference: Mapped[str]
    our_reference: Mapped[str | None]
    amount_minor: Mapped[int | None]
    currency: Mapped[str | None]
    payload: Mapped[dict[str, str]]
    body: Mapped[str]
    status: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    error: Mapped[str | None]
    occurred_at: Mapped[datetime]
    received_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]


class ConnectionHealth(Base):
    """What one minute of calls to a connection was like; `latencies` counts calls per step of a fixed scale."""

    __tablename__ = "psp_health"
    __table_args__ = (ForeignKeyConstraint(["merchant_id", "connection_id"], _CONNECTION, name="fk_psp_health_connection"),)

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    connection_id: Mapped[UUID] = mapped_column(primary_key=True)
    minute_at: Mapped[datetime] = mapped_column(primary_key=True)
    calls: Mapped[int] = mapped_column(server_default=text("0"))
    succeeded: Mapped[int] = mapped_column(server_default=text("0"))
    declined: Mapped[int] = mapped_column(server_default=text("0"))
    technical: Mapped[int] = mapped_column(server_default=text("0"))
    bad_signatures: Mapped[int] = mapped_column(server_default=text("0"))
    latencies: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    failed_at: Mapped[datetime | None]
    succeeded_at: Mapped[datetime | None]
