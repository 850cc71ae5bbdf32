"""Files for spreadsheets: CSV that is sent while it is read, with cells that no spreadsheet takes for a formula."""

import csv
import io
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence

from litestar.response import Stream

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Row = Sequence[object]


def cell(value: object) -> str:
    """One value as text. A text that a spreadsheet would run is quoted with an apostrophe; numbers keep their sign."""
    text = "" if value is None else str(value)
    if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def csv_text(rows: Iterable[Row]) -> str:
    """Rows as lines of CSV (RFC 4180)."""
    out = io.StringIO()
    csv.writer(out).writerows([cell(value) for value in row] for row in rows)
    return out.getvalue()


def csv_download(name: str, header: Sequence[str], batches: AsyncIterable[Sequence[Row]]) -> Stream:
    """Send the batches of rows as a CSV file. The batches are read while they are sent, so the iterator opens its own unit of work."""
    return Stream(
        _lines(header, batches),
        media_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{_file_name(name)}.csv"', "Cache-Control": "no-store"},
    )


def file_download(name: str, parts: AsyncIterable[bytes]) -> Stream:
    """Send a file as it is kept. It is never shown in the browser, whatever is in it."""
    return Stream(
        parts,
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{_file_name(name)}"', "Cache-Control": "no-store"},
    )


async def _lines(header: Sequence[str], batches: AsyncIterable[Sequence[Row]]) -> AsyncIterator[bytes]:
    yield csv_text([header]).encode()
    async for batch in batches:
        yield csv_text(batch).encode()


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "export"
