"""Tables of API keys and OAuth clients; of keys, secrets and tokens themselves only the hash is kept."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class ApiKey(Base):
    """``known_to`` are the people who were shown it: a payout that it requests none of them may approve."""

    __tablename__ = "api_key"
    # looked up before the merchant is known, hence unique across merchants; 192 random bits tell nobody anything
    __table_args__ = (Index("uq_api_key_digest", "digest", unique=True),)

    merchant_id: Mapped[UUID] = mapped_column(ForeignKey("merchant.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    prefix: Mapped[str]
    digest: Mapped[bytes]
    scopes: Mapped[list[str]]
    networks: Mapped[list[str]]
    requests_per_minute: Mapped[int | None]
    created_by: Mapped[str]
    known_to: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default=text("'{}'"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class ApiClient(Base):
    """``known_to`` are the people who were ever shown a secret of it, or set keys that it signs with; ``keys_known_to`` who set the present keys."""

    __tablename__ = "api_client"
    __table_args__ = (
        Index("ix_api_client_id", "id"),
        CheckConstraint("method IN ('client_secret_basic', 'private_key_jwt')", name="method"),
    )

    merchant_id: Mapped[UUID] = mapped_column(ForeignKey("merchant.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    method: Mapped[str]
    scopes: Mapped[list[str]]
    networks: Mapped[list[str]]
    requests_per_minute: Mapped[int | None]
    jwks: Mapped[dict[str, list[dict[str, str]]] | None] = mapped_column(JSONB(none_as_null=True))
    jwks_url: Mapped[str | None]
    jwks_fetched_at: Mapped[datetime | None]
    keys_known_to: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default=text("'{}'"))
    created_by: Mapped[str]
    known_to: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default=text("'{}'"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


_CLIENT = ["merchant_id", "client_id"]
_CLIENT_KEY = ["api_client.merchant_id", "api_client.id"]


class ApiClientSecret(Base):
    __tablename__ = "api_client_secret"
    __table_args__ = (
        ForeignKeyConstraint(_CLIENT, _CLIENT_KEY, name="fk_api_client_secret_merchant_id_api_client"),
        Index("ix_api_client_secret_client_id", "merchant_id", "client_id"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    client_id: Mapped[UUID]
    prefix: Mapped[str]
    digest: Mapped[bytes]
    known_to: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default=text("'{}'"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]


class ApiToken(Base):
    __tablename__ = "api_token"
    # looked up before the merchant is known, hence unique across merchants
    __table_args__ = (
        ForeignKeyConstraint(_CLIENT, _CLIENT_KEY, name="fk_api_token_merchant_id_api_client"),
        Index("uq_api_token_digest", "digest", unique=True),
        Index("ix_api_token_client_id", "merchant_id", "client_id", "expires_at"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    client_id: Mapped[UUID]
    digest: Mapped[bytes]
    scopes: Mapped[list[str]]
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class ApiAssertion(Base):
    __tablename__ = "api_assertion"
    __table_args__ = (ForeignKeyConstraint(_CLIENT, _CLIENT_KEY, name="fk_api_assertion_merchant_id_api_client"),)

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    client_id: Mapped[UUID] = mapped_column(primary_key=True)
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]
