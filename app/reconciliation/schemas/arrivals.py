"""What the pages about sources and the files on their way in are made of."""

from datetime import date, datetime, timedelta
from typing import Self

import msgspec

from app.core.clock import now
from app.core.ids import public_id
from app.core.paging import Page
from app.reconciliation.domain.arrivals import MAX_FILE, UNDER_WAY, ArrivalStatus, Origin
from app.reconciliation.domain.feeds import EVERY, FetchOutcome
from app.reconciliation.models import Source
from app.reconciliation.models.arrivals import Arrival
from app.reconciliation.schemas import BreakRow, FileRow, RunRow, SourceRow

ORIGINS = {Origin.UPLOAD: "handed in", Origin.FETCH: "fetched", Origin.DROP: "from the drop folder"}
QUIET = timedelta(minutes=2)
"""Longer than a job that lives keeps silent."""


class ArrivalRow(msgspec.Struct, frozen=True, kw_only=True):
    """A file on its way in."""

    id: str
    source_id: str
    source: str
    name: str
    origin: Origin
    status: ArrivalStatus
    size_bytes: int
    read_bytes: int
    read_lines: int
    reason: str | None
    reason_line: int | None
    by: str
    at: datetime
    seen_at: datetime
    finished_at: datetime | None
    sha256: str

    @classmethod
    def of(cls, found: Arrival, source: Source) -> Self:
        """The row of an arrival."""
        return cls(
            id=public_id("rar", found.id),
            source_id=public_id("rsc", source.id),
            source=source.name,
            name=found.name,
            origin=Origin(found.origin),
            status=ArrivalStatus(found.status),
            size_bytes=found.size_bytes,
            read_bytes=found.read_bytes,
            read_lines=found.read_lines,
            reason=found.reason,
            reason_line=found.reason_line,
            by=found.brought_by,
            at=found.received_at,
            seen_at=found.seen_at,
            finished_at=found.finished_at,
            sha256=found.sha256,
        )

    @property
    def is_under_way(self) -> bool:
        """Whether somebody is still at work on it."""
        return self.status in UNDER_WAY

    @property
    def is_quiet(self) -> bool:
        """Whether nobody has said for long that they are at work on it."""
        return self.is_under_way and now() - self.seen_at > QUIET

    @property
    def how(self) -> str:
        """How it came."""
        return ORIGINS[self.origin]

    @property
    def size(self) -> str:
        """Its size as people say it."""
        return megabytes(self.size_bytes)

    @property
    def percent(self) -> int:
        """How much of it was read."""
        return min(100, self.read_bytes * 100 // self.size_bytes) if self.size_bytes else 0


class FeedRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is fetched for a source by the clock, and how the last look went."""

    connection: str
    connection_id: str
    minutes: int
    since: date
    is_on: bool
    next_at: datetime
    tried_at: datetime | None
    outcome: FetchOutcome | None
    reason: str | None
    tries: int
    is_looking: bool

    @property
    def every(self) -> str:
        """How often."""
        return EVERY[self.minutes]


class SourcePage(msgspec.Struct, kw_only=True):
    """A source with what is fetched for it, what is on its way in, and its files."""

    source: SourceRow
    feed: FeedRow | None
    feed_connections: list[tuple[str, str]]
    first_day: date
    drop_folder: str | None
    under_way: list[ArrivalRow]
    files: Page[FileRow]

    @property
    def intervals(self) -> list[tuple[str, str]]:
        """How often may be looked."""
        return [(str(minutes), name) for minutes, name in EVERY.items()]

    @property
    def most_bytes(self) -> int:
        """The largest file that is taken."""
        return MAX_FILE


class ArrivalPage(msgspec.Struct, kw_only=True):
    """A file on its way in, and what came of it."""

    row: ArrivalRow
    file: FileRow | None
    run: RunRow | None
    breaks: list[BreakRow]

    @property
    def path(self) -> str:
        """Where this page is."""
        return f"/reconciliation/arrivals/{self.row.id}"

    @property
    def steps(self) -> list[tuple[str, str, str]]:
        """How far it is, for the stepper."""
        row, status = self.row, self.row.status
        reached = {A.RECEIVED: 1, A.READING: 1, A.REFUSED: 1, A.REPEATED: 3, A.COMPARING: 2, A.COMPARED: 3}[status]
        read = "refused" if status is A.REFUSED else counted(row.read_lines, "line", "lines") if reached > 1 else f"{row.percent} %"
        open_breaks = len(self.breaks)
        told = [
            ("Received", row.size),
            ("Read", "nothing new" if status is A.REPEATED else read),
            (
                "Compared",
                counted(self.run.matches, "match", "matches")
                if self.run
                else "nothing to do"
                if status is A.REPEATED
                else "with all sources",
            ),
        ]
        steps = [(name, note, _state(place, reached)) for place, (name, note) in enumerate(told)]
        review = "done" if reached == 3 and not open_breaks else "now" if reached == 3 else "todo"
        return [*steps, ("Review", f"{counted(open_breaks, 'break', 'breaks')} of this file" if reached == 3 else "waits", review)]


A = ArrivalStatus


def _state(place: int, reached: int) -> str:
    return "done" if place < reached else "now" if place == reached else "todo"


def counted(count: int, one: str, many: str) -> str:
    """A number with what it counts."""
    return f"{count:,} {one if count == 1 else many}"


def megabytes(size: int) -> str:
    """A number of bytes as people say it."""
    return f"{size / (1 << 20):.1f} MB" if size >= 1 << 20 else f"{size / 1024:.1f} kB" if size >= 1024 else f"{size} bytes"
