"""What the simulated provider settles: one file per account and day, and the statement of the bank it pays to.

Everything is computed from the payments themselves, so the same day always gives the same file. Breaks are planted on request, each in a way
that leaves the file's own totals right: they are for whoever compares it with the books.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import msgspec
from litestar import Request, get
from litestar.datastructures import State
from litestar.exceptions import ValidationException
from litestar.response import Response

from app.core.money import Money
from app.psp.simulator.domain import Operation, OperationStatus, Payment
from app.psp.simulator.store import DAY, Store
from app.psp.simulator.world import World

COLUMNS = ("batch", "line", "type", "payment", "reference", "created_at", "available_on", "currency", "gross", "fee", "net")
IBAN = "DE02120300000000202051"
Req = Request[object, object, State]


class Plant(StrEnum):
    """What can be made wrong in a file or a statement, each with the first charge of the day, or the first order the bank carried out."""

    MISSING = "missing"
    AMOUNT = "amount"
    ROUNDING = "rounding"
    FEE = "fee"
    DUPLICATE = "duplicate"
    UNBOOKED = "unbooked"
    DISPUTE = "dispute"
    ORPHAN_REFUND = "orphan_refund"
    ORPHAN_DISPUTE = "orphan_dispute"
    UNKNOWN_TYPE = "unknown_type"
    ACCOUNT_FEE = "account_fee"
    RESERVE_HOLD = "reserve_hold"
    RESERVE_RELEASE = "reserve_release"
    BANK_SHORT = "bank_short"
    BANK_MISSING = "bank_missing"
    BANK_STRAY = "bank_stray"
    BANK_FEE = "bank_fee"
    BANK_FEE_HIGH = "bank_fee_high"
    BANK_DEBIT = "bank_debit"
    BANK_TWICE = "bank_twice"
    BANK_UNPAID = "bank_unpaid"
    BANK_MORE = "bank_more"


class SettlementLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line before it is written; the batch of its currency closes it."""

    id: str
    type: str
    payment: str
    reference: str
    at: float
    currency: str
    gross: int
    fee: int = 0

    @property
    def net(self) -> int:
        """What is paid out for it."""
        return self.gross - self.fee


def lines_of(store: Store, account: str, day: date) -> list[SettlementLine]:
    """What was captured and refunded on a day, in the order it happened."""
    start = datetime.combine(day, datetime.min.time(), UTC).timestamp()
    operations = [
        operation
        for operation in store.operations.values()
        if operation.account == account and operation.status is OperationStatus.SUCCEEDED and operation.kind in {"capture", "refund"}
    ]
    captured: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.kind == "capture":
            captured.setdefault(operation.payment, []).append(operation)
    at_once = [_charge(payment, captured.get(payment.id, [])) for payment in store.payments.values() if payment.account == account]
    lines = [line for line in at_once if line is not None] + [_operation(operation) for operation in operations]
    return sorted((line for line in lines if start <= line.at < start + DAY), key=lambda line: (line.at, line.id))


def _charge(payment: Payment, later: Sequence[Operation]) -> SettlementLine | None:
    """What a payment took at once, without an operation of its own."""
    gross = payment.amount_captured - sum(operation.amount for operation in later)
    if gross <= 0:
        return None
    return SettlementLine(
        id=f"{payment.id}-st",
        type="charge",
        payment=payment.id,
        reference=payment.reference,
        at=payment.created_at,
        currency=payment.currency,
        gross=gross,
        fee=payment.fee - sum(operation.fee for operation in later),
    )


def _operation(operation: Operation) -> SettlementLine:
    is_capture = operation.kind == "capture"
    return SettlementLine(
        id=f"{operation.id}-st",
        type="charge" if is_capture else "refund",
        payment=operation.id if is_capture else operation.payment,
        reference=operation.reference,
        at=operation.created_at,
        currency=operation.currency,
        gross=operation.amount if is_capture else -operation.amount,
        fee=operation.fee if is_capture else 0,
    )


def plant(lines: Sequence[SettlementLine], wanted: Iterable[Plant]) -> list[SettlementLine]:
    """The lines with something wrong: one charge for each thing that is wanted, in their order, as long as there are charges."""
    altered = list(lines)
    charges = [place for place, line in enumerate(lines) if line.type == "charge"]
    for place, kind in zip(charges, [kind for kind in Plant if kind in set(wanted) and not kind.startswith("bank_")], strict=False):
        _plant_one(altered, place, kind)
    return [line for line in altered if line.gross or line.fee]


def _plant_one(lines: list[SettlementLine], place: int, kind: Plant) -> None:
    line = lines[place]
    change = msgspec.structs.replace
    match kind:
        case Plant.MISSING:
            lines[place] = change(line, gross=0, fee=0)
        case Plant.AMOUNT:
            lines[place] = change(line, gross=line.gross - min(100, line.gross // 2))
        case Plant.ROUNDING:
            lines[place] = change(line, gross=line.gross + 1)
        case Plant.FEE:
            lines[place] = change(line, fee=line.fee + 500)
        case Plant.DUPLICATE:
            lines.append(change(line, id=f"{line.id}-twice"))
        case Plant.DISPUTE:
            lines.append(change(line, id=f"{line.id}-dp", type="dispute", gross=-line.gross, fee=1500, reference=""))
        case _:
            stray = {Plant.UNBOOKED: "charge", Plant.ORPHAN_REFUND: "refund", Plant.ORPHAN_DISPUTE: "dispute", Plant.ACCOUNT_FEE: "fee"}
            stray |= {reserve: str(reserve) for reserve in (Plant.RESERVE_HOLD, Plant.RESERVE_RELEASE)}
            sign = 1 if kind in {Plant.UNBOOKED, Plant.UNKNOWN_TYPE, Plant.RESERVE_RELEASE} else -1
            name = f"{kind}_{line.id}"
            lines.append(change(line, id=name, type=stray.get(kind, "moonshot"), payment=name, reference="", gross=sign * 777, fee=0))


def batches(lines: Sequence[SettlementLine], account: str, day: date) -> dict[str, list[SettlementLine]]:
    """The lines by batch: one per currency."""
    found: dict[str, list[SettlementLine]] = {}
    for line in lines:
        found.setdefault(f"set_{account}_{day:%Y%m%d}_{line.currency}", []).append(line)
    return found


def settlement_file(lines: Sequence[SettlementLine], account: str, day: date) -> str:
    """The day's file: every batch with the payout that closes it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for batch, some in batches(lines, account, day).items():
        for line in some:
            at = datetime.fromtimestamp(line.at, UTC).isoformat(timespec="seconds")
            amounts = (line.currency, line.gross, line.fee, line.net)
            writer.writerow((batch, line.id, line.type, line.payment, line.reference, at, day + timedelta(days=1), *amounts))
        paid = -sum(line.net for line in some)
        at = f"{day + timedelta(days=1)}T02:00:00+00:00"
        writer.writerow((batch, f"{batch}_out", "payout", "", "", at, day + timedelta(days=1), some[0].currency, paid, 0, paid))
    return out.getvalue()


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the statement: money for a batch, an order that was carried out or came back, the bank's own fee. Debits are negative.

    ``reference`` is what it names, ``code`` the bank's word for a fee, ``reason`` why an order came back.
    """

    id: str
    reference: str
    text: str
    minor: int
    code: str = ""
    reason: str = ""


def credits(lines: Sequence[SettlementLine], account: str, day: date, currency: str, wanted: Iterable[Plant]) -> list[Entry]:
    """What reaches the bank for a day's batches of a currency."""
    planted = set(wanted)
    found = []
    for batch, some in batches(lines, account, day).items():
        if some[0].currency == currency and Plant.BANK_MISSING not in planted:
            minor = sum(line.net for line in some) - (300 if Plant.BANK_SHORT in planted else 0)
            found.append(Entry(id=batch, reference=batch, text=f"SIMULATED PAYMENTS {batch}", minor=minor))
    others = {
        Plant.BANK_STRAY: Entry(id=f"stray-{day:%Y%m%d}", reference="NOTPROVIDED", text="THANK YOU", minor=4_242),
        Plant.BANK_DEBIT: Entry(id=f"debit-{day:%Y%m%d}", reference="NOTPROVIDED", text="STANDING ORDER", minor=-1_234),
        Plant.BANK_FEE: Entry(id=f"fee-{day:%Y%m%d}", reference="NOTPROVIDED", text="ACCOUNT FEE", minor=-900, code="CHRG"),
        Plant.BANK_FEE_HIGH: Entry(id=f"fees-{day:%Y%m%d}", reference="NOTPROVIDED", text="YEARLY FEE", minor=-90_000, code="CHRG"),
    }
    return [entry for entry in (*found, *(entry for kind, entry in others.items() if kind in planted)) if entry.minor]


def orders(store: Store, account: str, day: date, currency: str, wanted: Iterable[Plant]) -> list[Entry]:
    """What the bank carried out on a day, and what came back to it, in the order it happened."""
    start = datetime.combine(day, datetime.min.time(), UTC).timestamp()
    found: list[tuple[float, Entry]] = []
    for transfer in store.transfers.values():
        if (transfer.account, transfer.currency) != (account, currency):
            continue
        line = Entry(id=transfer.id, reference=transfer.reference, text="PAYOUT", minor=-transfer.amount)
        back = msgspec.structs.replace(line, id=f"{transfer.id}-back", minor=transfer.amount, reason=transfer.code or "")
        found += [(at, entry) for at, entry in ((transfer.paid_at, line), (transfer.returned_at, back)) if at is not None]
    carried = sorted((each for each in found if start <= each[0] < start + DAY), key=lambda each: (each[0], each[1].id))
    return _plant_orders([entry for _, entry in carried], set(wanted))


def _plant_orders(entries: list[Entry], wanted: set[Plant]) -> list[Entry]:
    """The entries with something wrong: one debit for each thing that is wanted, as long as there are debits."""
    change = msgspec.structs.replace
    places = [place for place, entry in enumerate(entries) if entry.minor < 0]
    for place, kind in zip(
        places, [kind for kind in (Plant.BANK_TWICE, Plant.BANK_UNPAID, Plant.BANK_MORE) if kind in wanted], strict=False
    ):
        entry = entries[place]
        match kind:
            case Plant.BANK_TWICE:
                entries.append(change(entry, id=f"{entry.id}-twice"))
            case Plant.BANK_UNPAID:
                entries[place] = change(entry, minor=0)
            case _:
                entries[place] = change(entry, minor=entry.minor - 100)
    return [entry for entry in entries if entry.minor]


def entries_of(store: Store, account: str, day: date, currency: str, wanted: Iterable[Plant] = ()) -> list[Entry]:
    """Everything the bank booked on a day: the batches of the day before, and the orders of the day."""
    settled, planted = day - timedelta(days=1), list(wanted)
    lines = plant(lines_of(store, account, settled), planted)
    return [*credits(lines, account, settled, currency, planted), *orders(store, account, day, currency, planted)]


def bank_statement(entries: Sequence[Entry], *, number: int, opening: int, currency: str, day: date) -> str:
    """A camt.053 statement of one day."""
    closing = opening + sum(entry.minor for entry in entries)
    booked = "".join(_entry(entry, currency, day) for entry in entries)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt>'
        f"<GrpHdr><MsgId>SIM{number}</MsgId><CreDtTm>{day}T23:59:59</CreDtTm></GrpHdr><Stmt><Id>SIM{number}</Id>"
        f"<ElctrncSeqNb>{number}</ElctrncSeqNb><Acct><Id><IBAN>{IBAN}</IBAN></Id><Ccy>{currency}</Ccy></Acct>"
        f"{_balance('OPBD', opening, currency, day)}{_balance('CLBD', closing, currency, day)}{booked}</Stmt></BkToCstmrStmt></Document>\n"
    )


def _entry(entry: Entry, currency: str, day: date) -> str:
    code = f"<BkTxCd><Domn><Cd>ACMT</Cd><Fmly><Cd>MDOP</Cd><SubFmlyCd>{entry.code}</SubFmlyCd></Fmly></Domn></BkTxCd>" if entry.code else ""
    reason = f"<RtrInf><Rsn><Cd>{entry.reason}</Cd></Rsn></RtrInf>" if entry.reason else ""
    return (
        f"<Ntry>{_amount(entry.minor, currency)}<Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>{day}</Dt></BookgDt><ValDt><Dt>{day}</Dt></ValDt>"
        f"<AcctSvcrRef>BK-{entry.id}</AcctSvcrRef>{code}<NtryDtls><TxDtls><Refs><EndToEndId>{entry.reference}</EndToEndId></Refs>{reason}"
        f"<RmtInf><Ustrd>{entry.text}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"
    )


def _balance(kind: str, minor: int, currency: str, day: date) -> str:
    return f"<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp>{_amount(minor, currency)}<Dt><Dt>{day}</Dt></Dt></Bal>"


def _amount(minor: int, currency: str) -> str:
    return f'<Amt Ccy="{currency}">{Money(abs(minor), currency).decimal()}</Amt><CdtDbtInd>{"CRDT" if minor >= 0 else "DBIT"}</CdtDbtInd>'


def _wanted(text: str) -> list[Plant]:
    try:
        return [Plant(word.strip()) for word in text.split(",") if word.strip()]
    except ValueError:
        raise ValidationException(f"What can be planted: {', '.join(Plant)}.") from None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValidationException("Write the day as 2026-11-30.") from None


@get("/_settlements/file")
async def get_file(request: Req, account: str, day: str, plant_breaks: str = "") -> Response[str]:
    """The settlement file of an account for a day."""
    world: World = request.app.state.world
    lines = plant(lines_of(world.store, account, _day(day)), _wanted(plant_breaks))
    return Response(settlement_file(lines, account, _day(day)), media_type="text/csv")


@get("/_settlements/statement")
async def get_statement(
    request: Req, account: str, day: str, currency: str = "EUR", since: str = "", plant_breaks: str = ""
) -> Response[str]:
    """The bank's statement for a day: the batches of the day before reach it, and the day's orders leave. ``since`` is the first day with money, for the balance."""
    world: World = request.app.state.world
    today, wanted = _day(day), _wanted(plant_breaks)
    first = _day(since) if since else today - timedelta(days=1)
    earlier = [first + timedelta(days=back) for back in range((today - first).days)]
    opening = sum(entry.minor for past in earlier for entry in entries_of(world.store, account, past, currency))
    entries = entries_of(world.store, account, today, currency, wanted)
    number = len(earlier) + 1
    return Response(bank_statement(entries, number=number, opening=opening, currency=currency, day=today), media_type="application/xml")


ROUTES = [get_file, get_statement]
