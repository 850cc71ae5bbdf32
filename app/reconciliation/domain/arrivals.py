"""Arrivals: a file on its way in, from the moment its bytes are safe until everything was compared with it."""

from enum import StrEnum
from typing import ClassVar

from app.core.errors import Invalid, NotFound
from app.core.events import Event
from app.core.state import Machine

MAX_FILE = 50 << 20
"""The largest file that is taken, in bytes."""


class ArrivalStatus(StrEnum):
    """How far a file has come. A repeated one had been taken before, and changed nothing."""

    RECEIVED = "received"
    READING = "reading"
    COMPARING = "comparing"
    COMPARED = "compared"
    REFUSED = "refused"
    REPEATED = "repeated"


A = ArrivalStatus
UNDER_WAY = (A.RECEIVED, A.READING, A.COMPARING)

ARRIVAL = Machine(
    "arrival",
    states=ArrivalStatus,
    initial=A.RECEIVED,
    transitions={
        "read": ((A.RECEIVED,), A.READING),
        "take": ((A.READING,), A.COMPARING),
        "refuse": ((A.READING,), A.REFUSED),
        "repeat": ((A.RECEIVED, A.READING), A.REPEATED),
        "compare": ((A.COMPARING,), A.COMPARED),
    },
)


class Origin(StrEnum):
    """How a file came: handed in by a person, fetched by the clock, or laid into the drop folder."""

    UPLOAD = "upload"
    FETCH = "fetch"
    DROP = "drop"


class FileReceived(Event, frozen=True, kw_only=True):
    """The bytes of a file are stored; now somebody may read them."""

    topic: ClassVar[str] = "reconciliation.file_received"


class ArrivalNotFound(NotFound):
    code = "reconciliation_arrival_not_found"
    title = "There is no such arrival"


class FileEmpty(Invalid):
    """There is not one byte in the file."""

    code = "reconciliation_file_empty"
    title = "The file is empty"


class FileTooLarge(Invalid):
    """The file holds more than is taken at once."""

    code = "reconciliation_file_too_large"
    title = "The file is too large"
