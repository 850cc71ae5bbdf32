"""What a bank answers to a file of orders: pain.002, of every version. Pure.

A word on the whole file counts for the orders that have none of their own. What was accepted is not paid yet: that is for the statement to say.
"""

from collections.abc import Iterator
from typing import BinaryIO
from xml.etree.ElementTree import Element, ParseError

import msgspec
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import parse

from app.core.errors import Invalid
from app.payouts.domain.port import BankWord

WORDS = {
    "RCVD": BankWord.ACCEPTED,
    "PDNG": BankWord.ACCEPTED,
    "ACTC": BankWord.ACCEPTED,
    "ACCP": BankWord.ACCEPTED,
    "ACWC": BankWord.ACCEPTED,
    "ACSP": BankWord.IN_TRANSIT,
    "ACSC": BankWord.IN_TRANSIT,
    "ACCC": BankWord.IN_TRANSIT,
    "RJCT": BankWord.REFUSED,
    "CANC": BankWord.REFUSED,
}
"""The status codes of ISO 20022 (external code set), as far as they say something of an order."""
PARTLY = "PART"


class StatusFileRefused(Invalid):
    """The file is no pain.002, or says something that no status code means; nothing of it counts."""

    code = "payout_status_file_refused"
    title = "This status file was refused"


class OrderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the bank says of one order; without an end-to-end id of the whole file that ``file`` names."""

    end_to_end_id: str | None
    file: str | None
    word: BankWord
    code: str | None
    message: str | None


def read_status_file(source: BinaryIO) -> list[OrderStatus]:
    """Every word of the bank, those on whole files first."""
    try:
        root = parse(source, forbid_dtd=True).getroot()
    except DefusedXmlException:
        raise StatusFileRefused("The file declares a document type or entities; a status file has none, so it is not read.") from None
    except (ParseError, LookupError, ValueError) as error:
        raise StatusFileRefused(f"This is not well-formed XML: {error}.") from None
    reports = [element for element in root.iter() if _local(element) == "CstmrPmtStsRpt"]
    if not reports:
        raise StatusFileRefused("There is no payment status report (pain.002) in this file.")
    found = [status for report in reports for status in _statuses(report)]
    return sorted(found, key=lambda status: status.end_to_end_id is not None)


def _statuses(report: Element) -> Iterator[OrderStatus]:
    for group in _children(report, "OrgnlGrpInfAndSts"):
        yield from _whole(group, _text(group, "OrgnlMsgId"), "GrpSts")
    for payment in _children(report, "OrgnlPmtInfAndSts"):
        yield from _whole(payment, _text(payment, "OrgnlPmtInfId"), "PmtInfSts")
        for order in _children(payment, "TxInfAndSts"):
            name = _text(order, "OrgnlEndToEndId")
            if not name:
                raise StatusFileRefused("An order in this file has no end-to-end ID (OrgnlEndToEndId).")
            status = _text(order, "TxSts")
            if status:
                yield _status(order, status, end_to_end_id=name)


def _whole(element: Element, name: str, place: str) -> Iterator[OrderStatus]:
    status = _text(element, place)
    if status and status != PARTLY:
        yield _status(element, status, file=name or None)


def _status(element: Element, status: str, *, end_to_end_id: str | None = None, file: str | None = None) -> OrderStatus:
    word = WORDS.get(status)
    if word is None:
        raise StatusFileRefused(f"“{status[:20]}” is not a status this file can have.")
    reasons = _children(element, "StsRsnInf")
    code = next((text for reason in reasons for rsn in _children(reason, "Rsn") if (text := _text(rsn, "Cd") or _text(rsn, "Prtry"))), None)
    message = " ".join((line.text or "").strip() for reason in reasons for line in _children(reason, "AddtlInf")) or None
    return OrderStatus(
        end_to_end_id=end_to_end_id, file=file, word=word, code=code[:35] if code else None, message=message[:500] if message else None
    )


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _children(element: Element, name: str) -> list[Element]:
    return [child for child in element if _local(child) == name]


def _text(element: Element, name: str) -> str:
    return next(((child.text or "").strip() for child in _children(element, name)), "")
