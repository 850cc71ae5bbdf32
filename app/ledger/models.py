"""The ledger's tables. They are read through these classes; only the SQL functions of schema ledger write them."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKeyConstraint, Identity, Index, Integer, SmallInteger, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

from app.core.db import Base

LEDGER = {"schema": "ledger"}


class Xid8(UserDefinedType[str]):
    """PostgreSQL's 64-bit transaction number."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """The type's name in DDL."""
        return "XID8"


class Currency(Base):
    __tablename__ = "currency"
    __table_args__ = LEDGER
    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    exponent: Mapped[int] = mapped_column(SmallInteger)
    numeric_iso: Mapped[int | None] = mapped_column(SmallInteger)
    active: Mapped[bool] = mapped_column(server_default=text("true"))


class ProviderCurrency(Base):
    __tablename__ = "provider_currency"
    __table_args__ = (ForeignKeyConstraint(["code"], ["ledger.currency.code"]), LEDGER)
    provider: Mapped[str] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(primary_key=True)
    exponent: Mapped[int] = mapped_column(SmallInteger)
    rounding_step: Mapped[int] = mapped_column(Integer, server_default=text("1"))


class TransactionKind(Base):
    __tablename__ = "txn_kind"
    __table_args__ = LEDGER
    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]


class ChartAccount(Base):
    __tablename__ = "chart"
    __table_args__ = LEDGER
    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    class_: Mapped[int] = mapped_column("class", SmallInteger)
    normal_side: Mapped[int] = mapped_column(SmallInteger)
    contention: Mapped[int] = mapped_column(SmallInteger)
    shards: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    must_clear: Mapped[bool] = mapped_column(server_default=text("false"))
    min_available: Mapped[int | None]


class Book(Base):
    __tablename__ = "book"
    __table_args__ = LEDGER
    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    closed_through: Mapped[date | None]
    opened_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class Account(Base):
    __tablename__ = "account"
    __table_args__ = (
        UniqueConstraint("merchant_id", "id", "currency"),
        UniqueConstraint("merchant_id", "code", "owner_type", "owner_id", "currency"),
        ForeignKeyConstraint(["merchant_id"], ["ledger.book.merchant_id"]),
        ForeignKeyConstraint(["code"], ["ledger.chart.code"]),
        ForeignKeyConstraint(["currency"], ["ledger.currency.code"]),
        LEDGER,
    )
    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    code: Mapped[str]
    owner_type: Mapped[str] = mapped_column(server_default=text("''"))
    owner_id: Mapped[UUID] = mapped_column(server_default=text("'00000000-0000-0000-0000-000000000000'"))
    currency: Mapped[str]
    class_: Mapped[int] = mapped_column("class", SmallInteger)
    normal_side: Mapped[int] = mapped_column(SmallInteger)
    contention: Mapped[int] = mapped_column(SmallInteger)
    shards: Mapped[int] = mapped_column(SmallInteger)
    must_clear: Mapped[bool]
    status: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class BalanceRow(Base):
    __tablename__ = "balance"
    __table_args__ = (ForeignKeyConstraint(["merchant_id", "account_id"], ["ledger.account.merchant_id", "ledger.account.id"]), LEDGER)
    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default=text("0"))
    normal_side: Mapped[int] = mapped_column(SmallInteger)
    min_available: Mapped[int | None]
    debits_posted: Mapped[int] = mapped_column(server_default=text("0"))
    credits_posted: Mapped[int] = mapped_column(server_default=text("0"))
    debits_pending: Mapped[int] = mapped_column(server_default=text("0"))
    credits_pending: Mapped[int] = mapped_column(server_default=text("0"))
    version: Mapped[int] = mapped_column(server_default=text("0"))
    updated_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class Transaction(Base):
    __tablename__ = "txn"
    __table_args__ = (
        UniqueConstraint("merchant_id", "source_type", "source_id", "event_key"),
        ForeignKeyConstraint(["merchant_id", "pending_txn_id"], ["ledger.txn.merchant_id", "ledger.txn.id"]),
        ForeignKeyConstraint(["merchant_id", "reverses_txn_id"], ["ledger.txn.merchant_id", "ledger.txn.id"]),
        Index(
            "uq_txn_merchant_id_reverses_txn_id",
            "merchant_id",
            "reverses_txn_id",
            unique=True,
            postgresql_where=text("reverses_txn_id IS NOT NULL"),
        ),
        Index(
            "uq_txn_merchant_id_pending_txn_id",
            "merchant_id",
            "pending_txn_id",
            unique=True,
            postgresql_where=text("pending_txn_id IS NOT NULL"),
        ),
        LEDGER,
    )
    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    kind: Mapped[str]
    template_version: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    source_type: Mapped[str]
    source_id: Mapped[UUID]
    event_key: Mapped[str]
    req_hash: Mapped[bytes]
    phase: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    pending_txn_id: Mapped[int | None]
    reverses_txn_id: Mapped[int | None]
    effective_on: Mapped[date]
    posted_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    xid: Mapped[str] = mapped_column(Xid8, server_default=text("pg_current_xact_id()"))
    actor_kind: Mapped[str | None]
    actor_id: Mapped[UUID | None]
    request_id: Mapped[str | None]
    description: Mapped[str | None]
    meta: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class Entry(Base):
    __tablename__ = "entry"
    __table_args__ = (
        # its transaction and its account are asked for once per statement by the trigger entry_balanced (ADR 46)
        Index(
            "ix_entry_merchant_id_account_id_txn_id_line",
            "merchant_id",
            "account_id",
            "txn_id",
            "line",
            postgresql_include=["side", "amount", "phase"],
        ),
        Index(
            "ix_entry_merchant_id_account_id_clear_key",
            "merchant_id",
            "account_id",
            "clear_key",
            postgresql_where=text("clear_key IS NOT NULL"),
        ),
        Index("ix_entry_effective_on", "effective_on", postgresql_using="brin"),
        {"schema": "ledger", "postgresql_partition_by": "RANGE (txn_id)"},
    )
    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    txn_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    line: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    phase: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    account_id: Mapped[int]
    currency: Mapped[str]
    side: Mapped[int] = mapped_column(SmallInteger)
    amount: Mapped[int]
    effective_on: Mapped[date]
    clear_key: Mapped[str | None]


class BalanceDelta(Base):
    __tablename__ = "balance_delta"
    __table_args__ = LEDGER
    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    txn_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    line: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default=text("1"))
    debits: Mapped[int]
    credits: Mapped[int]
    debits_pending: Mapped[int] = mapped_column(server_default=text("0"))
    credits_pending: Mapped[int] = mapped_column(server_default=text("0"))


class BalanceSnapshot(Base):
    __tablename__ = "balance_snapshot"
    __table_args__ = (ForeignKeyConstraint(["merchant_id", "account_id"], ["ledger.account.merchant_id", "ledger.account.id"]), LEDGER)
    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    as_of: Mapped[date] = mapped_column(primary_key=True)
    debits: Mapped[int]
    credits: Mapped[int]
    taken_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class Seal(Base):
    """A block of transactions as it was when it was sealed."""

    __tablename__ = "seal"
    __table_args__ = LEDGER
    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    after_txn: Mapped[int]
    through_txn: Mapped[int]
    transactions: Mapped[int]
    content: Mapped[str]
    previous: Mapped[str]
    hash: Mapped[str]
    signature: Mapped[str]
    made_at: Mapped[datetime]
