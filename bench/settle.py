"""Hands one file in and compares, as a process of its own: how long each step took, and how much memory the process came to need."""

import asyncio
import sys
import time
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import msgspec

from app.core import db
from app.core.actors import Actor
from app.core.clock import today
from app.core.ids import MerchantId
from app.reconciliation import queries
from app.reconciliation.domain import formats, staging
from app.reconciliation.domain.lines import Tally, pieces
from app.reconciliation.files import service as files
from app.reconciliation.runs import service as runs


class Settled(msgspec.Struct, kw_only=True):
    """What one process did, in seconds by step, and its memory before and at its peak."""

    seconds: dict[str, float]
    before_mb: float
    peak_mb: float


def read_only(path: Path) -> float:
    """Read the file and make rows of its lines without a database; seconds."""
    began = time.perf_counter()
    with path.open("rb") as content:
        for _ in staging.blocks(formats.read("simulated", content, Tally()), today()):
            continue
    return time.perf_counter() - began


async def settle(merchant_id: MerchantId, provider: UUID, bank: UUID, path: Path) -> dict[str, float]:
    """Import the file, then compare everything; seconds of the import and of each step of the comparison."""
    actor = Actor.system(merchant_id, "bench")
    seconds: dict[str, float] = {}
    try:
        await _hand_in(actor, bank, path.with_name("statement.csv"))
        seconds["import"] = await _hand_in(actor, provider, path)
        for prefix in ("", "again "):
            began = time.perf_counter()
            steps = [("", began)]
            async with db.unit_of_work(merchant_id) as session:
                await runs.compare(session, actor, done=lambda step, steps=steps: steps.append((step, time.perf_counter())))  # type: ignore[misc]
            steps.append(("record", time.perf_counter()))
            seconds |= {f"{prefix}{name}": at - before for (_, before), (name, at) in pairwise(steps)}
    finally:
        await db.dispose()
    return seconds


async def _hand_in(actor: Actor, source_id: UUID, path: Path) -> float:
    began = time.perf_counter()
    async with db.unit_of_work(actor.merchant) as session:
        source = await queries.source(session, merchant_id=actor.merchant, source_id=source_id)
        with path.open("rb") as content:
            file = await files.import_file(session, actor, source=source, name=path.name, chunks=pieces(content))
        if file.status != "imported":
            raise RuntimeError(f"{file.reason} (line {file.reason_line})")
    return time.perf_counter() - began


def main() -> None:
    """Do it, and say so as JSON."""
    merchant, provider, bank, path = sys.argv[1:]
    before = peak_mb()
    seconds = {"read": read_only(Path(path))}
    seconds |= asyncio.run(settle(MerchantId(UUID(merchant)), UUID(provider), UUID(bank), Path(path)))
    sys.stdout.buffer.write(msgspec.json.encode(Settled(seconds=seconds, before_mb=before, peak_mb=peak_mb())))


def peak_mb() -> float:
    """The most memory the process has had so far."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main()
