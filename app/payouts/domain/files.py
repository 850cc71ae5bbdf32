"""Bank files: orders written as pain.001 (SEPA), NACHA (ACH) or CSV. Pure, and the same batch gives the same bytes however often it is written."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime

import msgspec
from sepaxml import SepaTransfer
from sepaxml.validation import try_valid_xml

from app.core.money import total
from app.payouts.domain import MOST_IN_FILE, FundingAccountInvalid, Rail
from app.payouts.domain.port import BankOrder

PAIN = "pain.001.001.09"
LINE = 94
BLOCK = 10


class Debtor(msgspec.Struct, frozen=True, kw_only=True):
    """Our own account, from which the file pays; the number is in clear only here."""

    name: str
    number: str
    routing: str = ""
    bic: str = ""
    company_id: str = ""


class BankFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it is handed to the bank."""

    name: str
    media_type: str
    body: bytes


def write_file(
    rail: Rail, *, reference: str, debtor: Debtor, orders: Sequence[BankOrder], value_on: date, created_at: datetime
) -> BankFile:
    """The file for a batch. ``reference`` names it at the bank; a file that its own schema refuses is never handed out."""
    match rail:
        case Rail.SEPA:
            body = pain_001(reference=reference, debtor=debtor, orders=orders, value_on=value_on, created_at=created_at)
            return BankFile(name=f"{reference}.xml", media_type="application/xml", body=body)
        case Rail.ACH:
            body = nacha(debtor=debtor, orders=orders, value_on=value_on, created_at=created_at)
            return BankFile(name=f"{reference}.ach", media_type="text/plain", body=body)
        case Rail.CSV:
            return BankFile(name=f"{reference}.csv", media_type="text/csv", body=plain_csv(orders=orders, value_on=value_on))
        case Rail.API:
            raise FundingAccountInvalid("Orders of this account travel by calls, not in files.")


def pain_001(*, reference: str, debtor: Debtor, orders: Sequence[BankOrder], value_on: date, created_at: datetime) -> bytes:
    """SEPA credit transfers as pain.001.001.09, checked against the schema of ISO 20022."""
    config = {"name": sepa_text(debtor.name, 70), "IBAN": debtor.number, "batch": True, "currency": "EUR"}
    if debtor.bic:
        config["BIC"] = debtor.bic
    transfer = SepaTransfer(config, schema=PAIN, clean=False)
    for order in orders:
        payment: dict[str, object] = {
            "name": sepa_text(order.creditor_name, 70),
            "IBAN": order.number,
            "amount": order.amount.minor,
            "execution_date": value_on,
            "description": sepa_text(order.text or order.end_to_end_id, 140),
            "endtoend_id": order.end_to_end_id,
        }
        transfer.add_payment(payment | ({"BIC": order.bic} if order.bic else {}))
    # the writer draws its ids and looks at the clock; ours come from the batch, so that the file can be written again
    text: str = transfer.export(validate=False).decode()
    for tag, value in (("MsgId", reference), ("PmtInfId", reference), ("CreDtTm", f"{created_at:%Y-%m-%dT%H:%M:%S}")):
        text = re.sub(rf"<{tag}>[^<]*</{tag}>", f"<{tag}>{value}</{tag}>", text)
    body: bytes = text.encode()
    try_valid_xml(body, PAIN)
    return body


def sepa_text(text: str, most: int) -> str:
    """A text in the letters that every SEPA bank takes."""
    plain = re.sub(r"[^A-Za-z0-9/\-?:().,'+ ]", " ", _without_accents(text))
    return " ".join(plain.split())[:most] or "-"


def nacha(*, debtor: Debtor, orders: Sequence[BankOrder], value_on: date, created_at: datetime) -> bytes:
    """ACH credits as a NACHA file of one CCD batch; the end-to-end id travels whole in an addendum."""
    if any(order.amount.minor > MOST_IN_FILE[Rail.ACH] for order in orders):
        raise FundingAccountInvalid("An ACH entry is at most $99,999,999.99.")
    if not all(re.fullmatch(r"[0-9]{9}", routing) for routing in (debtor.routing, *(order.routing for order in orders))):
        raise FundingAccountInvalid("An account in this batch has no ABA routing number; an ACH file reaches US accounts only.")
    odfi, credits_ = debtor.routing[:8], total([order.amount for order in orders], "USD").minor
    entry_hash = sum(int(order.routing[:8]) for order in orders) % 10**10
    lines = [_file_header(debtor, created_at), _batch_header(debtor, odfi, value_on)]
    lines += [line for number, order in enumerate(orders, start=1) for line in _entry(order, odfi, number)]
    count = 2 * len(orders)
    lines.append(f"8220{count:06}{entry_hash:010}{0:012}{credits_:012}{debtor.company_id:<10.10}{'':25}{odfi:8}{1:07}")
    blocks = -(-(len(lines) + 1) // BLOCK)
    lines.append(f"9{1:06}{blocks:06}{count:08}{entry_hash:010}{0:012}{credits_:012}{'':39}")
    lines += ["9" * LINE] * (blocks * BLOCK - len(lines))
    if any(len(line) != LINE for line in lines):
        raise FundingAccountInvalid("A name or number does not fit into a NACHA file.")
    return ("\n".join(lines) + "\n").encode("ascii")


def _file_header(debtor: Debtor, created_at: datetime) -> str:
    names = f"{_ach_text(debtor.name, 23)}{_ach_text(debtor.name, 23)}"
    return f"101 {debtor.routing:9}{debtor.company_id:>10.10}{created_at:%y%m%d%H%M}A094101{names}{'':8}"


def _batch_header(debtor: Debtor, odfi: str, value_on: date) -> str:
    head = f"5220{_ach_text(debtor.name, 16)}{'':20}{debtor.company_id:<10.10}CCD{'PAYOUT':<10}"
    return f"{head}{value_on:%y%m%d}{value_on:%y%m%d}{'':3}1{odfi:8}{1:07}"


def _entry(order: BankOrder, odfi: str, number: int) -> Iterator[str]:
    """One credit to a checking account, and the addendum with its whole name."""
    short, name = order.end_to_end_id[-15:], _ach_text(order.creditor_name, 22)
    yield f"622{order.routing:9}{order.number:<17.17}{order.amount.minor:010}{short:<15}{name}{'':2}1{odfi:8}{number:07}"
    yield f"705{order.end_to_end_id:<80.80}{1:04}{number:07}"


def _ach_text(text: str, width: int) -> str:
    plain = re.sub(r"[^A-Za-z0-9 .,&/-]", " ", _without_accents(text)).upper()
    return f"{' '.join(plain.split()):<{width}.{width}}"


def _without_accents(text: str) -> str:
    # its tables are 5 MB that only a process needs which writes such a file
    from text_unidecode import unidecode

    return str(unidecode(text))


COLUMNS = ("end_to_end_id", "value_date", "amount", "currency", "creditor", "account_kind", "number", "routing", "bic", "text")


def plain_csv(*, orders: Sequence[BankOrder], value_on: date) -> bytes:
    """Orders as lines of CSV, for a bank's own upload page."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for order in orders:
        texts = [order.creditor_name, order.account_kind, order.number, order.routing, order.bic, order.text]
        amount = order.amount
        writer.writerow(
            [order.end_to_end_id, value_on.isoformat(), amount.decimal(), amount.currency, *(_no_formula(text) for text in texts)]
        )
    return out.getvalue().encode()


def _no_formula(text: str) -> str:
    """A spreadsheet takes a text that begins so for a formula; an apostrophe before it makes it a text again."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
