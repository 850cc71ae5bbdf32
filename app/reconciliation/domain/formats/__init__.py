"""The formats of settlement files and bank statements, by the name people call them."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

import msgspec

from app.core.errors import Invalid
from app.reconciliation.domain.formats import adyen, bai2, braintree, camt053, mapped, mt940, paypal, simulated, square, stripe
from app.reconciliation.domain.formats.mapped import ColumnMapping, MappingIncomplete
from app.reconciliation.domain.lines import Line, Side, Tally, check_ids


class FormatUnknown(Invalid):
    """There is no reader for files of this format."""

    code = "settlement_format_unknown"
    title = "This file format is not known"


class Format(msgspec.Struct, frozen=True):
    """A kind of file: what it is called, whose word it is, and what reads it. Only a mapped one needs a mapping."""

    title: str
    side: Side
    read: Callable[[BinaryIO, Tally], Iterator[Line]] | None


CSV = "csv"
FORMATS: dict[str, Format] = {
    "simulated": Format("Simulator settlement", Side.PSP, simulated.read),
    "stripe": Format("Stripe payout reconciliation", Side.PSP, stripe.read),
    "adyen": Format("Adyen settlement details", Side.PSP, adyen.read),
    "paypal": Format("PayPal settlement report (STL)", Side.PSP, paypal.read),
    "braintree": Format("Braintree disbursements and fees", Side.PSP, braintree.read),
    "square": Format("Square payout entries", Side.PSP, square.read),
    "camt053": Format("Bank statement camt.053", Side.BANK, camt053.read),
    "mt940": Format("Bank statement MT940", Side.BANK, mt940.read),
    "bai2": Format("Bank statement BAI2", Side.BANK, bai2.read),
    CSV: Format("Any CSV with a mapping", Side.PSP, None),
}


def read(name: str, source: BinaryIO, tally: Tally, *, mapping: ColumnMapping | None = None) -> Iterator[Line]:
    """The lines of a file, one at a time, counted into ``tally`` as they pass. ``FileRefused`` may come as late as after the last line."""
    known = FORMATS.get(name)
    if known is None:
        raise FormatUnknown(f"There is no format “{name[:40]}”; there are {', '.join(FORMATS)}.")
    if known.read is not None:
        lines = known.read(source, tally)
    elif mapping is not None:
        lines = mapped.read(source, tally, mapping)
    else:
        raise MappingIncomplete("A CSV file is read by a mapping of its columns.", fields={"mapping": "Give a mapping."})
    for line in lines:
        check_ids(line)
        tally.add(line)
        yield line


def prove(name: str, source: BinaryIO, *, mapping: ColumnMapping | None = None) -> Tally:
    """Read a file to its end and give its totals, or refuse it; the source is left where it began."""
    tally = Tally()
    for _ in read(name, source, tally, mapping=mapping):
        continue
    source.seek(0)
    return tally
