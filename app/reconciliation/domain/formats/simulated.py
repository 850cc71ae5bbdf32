"""The simulated provider's settlement file: one CSV per account and day, amounts in minor units, every batch closed by its payout line."""

from collections import defaultdict
from collections.abc import Iterator
from typing import BinaryIO

from app.core.money import Money
from app.reconciliation.domain.formats.rows import Row, day, line_of, minor, moment, required, same, table
from app.reconciliation.domain.lines import FileRefused, Line, LineKind, Tally

NEEDED = ("batch", "line", "type", "payment", "reference", "currency", "gross", "fee", "net")

KINDS = {
    "charge": LineKind.CHARGE,
    "refund": LineKind.REFUND,
    "refund_failure": LineKind.REFUND_REVERSAL,
    "dispute": LineKind.DISPUTE,
    "dispute_won": LineKind.DISPUTE_REVERSAL,
    "fee": LineKind.FEE,
    "reserve_hold": LineKind.RESERVE_HOLD,
    "reserve_release": LineKind.RESERVE_RELEASE,
    "adjustment": LineKind.ADJUSTMENT,
    "payout": LineKind.PAYOUT,
}


def read(source: BinaryIO, tally: Tally) -> Iterator[Line]:
    """Every line; a batch that its payout does not close refuses the file."""
    left: defaultdict[tuple[str, str], int] = defaultdict(int)
    last: dict[tuple[str, str], int] = {}
    for row in table(source, needed=NEEDED):
        line = line_of(row, _line, ext_id=row["line"], raw_type=row["type"])
        if line.net is not None:
            key = (line.batch or "", line.net.currency)
            left[key] += line.net.minor
            last[key] = row.number
        yield line
    for key, rest in left.items():
        if rest:
            difference = f"{Money(rest, key[1]).decimal()} {key[1]}"
            raise FileRefused(f"batch {key[0]} does not add up: its lines and its payout differ by {difference}.", line=last[key])
        tally.total(key[0] or None, key[1]).is_proven = True


_UNKNOWN = LineKind.UNKNOWN


def _line(row: Row) -> Line:
    currency, raw_type = required(row, "currency").upper(), row["type"]
    gross, fee, net = minor(required(row, "gross"), currency), minor(required(row, "fee"), currency), minor(required(row, "net"), currency)
    return Line(
        number=row.number,
        kind=KINDS.get(raw_type, _UNKNOWN),
        raw_type=raw_type,
        ext_id=required(row, "line"),
        parent_ext_id=same(row["payment"]),
        merchant_ref=same(row["reference"]),
        batch=required(row, "batch"),
        gross=gross,
        fee=fee,
        net=net,
        occurred_at=moment(row["created_at"]),
        available_on=day(row["available_on"]),
        problem=None
        if net.minor == gross.minor - fee.minor
        else f"net {net.decimal()} is not gross {gross.decimal()} less fee {fee.decimal()}.",
    )
