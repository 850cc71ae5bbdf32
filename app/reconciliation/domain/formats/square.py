"""Square: payouts with their entries, as its API answers. Amounts are minor units; a batch payout is the sum of its entries' net amounts.

Taken: one object or a list of objects, each with ``payout`` (or ``payouts``) and ``payout_entries`` in any combination, also one object a line.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from app.core.money import Money
from app.reconciliation.domain.formats.rows import Row, day, line_of, moment, refuse_unwritable
from app.reconciliation.domain.lines import FileRefused, Line, LineKind, Tally, UnreadableField

MAX_DOCUMENT = 64 << 20
"""A JSON document has to be read whole; larger ones come as one object a line."""

KINDS = {
    "CHARGE": LineKind.CHARGE,
    "THIRD_PARTY_FEE": LineKind.FEE,
    "REFUND": LineKind.REFUND,
    "DISPUTE": LineKind.DISPUTE,
    "FEE": LineKind.FEE,
    "TAX_ON_FEE": LineKind.FEE,
    "APP_FEE_REVENUE": LineKind.ADJUSTMENT,
    "APP_FEE_REFUND": LineKind.ADJUSTMENT,
    "ADJUSTMENT": LineKind.ADJUSTMENT,
    "OTHER": LineKind.ADJUSTMENT,
    "OTHER_ADJUSTMENT": LineKind.ADJUSTMENT,
    "DEPOSIT_FEE": LineKind.FEE,
    "DEPOSIT_FEE_REVERSED": LineKind.FEE,
    "HOLD_ADJUSTMENT": LineKind.RESERVE_HOLD,
    "RELEASE_ADJUSTMENT": LineKind.RESERVE_RELEASE,
    "RESERVE_HOLD": LineKind.RESERVE_HOLD,
    "RESERVE_RELEASE": LineKind.RESERVE_RELEASE,
    "RETURNED_PAYOUT": LineKind.PAYOUT_REVERSAL,
    "PAYOUT": LineKind.PAYOUT,
    "OPEN_DISPUTE": LineKind.DISPUTE,
    "DISPUTE_WON": LineKind.DISPUTE_REVERSAL,
    "DISPUTE_REVERSED": LineKind.DISPUTE_REVERSAL,
    "INITIAL_BALANCE_CHANGE": LineKind.ADJUSTMENT,
    "BALANCE_FOLDERS_TRANSFER": LineKind.TRANSFER,
    "BALANCE_FOLDERS_TRANSFER_REVERSED": LineKind.TRANSFER,
    "GIFT_CARD_LOAD_FEE": LineKind.FEE,
    "AFTERPAY_FEE": LineKind.FEE,
    "CASH_APP_PAY_FEE": LineKind.FEE,
    "REFUND_PROCESSING_FEE": LineKind.FEE,
    "SQUARE_CAPITAL_PAYMENT": LineKind.ADJUSTMENT,
    "SQUARE_PAYROLL_TRANSFER": LineKind.TRANSFER,
    "AUTOMATIC_SAVINGS": LineKind.TRANSFER,
}


class _Amount(msgspec.Struct):
    amount: int
    currency: str

    @property
    def money(self) -> Money:
        """The amount."""
        return Money.taken(self.amount, self.currency)


class _Fee(msgspec.Struct):
    amount_money: _Amount | None = None


class _Payout(msgspec.Struct):
    id: str
    status: str = ""
    amount_money: _Amount | None = None
    type: str = "BATCH"
    payout_fee: list[_Fee] = []
    arrival_date: str | None = None
    end_to_end_id: str | None = None


class _Entry(msgspec.Struct):
    id: str
    payout_id: str = ""
    effective_at: str | None = None
    type: str = ""
    gross_amount_money: _Amount | None = None
    fee_amount_money: _Amount | None = None
    net_amount_money: _Amount | None = None
    type_charge_details: dict[str, msgspec.Raw] | None = None
    type_refund_details: dict[str, msgspec.Raw] | None = None
    type_dispute_details: dict[str, msgspec.Raw] | None = None

    @property
    def payment(self) -> str | None:
        """The payment the entry is about."""
        for details in (self.type_charge_details, self.type_refund_details, self.type_dispute_details):
            if details and "payment_id" in details:
                return _text(details["payment_id"])
        return None


def _text(raw: msgspec.Raw) -> str:
    """A value that was passed over while the document was read: what is in it was not looked at yet."""
    try:
        return str(msgspec.json.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UnreadableField("the id of its payment cannot be read.") from None


class _Answer(msgspec.Struct):
    payout: _Payout | None = None
    payouts: list[_Payout] = []
    payout_entries: list[_Entry] = []


def read(source: BinaryIO, tally: Tally) -> Iterator[Line]:
    """Every entry; a batch payout that is not the sum of its entries refuses the file."""
    answers = _documents(source)
    payouts = {payout.id: payout for answer in answers for payout in [*answer.payouts, *([answer.payout] if answer.payout else [])]}
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    last: dict[str, int] = {}
    number = 0
    for answer in answers:
        alone = answer.payout.id if answer.payout else ""
        for entry in answer.payout_entries:
            number += 1
            row = Row(number, {"id": entry.id, "type": entry.type})
            batch = entry.payout_id or alone
            line = line_of(
                row,
                lambda row, entry=entry, batch=batch: _line(row.number, entry, batch, payouts.get(batch)),  # type: ignore[misc]
                ext_id=entry.id,
                raw_type=entry.type,
            )
            if line.net is not None and line.batch:
                sums[line.batch, line.net.currency] += line.net.minor
                last[line.batch] = number
            yield line
    if not payouts and not number:
        raise FileRefused("There are neither payouts nor entries of payouts in this document.")
    _prove(payouts, sums, last, tally)


def _documents(source: BinaryIO) -> list[_Answer]:
    raw = source.read(MAX_DOCUMENT + 1)
    if len(raw) > MAX_DOCUMENT:
        raise FileRefused(f"The document is larger than {MAX_DOCUMENT >> 20} MiB.")
    raw = raw.removeprefix(b"\xef\xbb\xbf").strip()
    refuse_unwritable(raw.decode("latin-1"))
    try:
        if raw.startswith(b"["):
            return msgspec.json.decode(raw, type=list[_Answer])
        try:
            return [msgspec.json.decode(raw, type=_Answer)]
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            return msgspec.json.Decoder(_Answer).decode_lines(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileRefused(f"This is not a JSON answer of Square: {error}.") from None


def _line(number: int, entry: _Entry, batch: str, payout: _Payout | None) -> Line:
    gross, fee, net = (part.money if part else None for part in (entry.gross_amount_money, entry.fee_amount_money, entry.net_amount_money))
    sound = gross is None or net is None or net == gross - (fee or Money.zero(gross.currency))
    return Line(
        number=number,
        kind=KINDS.get(entry.type, LineKind.UNKNOWN),
        raw_type=entry.type,
        ext_id=entry.id,
        parent_ext_id=entry.payment,
        batch=batch or None,
        gross=gross,
        fee=fee,
        net=net,
        occurred_at=moment(entry.effective_at or ""),
        available_on=day(payout.arrival_date or "") if payout else None,
        references=[value for value in (batch, payout.end_to_end_id if payout else None) if value],
        problem=None if sound and net else "has no net amount." if net is None else "its net amount is not gross less fee.",
    )


def _prove(payouts: dict[str, _Payout], sums: dict[tuple[str, str], int], last: dict[str, int], tally: Tally) -> None:
    for payout in payouts.values():
        if payout.type != "BATCH" or payout.amount_money is None:
            continue
        paid = payout.amount_money.money
        counted = Money(sums.get((payout.id, paid.currency), 0), paid.currency)
        if counted != paid:
            said = f"{paid.decimal()} {paid.currency}, its entries come to {counted.decimal()}"
            raise FileRefused(f"payout {payout.id} is {said}.", line=last.get(payout.id))
        total = tally.total(payout.id, paid.currency)
        total.is_proven, total.paid_out_minor = True, paid.minor
