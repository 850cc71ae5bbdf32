"""Tables of people and their factors. A person belongs to no merchant; membership (tenancy) connects them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class Person(Base):
    __tablename__ = "person"
    __table_args__ = (
        CheckConstraint("status in ('active', 'unused', 'disabled')", name="status"),
        CheckConstraint("theme in ('auto', 'light', 'dark')", name="theme"),
        CheckConstraint("density in ('compact', 'comfortable')", name="density"),
        Index("ix_person_last_signed_in_at", "last_signed_in_at", postgresql_where=text("status = 'active'")),
        CheckConstraint("cardinality(passwords_before) <= 3", name="passwords_before"),
        CheckConstraint("totp_enrolled_at is null or totp_secret is not null", name="totp"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str]
    email_lc: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    status: Mapped[str]
    password_hash: Mapped[str]
    password_changed_at: Mapped[datetime]
    passwords_before: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    totp_secret: Mapped[str | None]
    totp_enrolled_at: Mapped[datetime | None]
    totp_last_step: Mapped[int] = mapped_column(server_default=text("0"))
    theme: Mapped[str] = mapped_column(server_default=text("'auto'"))
    density: Mapped[str] = mapped_column(server_default=text("'compact'"))
    last_signed_in_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    created_at: Mapped[datetime]


class RecoveryCode(Base):
    __tablename__ = "recovery_code"

    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class SignInThrottle(Base):
    __tablename__ = "sign_in_throttle"

    key: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int]
    retry_at: Mapped[datetime]


class ProviderAttempt(Base):
    __tablename__ = "provider_attempt"
    __table_args__ = (Index(None, "browser_digest"), Index(None, "expires_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    state_digest: Mapped[bytes] = mapped_column(unique=True)
    browser_digest: Mapped[bytes]
    provider: Mapped[str]
    nonce: Mapped[str]
    verifier: Mapped[str]
    next_path: Mapped[str]
    connecting: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    issuer: Mapped[str | None]
    subject: Mapped[str | None]
    email: Mapped[str | None]
    linked_at: Mapped[datetime | None]


class PersonIdentity(Base):
    __tablename__ = "person_identity"
    __table_args__ = (Index(None, "person_id"),)

    issuer: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"))
    email: Mapped[str]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class ProviderSession(Base):
    __tablename__ = "provider_session"
    __table_args__ = (Index(None, "issuer", "subject"),)

    session_id: Mapped[UUID] = mapped_column(ForeignKey("web_session.id", ondelete="CASCADE"), primary_key=True)
    provider: Mapped[str]
    issuer: Mapped[str]
    subject: Mapped[str]
    sid: Mapped[str]
    id_token: Mapped[str]


class LogoutTokenUse(Base):
    __tablename__ = "logout_token_use"

    issuer: Mapped[str] = mapped_column(primary_key=True)
    jti: Mapped[str] = mapped_column(primary_key=True)
    used_at: Mapped[datetime]


class Passkey(Base):
    """A passkey or security key. The counter is what the key said last; it must never go back."""

    __tablename__ = "passkey"
    __table_args__ = (Index(None, "person_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"))
    name: Mapped[str]
    credential_id: Mapped[bytes] = mapped_column(unique=True)
    public_key: Mapped[bytes]
    counter: Mapped[int]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class PasskeyChallenge(Base):
    """A question put to a key, for one asker, once."""

    __tablename__ = "passkey_challenge"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    asker: Mapped[str]
    expires_at: Mapped[datetime]


class PersonEvent(Base):
    """What happened to a person's sign-in and factors; written once. The database copies it into the audit of the person's merchants."""

    __tablename__ = "person_event"
    __table_args__ = (Index(None, "person_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id"))
    at: Mapped[datetime]
    what: Mapped[str]
    address: Mapped[str | None]
    user_agent: Mapped[str]
    note: Mapped[str]


class PasswordReset(Base):
    """A link that lets a person choose a new password; only its key's hash is kept."""

    __tablename__ = "password_reset"
    __table_args__ = (Index(None, "person_id"),)

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
