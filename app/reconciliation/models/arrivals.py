"""Tables of files on their way in, and of what is fetched by the clock."""

from collections.abc import Iterable
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.psp.domain import ReportKind
from app.reconciliation.domain.arrivals import ARRIVAL, Origin
from app.reconciliation.domain.feeds import FetchOutcome

_SOURCE = (["merchant_id", "source_id"], ["recon_source.merchant_id", "recon_source.id"])


def _one_of(column: str, values: Iterable[str]) -> str:
    return f"{column} in ({', '.join(repr(str(value)) for value in values)})"


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
