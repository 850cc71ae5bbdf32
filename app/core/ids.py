"""Identifiers: time-ordered uuids inside, ``pay_01J…`` outside.

A public id is a prefix that names the noun and 26 characters of Crockford base 32, so an id can be read aloud, double-clicked and
recognised. The database keeps the bare uuid.
"""

import os
import threading
from datetime import datetime
from typing import NewType
from uuid import UUID

from app.core import clock
from app.core.errors import Invalid, NotFound

MerchantId = NewType("MerchantId", UUID)
PersonId = NewType("PersonId", UUID)
SellerId = NewType("SellerId", UUID)
OrderId = NewType("OrderId", UUID)
OrderLineId = NewType("OrderLineId", UUID)
PaymentId = NewType("PaymentId", UUID)
AttemptId = NewType("AttemptId", UUID)
CaptureId = NewType("CaptureId", UUID)
RefundId = NewType("RefundId", UUID)
ConnectionId = NewType("ConnectionId", UUID)
PspEventId = NewType("PspEventId", UUID)
ApiKeyId = NewType("ApiKeyId", UUID)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {c: i for i, c in enumerate(_ALPHABET)}
_lock = threading.Lock()
_last = 0
_SECOND = 4096 * 1000


class MalformedId(Invalid):
    """The text is not an identifier of the expected kind."""

    code = "malformed_id"
    title = "This is not a valid identifier"


def new_id() -> UUID:
    """A new uuid of version 7: ordered by time, and strictly increasing within a process."""
    global _last  # noqa: PLW0603 - one counter per process is the point
    with _lock:
        # 48 bits of milliseconds and 12 bits of fraction, as RFC 9562 6.2 method 3 allows
        stamp = clock.nanoseconds() * 4096 // 1_000_000
        # a step back of more than a second is a test or the demo's history travelling, not a clock being set right
        _last = stamp if stamp > _last or stamp < _last - _SECOND else _last + 1
        stamp = _last
    random = int.from_bytes(os.urandom(8)) & ((1 << 62) - 1)
    value = ((stamp >> 12) << 80) | (0x7 << 76) | ((stamp & 0xFFF) << 64) | (0b10 << 62) | random
    return UUID(int=value)


def first_id_at(moment: datetime) -> UUID:
    """The smallest id that can have been made at or after the moment: a range of time is a range of ids, which every list is sorted by."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return UUID(int=((milliseconds & ((1 << 48) - 1)) << 80) | (0x7 << 76) | (0b10 << 62))


_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_UPPER, _LOWER, _TEN = 60, (1 << 60) - 1, 1023


def public_id(prefix: str, value: UUID) -> str:
    """The id as people and APIs see it: ``public_id("pay", …)`` gives ``pay_01…``."""
    # two digits at a time, from two numbers a processor can hold: pages and answers are full of ids
    pairs, up, low = _PAIRS, value.int >> _UPPER, value.int & _LOWER
    return (
        f"{prefix}_{pairs[up >> 60]}{pairs[up >> 50 & _TEN]}{pairs[up >> 40 & _TEN]}{pairs[up >> 30 & _TEN]}{pairs[up >> 20 & _TEN]}"
        f"{pairs[up >> 10 & _TEN]}{pairs[up & _TEN]}{pairs[low >> 50]}{pairs[low >> 40 & _TEN]}{pairs[low >> 30 & _TEN]}"
        f"{pairs[low >> 20 & _TEN]}{pairs[low >> 10 & _TEN]}{pairs[low & _TEN]}"
    )


def _bits_of_digits() -> list[list[tuple[int, bytes]]]:
    """For each of the 26 digits: the bytes of the uuid that hold some of its bits, with a table that moves them into place."""
    digits = []
    for digit in range(26):
        last = digit * 5 + 2
        moves = [(place, 8 * place + 7 - last) for place in range(16)]
        tables = [(place, bytes((byte >> by if by >= 0 else byte << -by) & 31 for byte in range(256))) for place, by in moves]
        digits.append([(place, table) for place, table in tables if any(table)])
    return digits


_BITS = _bits_of_digits()
_LETTERS = _ALPHABET.encode() + bytes(224)


def public_ids(prefix: str, values: bytes) -> bytes:
    """Many ids at once, one after the other without anything between: uuids of 16 bytes each in, public ids out.

    A column of digits at a time instead of an id at a time, which is seven times as fast: files of a million rows need it.
    """
    head, many = f"{prefix}_".encode(), len(values) // 16
    width = len(head) + 26
    written = bytearray((head + bytes(26)) * many)
    for digit, tables in enumerate(_BITS):
        column = 0
        for place, table in tables:
            column |= int.from_bytes(values[place::16].translate(table))
        written[len(head) + digit :: width] = column.to_bytes(many).translate(_LETTERS)
    return bytes(written)


def parse_id(prefix: str, text: str) -> UUID:
    """Read a public id back; another prefix, a wrong length or a strange character is refused."""
    head, _, body = text.strip().partition("_")
    if head != prefix or len(body) != 26 or not set(body.lower()) <= _VALUES.keys():
        raise MalformedId(f"“{text[:60]}” is not an id of this kind; it should look like {prefix}_ and 26 letters and digits.")
    number = 0
    for character in body.lower():
        number = number << 5 | _VALUES[character]
    if number >= 1 << 128:
        raise MalformedId(f"“{text[:60]}” is not an id of this kind.")
    return UUID(int=number)


def path_id(prefix: str, text: str, *, otherwise: NotFound) -> UUID:
    """Read an id that is part of an address; a malformed one leads nowhere, exactly like an unknown one."""
    try:
        return parse_id(prefix, text)
    except MalformedId:
        raise otherwise from None
