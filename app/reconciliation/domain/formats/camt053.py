"""Bank statements in ISO 20022 camt.053, of every version: read element by element, so that size costs no memory. Entities are refused."""

from collections.abc import Callable, Iterator
from typing import BinaryIO
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from app.core.errors import Invalid
from app.core.money import Money
from app.reconciliation.domain.formats.rows import Row, amount, day, line_of, moment, same
from app.reconciliation.domain.formats.statements import Chain, Statement, is_reference, kind_of
from app.reconciliation.domain.lines import FileRefused, Line, Side, Tally, UnreadableField

OPENING = ("OPBD", "PRCD")
CLOSING = "CLBD"
BOOKED = ("BOOK", "")
IDS = ("EndToEndId", "TxId", "InstrId", "MsgId", "PmtInfId", "MndtId", "AcctSvcrRef", "UETR", "ChqNb", "Prtry/Ref")


class _Lines:
    """Gives the parser one line at a time, so that whatever it reports is known to stand in the line it was given last."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._is_new = True
        self.number = 0

    def read(self, size: int) -> bytes:
        """The next line, or as much of it as is asked for."""
        line = self._source.readline(size)
        self.number += self._is_new and bool(line)
        self._is_new = line.endswith(b"\n")
        return line


def read(source: BinaryIO, tally: Tally) -> Iterator[Line]:
    """Every booked entry; a statement that does not add up, or does not follow the one before it, refuses the file."""
    chain, number, seen, lines = Chain(tally), 0, 0, _Lines(source)
    statement = Statement(account="", currency="")
    path: list[str] = []
    try:
        for event, element in iterparse(lines, events=("start", "end"), forbid_dtd=True):
            name = element.tag.rpartition("}")[2]
            if event == "start":
                path.append(name)
                if name == "Stmt":
                    statement = Statement(account="", currency="")
                continue
            path.pop()
            _take(statement, path, name, element)
            if name == "Ntry" and path[-1:] == ["Stmt"]:
                number += 1
                yield from _entries(element, number, lines.number, statement)
                element.clear()
            elif name == "Stmt":
                seen += 1
                statement.line = lines.number
                chain.close(statement)
                element.clear()
    except DefusedXmlException:
        raise FileRefused("The file declares a document type or entities; a statement has none, so it is not read.") from None
    except ParseError as error:
        raise FileRefused(f"is not well-formed XML: {error}.", line=error.position[0]) from None
    except (LookupError, ValueError) as error:
        raise FileRefused(f"The file is in an encoding that cannot be read: {error}.") from None
    if not seen:
        raise FileRefused("There is no bank statement (Stmt) in this file.")


def _take(statement: Statement, path: list[str], name: str, element: Element) -> None:
    """What stands above the entries: account, currency, number and balances."""
    if path[-1:] != ["Stmt"]:
        return
    try:
        if name == "Acct":
            statement.account = _text(element, "Id/IBAN") or _text(element, "Id/Othr/Id")
            statement.currency = _text(element, "Ccy")
        elif name == "ElctrncSeqNb" or (name == "LglSeqNb" and not statement.number):
            statement.number = (element.text or "").strip()
        elif name == "Bal":
            _balance(statement, element)
    except Invalid as error:
        raise FileRefused(f"The statement of {statement.account or 'an account'}: {error.detail}") from None


def _balance(statement: Statement, element: Element) -> None:
    kind = _text(element, "Tp/CdOrPrtry/Cd")
    if kind not in (*OPENING, CLOSING):
        return
    balance = _signed(element)
    statement.currency = statement.currency or balance.currency
    if kind == CLOSING:
        statement.closing, statement.closed_on = balance, day(_text(element, "Dt/Dt") or _text(element, "Dt/DtTm"))
    elif kind == "OPBD" or statement.opening is None:
        statement.opening = balance


def _entries(entry: Element, number: int, place: int, statement: Statement) -> Iterator[Line]:
    status = _text(entry, "Sts/Cd") or _text(entry, "Sts")
    if status not in BOOKED:
        return  # pending entries are announced, not booked: they are in no balance
    details = _all(entry, "NtryDtls/TxDtls")
    row = Row(place, {"Ntry": str(number), "Amt": _text(entry, "Amt")})
    whole = line_of(row, lambda row: _line(entry, entry, row, statement), ext_id=_text(entry, "AcctSvcrRef"), raw_type=_code(entry))
    if whole.net is None:
        raise FileRefused(f"entry {number} has no amount that can be read: {whole.problem}", line=place)
    if whole.net.currency != statement.currency:
        raise FileRefused(f"entry {number} is in {whole.net.currency}, the account in {statement.currency}.", line=place)
    statement.entries_minor += whole.net.minor
    parts = [] if len(details) < 2 else [_part(entry, detail, index, whole, statement) for index, detail in enumerate(details, 1)]
    sums = [part.net.minor for part in parts if part.net is not None and part.net.currency == whole.net.currency]
    if parts and len(sums) == len(parts) and sum(sums) == whole.net.minor:
        yield from parts
    else:
        yield whole  # a collective entry whose parts are not told, or not in its currency


def _part(entry: Element, detail: Element, index: int, whole: Line, statement: Statement) -> Line:
    row = Row(whole.number, {"Ntry": whole.ext_id, "detail": str(index)})
    build: Callable[[Row], Line] = lambda row: _line(entry, detail, row, statement, part=index)  # noqa: E731
    return line_of(row, build, ext_id=f"{whole.ext_id}#{index}", raw_type=whole.raw_type)


def _line(entry: Element, detail: Element, row: Row, statement: Statement, *, part: int = 0) -> Line:
    net = _signed(detail, otherwise=_text(entry, "CdtDbtInd"))
    scope = [detail] if part else [entry, *_all(entry, "NtryDtls/TxDtls")]
    ids = [value for name in IDS for element in scope for value in _found(element, name)]
    references = list(dict.fromkeys(value for value in ids if is_reference(value)))
    given = _text(entry, "AcctSvcrRef")
    account_reference = given if is_reference(given) else statement.name_of(_text(entry, "NtryRef") or row["Ntry"])
    reason = _text(detail, "RtrInf/Rsn/Cd") or _text(entry, "NtryDtls/TxDtls/RtrInf/Rsn/Cd")
    return Line(
        number=row.number,
        side=Side.BANK,
        kind=kind_of(_code(entry), net),
        raw_type="/".join(value for value in (_code(entry), reason) if value),
        ext_id=f"{account_reference}#{part}" if part else account_reference,
        account=same(statement.account),
        batch=statement.batch if statement.number else None,
        gross=net,
        net=net,
        booked_on=day(_text(entry, "BookgDt/Dt") or _text(entry, "BookgDt/DtTm")),
        available_on=day(_text(entry, "ValDt/Dt") or _text(entry, "ValDt/DtTm")),
        occurred_at=moment(_text(entry, "BookgDt/DtTm")),
        references=references,
        text=same(" ".join(value for element in scope for value in _remittance(element))[:2000]),
    )


def _signed(element: Element, *, otherwise: str = "") -> Money:
    """An amount with its sign. RvslInd tells why an entry is there; the indicator of credit or debit is of the entry itself."""
    found = _one(element, "Amt")
    if found is None:
        found = _one(element, "AmtDtls/TxAmt/Amt")
    if found is None:
        raise UnreadableField("there is no amount.")
    side = _text(element, "CdtDbtInd") or otherwise
    if side not in {"CRDT", "DBIT"}:
        raise UnreadableField(f"“{side[:20]}” is neither CRDT nor DBIT.")
    text = (found.text or "").strip()
    if not text or text.startswith(("-", "+")) or "," in text:
        raise UnreadableField(f"“{text[:40]}” is not an amount.")
    money = amount(text.rstrip("0").rstrip(".") if "." in text else text, found.get("Ccy", ""))
    return money if side == "CRDT" else -money


def _code(entry: Element) -> str:
    parts = [_text(entry, f"BkTxCd/Domn/{path}") for path in ("Cd", "Fmly/Cd", "Fmly/SubFmlyCd")]
    return "-".join(part for part in parts if part) or _text(entry, "BkTxCd/Prtry/Cd")


def _remittance(element: Element) -> Iterator[str]:
    yield from _found(element, "Ustrd")
    yield from _found(element, "AddtlNtryInf")
    yield from _found(element, "AddtlTxInf")


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _found(element: Element, name: str) -> Iterator[str]:
    """The texts of every element of this name, wherever below."""
    last = name.rpartition("/")[2]
    yield from ((child.text or "").strip() for child in element.iter() if _local(child) == last and (child.text or "").strip())


def _all(element: Element, path: str) -> list[Element]:
    found = [element]
    for name in path.split("/"):
        found = [child for parent in found for child in parent if _local(child) == name]
    return found


def _one(element: Element, path: str) -> Element | None:
    return next(iter(_all(element, path)), None)


def _text(element: Element, path: str) -> str:
    found = _one(element, path)
    return (found.text or "").strip() if found is not None else ""
