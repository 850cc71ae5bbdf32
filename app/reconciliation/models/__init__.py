"""Tables of reconciliation."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.reconciliation.domain.breaks import BREAK, Action, BreakKind
from app.reconciliation.domain.formats import FORMATS
from app.reconciliation.domain.lines import LineKind, Side
from app.reconciliation.models import arrivals

__all__ = ["arrivals"]

_SOURCE = (["merchant_id", "source_id"], ["recon_source.merchant_id", "recon_source.id"])
_ITEM_KINDS = (*(kind.value for kind in LineKind), "batch")


def _one_of(column: str, values: Iterable[str]) -> str:
    return f"{column} in ({', '.join(repr(str(value)) for value in values)})"


class Source(Base):
    """Where files come from: an account at a provider, or at a bank. The bank account payouts are made from is the payouts' own noun."""

    __tablename__ = "recon_source"
    __table_args__ = (
        UniqueConstraint("merchant_id", "name"),
        ForeignKeyConstraint(["merchant_id", "connection_id"], ["psp_connection.merchant_id", "psp_connection.id"]),
        CheckConstraint("side in ('psp', 'bank')", name="side"),
        CheckConstraint(_one_of("format", FORMATS), name="format"),
        CheckConstraint("(side = 'psp') = (connection_id is not null)", name="account"),
        CheckConstraint("file_days between 1 and 60", name="file_days"),
        CheckConstraint("side = 'bank' or funding_account_id is null", name="bank"),
        ForeignKeyConstraint(["merchant_id", "funding_account_id"], ["funding_account.merchant_id", "funding_account.id"]),
        Index(
            "uq_recon_source_funding_account",
            "merchant_id",
            "funding_account_id",
            unique=True,
            postgresql_where=text("funding_account_id is not null"),
        ),
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
    funding_account_id: Mapped[UUID | None]
    mapping: Mapped[dict[str, Any] | None]
    time_zone: Mapped[str] = mapped_column(server_default=text("'UTC'"))
    file_days: Mapped[int | None]
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


class FilePart(Base):
    """A mebibyte of a file as it was handed in, compressed. Append-only: the evidence beside which everything else can be checked."""

    __tablename__ = "recon_file_part"
    __table_args__ = (ForeignKeyConstraint(["merchant_id", "file_id"], ["recon_file.merchant_id", "recon_file.id"]),)

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    file_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    content: Mapped[bytes]


class FileLine(Base):
    """A line as it was read that became no item of its own: it cannot be read, or says of a known one something new. Append-only."""

    __tablename__ = "recon_line"
    __table_args__ = (ForeignKeyConstraint(["merchant_id", "file_id"], ["recon_file.merchant_id", "recon_file.id"]),)

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    file_id: Mapped[UUID] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    content: Mapped[dict[str, Any]]


class Item(Base):
    """One movement as one side tells it. ``gross`` is in the currency of the charge, ``fee`` and ``net`` in the one it was settled in.

    That its source is there is checked once per statement and not by a foreign key, row by row: items come by the million.
    """

    __tablename__ = "recon_item"
    __table_args__ = (
        CheckConstraint(_one_of("side", Side), name="side"),
        CheckConstraint(_one_of("kind", _ITEM_KINDS), name="kind"),
        UniqueConstraint("merchant_id", "source_id", "side", "ext_id", "kind"),
        Index("ix_recon_item_bank", "merchant_id", "id", postgresql_where=text("side = 'bank'")),
        Index("ix_recon_item_converted", "merchant_id", "id", postgresql_where=text("side = 'psp' and currency <> net_currency")),
        Index("ix_recon_item_payout", "merchant_id", "source_id", "batch_ref", postgresql_where=text("kind = 'payout'")),
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
    created_at: Mapped[datetime]


class Booking(Base):
    """What the books have of an item: the key it stands under, the correction of its fee, the gain or loss of its rate, and how often it was booked.

    A row of its own, because items are wide and come by the million, and each is booked after it was stored. Items are never removed.
    """

    __tablename__ = "recon_booking"

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    item_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Text(collation="C"))
    fee_minor: Mapped[int] = mapped_column(server_default=text("0"))
    rate_minor: Mapped[int] = mapped_column(server_default=text("0"))
    times: Mapped[int] = mapped_column(server_default=text("1"))


class Match(Base):
    """Items that are the same money, where people or several items are part of it, and pairs that were undone, with the moment."""

    __tablename__ = "recon_match"
    __table_args__ = (
        CheckConstraint("leg in ('line', 'batch', 'payout')", name="leg"),
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


class ItemPayout(Base):
    """A payout that an item is about: the one a bank line names, or several that one line carries out together."""

    __tablename__ = "recon_item_payout"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "item_id"], ["recon_item.merchant_id", "recon_item.id"]),
        ForeignKeyConstraint(["merchant_id", "payout_id"], ["payout.merchant_id", "payout.id"]),
        Index("ix_recon_item_payout_payout", "merchant_id", "payout_id"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    item_id: Mapped[UUID] = mapped_column(primary_key=True)
    payout_id: Mapped[UUID] = mapped_column(primary_key=True)


class Pair(Base):
    """A ledger item and a provider's line that the rules found to be the same money: the live matches there are millions of, in one row each.

    Both items are read by the statement that writes the row, and no item is ever removed, so foreign keys would only cost time.
    ``fee_off`` is what the line's fee has more than the booked one, where one was booked in the same currency.
    """

    __tablename__ = "recon_pair"
    __table_args__ = (
        UniqueConstraint("merchant_id", "ledger_id"),
        Index("ix_recon_pair_fee_off", "merchant_id", postgresql_where=text("fee_off <> 0")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    psp_id: Mapped[UUID] = mapped_column(primary_key=True)
    ledger_id: Mapped[UUID]
    rule: Mapped[str]
    rule_version: Mapped[int]
    fee_off: Mapped[int]
    made_at: Mapped[datetime]


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
    requested_parts: Mapped[dict[str, int] | None] = mapped_column(JSONB(none_as_null=True))
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


class InvariantCheck(Base):
    """One time every invariant was checked, with what each found."""

    __tablename__ = "recon_check"

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    checked_at: Mapped[datetime]
    checked_by: Mapped[str]
    proof: Mapped[dict[str, Any]]
