"""Tables of reconciliation."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.psp.domain import ReportKind
from app.reconciliation.domain.arrivals import ARRIVAL, Origin
from app.reconciliation.domain.breaks import BREAK, Action, BreakKind
from app.reconciliation.domain.feeds import FetchOutcome
from app.reconciliation.domain.formats import FORMATS
from app.reconciliation.domain.lines import LineKind, Side

_SOURCE = (["merchant_id", "source_id"], ["recon_source.merchant_id", "recon_source.id"])
_ITEM_KINDS = (*(kind.value for kind in LineKind), "batch")


def _one_of(column: str, values: Iterable[str]) -> str:
    return f"{column} in ({', '.join(repr(str(value)) for value in values)})"


class Source(Base):
    """Where files come from: an account at a provider, or at a bank."""

    __tablename__ = "recon_source"
    __table_args__ = (
        UniqueConstraint("merchant_id", "name"),
        ForeignKeyConstraint(["merchant_id", "connection_id"], ["psp_connection.merchant_id", "psp_connection.id"]),
        CheckConstraint("side in ('psp', 'bank')", name="side"),
        CheckConstraint(_one_of("format", FORMATS), name="format"),
        CheckConstraint("(side = 'psp') = (connection_id is not null)", name="account"),
        Index(
            "uq_recon_source_connection", "merchant_id", "connection_id", unique=True, postgresql_where=text("connection_id is not null")
        ),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    side: Mapped[str]
    format: Mapped[str]
    connection_id: Mapped[UUID | None]
    mapping: Mapped[dict[str, Any] | None]
    ledger_through: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime]


class SourceFile(Base):
    """A file that was handed in. One that was refused keeps the reason; the same content is imported once."""

    __tablename__ = "recon_file"
    __table_args__ = (
        ForeignKeyConstraint(*_SOURCE),
        CheckConstraint("status in ('imported', 'refused')", name="status"),
        Index("uq_recon_file_content", "merchant_id", "source_id", "sha256", unique=True, postgresql_where=text("status = 'imported'")),
        Index("ix_recon_file_newest", "merchant_id", "source_id", "id"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    source_id: Mapped[UUID]
    name: Mapped[str]
    format: Mapped[str]
    sha256: Mapped[str]
    size_bytes: Mapped[int]
    status: Mapped[str]
    reason: Mapped[str | None]
    reason_line: Mapped[int | None]
    lines: Mapped[int] = mapped_column(server_default=text("0"))
    new_lines: Mapped[int] = mapped_column(server_default=text("0"))
    problems: Mapped[int] = mapped_column(server_default=text("0"))
    totals: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    imported_by: Mapped[str]
    imported_at: Mapped[datetime]


class FileLine(Base):
    """A line as it was read. Append-only: the evidence beside which everything else can be checked."""

    __tablename__ = "recon_line"
    __table_args__ = (ForeignKeyConstraint(["merchant_id", "file_id"], ["recon_file.merchant_id", "recon_file.id"]),)

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    file_id: Mapped[UUID] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    content: Mapped[dict[str, Any]]


class Item(Base):
    """One movement as one side tells it. ``gross`` is in the currency of the charge, ``fee`` and ``net`` in the one it was settled in."""

    __tablename__ = "recon_item"
    __table_args__ = (
        ForeignKeyConstraint(*_SOURCE),
        CheckConstraint(_one_of("side", Side), name="side"),
        CheckConstraint(_one_of("kind", _ITEM_KINDS), name="kind"),
        UniqueConstraint("merchant_id", "source_id", "side", "ext_id", "kind"),
        Index("ix_recon_item_clear_key", "merchant_id", "clear_key"),
        Index("ix_recon_item_batch", "merchant_id", "source_id", "batch_ref", postgresql_where=text("batch_ref is not null")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    source_id: Mapped[UUID]
    file_id: Mapped[UUID | None]
    ordinal: Mapped[int | None]
    side: Mapped[str]
    kind: Mapped[str]
    raw_type: Mapped[str]
    ext_id: Mapped[str] = mapped_column(Text(collation="C"))
    object_ref: Mapped[str | None] = mapped_column(Text(collation="C"))
    parent_ref: Mapped[str | None] = mapped_column(Text(collation="C"))
    our_id: Mapped[UUID | None]
    payment_id: Mapped[UUID | None]
    merchant_ref: Mapped[str | None] = mapped_column(Text(collation="C"))
    batch_ref: Mapped[str | None] = mapped_column(Text(collation="C"))
    refs: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    words: Mapped[str | None]
    currency: Mapped[str]
    gross_minor: Mapped[int]
    net_currency: Mapped[str]
    fee_minor: Mapped[int]
    net_minor: Mapped[int]
    happened_at: Mapped[datetime | None]
    day: Mapped[date]
    clear_key: Mapped[str]
    fingerprint: Mapped[str]
    posted_key: Mapped[str | None]
    posted_fee_minor: Mapped[int] = mapped_column(server_default=text("0"))
    posted_times: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime]


class Match(Base):
    """Items that are the same money. Undone ones stay with the moment they were undone."""

    __tablename__ = "recon_match"
    __table_args__ = (
        CheckConstraint("leg in ('line', 'batch')", name="leg"),
        Index("uq_recon_match_live", "merchant_id", "key", unique=True, postgresql_where=text("undone_at is null")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    leg: Mapped[str]
    rule: Mapped[str]
    rule_version: Mapped[int]
    key: Mapped[str] = mapped_column(Text(collation="C"))
    is_manual: Mapped[bool] = mapped_column(server_default=text("false"))
    made_by: Mapped[str]
    made_at: Mapped[datetime]
    undone_at: Mapped[datetime | None]


class MatchItem(Base):
    """An item's part in a match; the parts of a match come to nothing in each currency. An item is in one live match at most."""

    __tablename__ = "recon_match_item"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "match_id"], ["recon_match.merchant_id", "recon_match.id"]),
        ForeignKeyConstraint(["merchant_id", "item_id"], ["recon_item.merchant_id", "recon_item.id"]),
        Index("uq_recon_match_item_live", "merchant_id", "item_id", unique=True, postgresql_where=text("is_live")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    match_id: Mapped[UUID] = mapped_column(primary_key=True)
    item_id: Mapped[UUID] = mapped_column(primary_key=True)
    minor: Mapped[int]
    currency: Mapped[str]
    is_live: Mapped[bool] = mapped_column(server_default=text("true"))


class WantedMatch(Base):
    """What the rules want while a run compares; empty between runs."""

    __tablename__ = "recon_wanted"

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    item_id: Mapped[UUID] = mapped_column(primary_key=True)
    rule: Mapped[str]
    minor: Mapped[int]
    currency: Mapped[str]


class Difference(Base):
    """Two items that are the same money told differently, as the last run found them; ``minor`` is what the item has more than the other."""

    __tablename__ = "recon_difference"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "item_id"], ["recon_item.merchant_id", "recon_item.id"]),
        ForeignKeyConstraint(["merchant_id", "other_id"], ["recon_item.merchant_id", "recon_item.id"]),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    item_id: Mapped[UUID] = mapped_column(primary_key=True)
    other_id: Mapped[UUID]
    leg: Mapped[str]
    rule: Mapped[str]
    minor: Mapped[int]


class Break(Base):
    """Something the sources do not agree on. ``minor`` is what the other side has more than the ledger."""

    __tablename__ = "recon_break"
    __table_args__ = (
        ForeignKeyConstraint(*_SOURCE),
        ForeignKeyConstraint(["merchant_id", "item_id"], ["recon_item.merchant_id", "recon_item.id"]),
        ForeignKeyConstraint(["merchant_id", "other_id"], ["recon_item.merchant_id", "recon_item.id"]),
        ForeignKeyConstraint(["merchant_id", "file_id"], ["recon_file.merchant_id", "recon_file.id"]),
        CheckConstraint(_one_of("kind", BreakKind), name="kind"),
        CheckConstraint(BREAK.check_sql("status"), name="status"),
        CheckConstraint("approved_by <> requested_by", name="two_people"),
        UniqueConstraint("merchant_id", "kind", "subject"),
        Index("ix_recon_break_newest", "merchant_id", "status", "id"),
        Index("ix_recon_break_item", "merchant_id", "item_id"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    source_id: Mapped[UUID]
    kind: Mapped[str]
    subject: Mapped[str] = mapped_column(Text(collation="C"))
    item_id: Mapped[UUID | None]
    other_id: Mapped[UUID | None]
    file_id: Mapped[UUID | None]
    reference: Mapped[str]
    currency: Mapped[str]
    minor: Mapped[int]
    status: Mapped[str]
    owner_id: Mapped[UUID | None]
    owner_name: Mapped[str | None]
    requested_by: Mapped[UUID | None]
    approved_by: Mapped[UUID | None]
    opened_on: Mapped[date]
    due_on: Mapped[date]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class Resolution(Base):
    """What was done about a break, by whom, and which transaction of the ledger it wrote. Append-only."""

    __tablename__ = "recon_resolution"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "break_id"], ["recon_break.merchant_id", "recon_break.id"]),
        CheckConstraint(_one_of("action", Action), name="action"),
        Index("ix_recon_resolution_break", "merchant_id", "break_id", "id"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    break_id: Mapped[UUID]
    action: Mapped[str]
    reason: Mapped[str]
    currency: Mapped[str | None]
    minor: Mapped[int | None]
    transaction_id: Mapped[int | None]
    actor_id: Mapped[UUID | None]
    actor_name: Mapped[str]
    at: Mapped[datetime]


class Run(Base):
    """One time everything was compared."""

    __tablename__ = "recon_run"

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    started_by: Mapped[str]
    rules: Mapped[dict[str, Any]]
    sums: Mapped[dict[str, Any]]
    open_breaks: Mapped[int]


class Arrival(Base):
    """A file on its way in: whose bytes are stored, how far its reading is, and what came of it."""

    __tablename__ = "recon_arrival"
    __table_args__ = (
        ForeignKeyConstraint(*_SOURCE),
        ForeignKeyConstraint(["merchant_id", "file_id"], ["recon_file.merchant_id", "recon_file.id"]),
        ForeignKeyConstraint(["merchant_id", "run_id"], ["recon_run.merchant_id", "recon_run.id"]),
        CheckConstraint(ARRIVAL.check_sql("status"), name="status"),
        CheckConstraint(_one_of("origin", Origin), name="origin"),
        Index(
            "uq_recon_arrival_under_way",
            "merchant_id",
            "source_id",
            "sha256",
            unique=True,
            postgresql_where=text("status in ('received', 'reading', 'comparing')"),
        ),
        Index("uq_recon_arrival_report", "merchant_id", "source_id", "report", unique=True, postgresql_where=text("report is not null")),
        Index("ix_recon_arrival_newest", "merchant_id", "source_id", "id"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    source_id: Mapped[UUID]
    name: Mapped[str]
    origin: Mapped[str]
    report: Mapped[str | None] = mapped_column(Text(collation="C"))
    sha256: Mapped[str]
    size_bytes: Mapped[int]
    status: Mapped[str]
    read_bytes: Mapped[int] = mapped_column(server_default=text("0"))
    read_lines: Mapped[int] = mapped_column(server_default=text("0"))
    file_id: Mapped[UUID | None]
    run_id: Mapped[UUID | None]
    reason: Mapped[str | None]
    reason_line: Mapped[int | None]
    brought_by: Mapped[str]
    received_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class ArrivalPiece(Base):
    """A part of an arrived file's bytes; gone once the file was read."""

    __tablename__ = "recon_arrival_piece"
    __table_args__ = (ForeignKeyConstraint(["merchant_id", "arrival_id"], ["recon_arrival.merchant_id", "recon_arrival.id"]),)

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    arrival_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    content: Mapped[bytes]


class Feed(Base):
    """What is fetched for a source by the clock, through which connection, and how the last try went."""

    __tablename__ = "recon_feed"
    __table_args__ = (
        ForeignKeyConstraint(*_SOURCE),
        UniqueConstraint("merchant_id", "source_id"),
        ForeignKeyConstraint(["merchant_id", "connection_id"], ["psp_connection.merchant_id", "psp_connection.id"]),
        CheckConstraint(_one_of("report", ReportKind), name="report"),
        CheckConstraint(_one_of("outcome", FetchOutcome), name="outcome"),
        Index("ix_recon_feed_due", "next_at", postgresql_where=text("is_on")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    source_id: Mapped[UUID]
    connection_id: Mapped[UUID]
    report: Mapped[str]
    minutes: Mapped[int]
    since: Mapped[date]
    is_on: Mapped[bool] = mapped_column(server_default=text("true"))
    next_at: Mapped[datetime]
    claim: Mapped[UUID | None]
    tried_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    reason: Mapped[str | None]
    tries: Mapped[int] = mapped_column(server_default=text("0"))


class InvariantCheck(Base):
    """One time every invariant was checked, with what each found."""

    __tablename__ = "recon_check"

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    checked_at: Mapped[datetime]
    checked_by: Mapped[str]
    proof: Mapped[dict[str, Any]]
