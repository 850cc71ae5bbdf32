"""The drop folder: files that another program moves in are taken once, and set aside with the reason when they are refused.

Below the folder stand ``mer_…/rsc_…``, a merchant and one of its sources. A file is to be moved in under its name, not written there:
only then it is whole when it is seen. What was stored lies in ``taken``, what was refused in ``refused`` with a text beside it that says why.
"""

import os
import stat
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import structlog

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.errors import AppError, NotFound
from app.core.failpoints import failpoint
from app.core.ids import MerchantId, parse_id, public_id
from app.core.settings import settings
from app.reconciliation import queries
from app.reconciliation.arrivals import service as arrivals
from app.reconciliation.domain.arrivals import ArrivalStatus, Origin
from app.reconciliation.models.arrivals import Arrival

MERCHANT = "mer"
TAKEN, REFUSED = "taken", "refused"
UNFINISHED = (".part", ".tmp", ".filepart", ".crdownload")
"""How programs call a file they are still writing."""
LONGEST_NAME = 200
"""Bytes; folders take names of 255."""
WHO = "Drop folder"
log = structlog.get_logger(__name__)


async def sweep() -> int:
    """Take in every file that lies in the drop folder; returns how many were taken."""
    taken = 0
    for merchant_id, source_id, path in _waiting():
        try:
            taken += await _take(merchant_id, source_id, path)
        except OSError as error:
            log.warning("drop_unreadable", file=path.name, error=str(error))
    return taken


def _waiting() -> Iterator[tuple[MerchantId, UUID, Path]]:
    root = Path(settings().drop_folder) if settings().drop_folder else None
    if root is None or not root.is_dir():
        return
    for folder in sorted(root.glob(f"{MERCHANT}_*/{queries.SOURCE}_*")):
        try:
            merchant_id, source_id = MerchantId(parse_id(MERCHANT, folder.parent.name)), parse_id(queries.SOURCE, folder.name)
        except AppError:
            log.warning("drop_unknown_folder", folder=folder.name)
            continue
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.is_symlink() and not path.name.startswith(".") and path.suffix not in UNFINISHED:
                yield merchant_id, source_id, path


async def _take(merchant_id: MerchantId, source_id: UUID, path: Path) -> bool:
    with _opened(path) as content:
        try:
            async with unit_of_work(merchant_id) as session:
                source = await queries.source(session, merchant_id=merchant_id, source_id=source_id)
                actor = Actor.worker(merchant_id, WHO)
                arrival = await arrivals.receive(session, actor, source=source, name=path.name, content=content, origin=Origin.DROP)
        except NotFound:
            log.warning("drop_unknown_source", source=path.parent.name)
            return False
        except AppError as refused:
            _set_aside(path, _free_name(path.parent / REFUSED, path.name), refused.detail)
            return False
    # dying here leaves the file where it was: it is seen again, known by its content, and only moved
    await failpoint("reconciliation.dropped")
    _move(path, path.parent / TAKEN / f"{public_id(queries.ARRIVAL, arrival.id)}-{_short(path.name)}")
    async with unit_of_work(merchant_id) as session:
        set_aside_refused(await queries.arrival(session, merchant_id=merchant_id, arrival_id=arrival.id))
    return True


def set_aside_refused(arrival: Arrival) -> None:
    """Move the file of a refused arrival out of those that were taken, and write the reason beside it. Doing it twice changes nothing."""
    if arrival.status != ArrivalStatus.REFUSED or not settings().drop_folder:
        return
    ids = public_id(MERCHANT, arrival.merchant_id), public_id(queries.SOURCE, arrival.source_id)
    folder = Path(settings().drop_folder).joinpath(*ids)
    reason = f"Line {arrival.reason_line}: {arrival.reason}" if arrival.reason_line else str(arrival.reason)
    for path in sorted((folder / TAKEN).glob(f"{public_id(queries.ARRIVAL, arrival.id)}-*")):
        _set_aside(path, path.name, reason, folder=folder)


def _set_aside(path: Path, name: str, reason: str, *, folder: Path | None = None) -> None:
    place = (folder or path.parent) / REFUSED
    place.mkdir(exist_ok=True)
    # the reason first: a file that lies there without one would leave somebody guessing
    (place / f"{name}.reason.txt").write_text(f"{reason}\n", encoding="utf-8")
    _move(path, place / name)


def _free_name(place: Path, name: str) -> str:
    """The name of a file, or one near it: what was refused under the same name before lies there still, and may be the only copy."""
    path = Path(_short(name))
    names = (path.name if number == 1 else f"{path.stem}.{number}{path.suffix}" for number in count(1))
    return next(each for each in names if not (place / each).exists())


def _short(name: str) -> str:
    """The end of a name, with room for what is written around it: longer ones no folder takes, and the file would be seen for ever."""
    return name.encode()[-LONGEST_NAME:].decode(errors="ignore")


def _move(path: Path, to: Path) -> None:
    to.parent.mkdir(exist_ok=True)
    path.replace(to)


def _opened(path: Path) -> BinaryIO:
    """The file itself; a link that took its place since it was seen is not followed, and a pipe not waited for."""
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(f"{path.name} is no file")
    return os.fdopen(number, "rb")
