"""`make bench`: measures the parts that are asked for, shows their tables, and writes var/bench.json.

    make bench
    make bench ARGS="ledger payin"
    make bench ARGS="lists --rows 100000 --seconds 2"

Each part starts a PostgreSQL of its own with fsync on and deletes it at the end; nothing but the loopback address is used.
"""

import argparse
import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from app.cli.demo import ended_by_signals
from app.cli.installation import DATA, ROOT
from bench import ledger, lists, payin, recon
from bench.figures import Figure, table
from bench.house import House, open_house

PARTS: dict[str, tuple[str, Callable[[House, argparse.Namespace], list[Figure]]]] = {
    "ledger": ("Captures, called directly", lambda house, asked: ledger.run(house, seconds=asked.seconds)),
    "payin": ("Pay-ins over HTTP, two web workers", lambda house, asked: payin.run(house, seconds=2 * asked.seconds)),
    "lists": ("Pages of a merchant with {rows:,} payments", lambda house, asked: lists.run(house, rows=asked.rows, seconds=asked.seconds)),
    "recon": ("Reconciliation of {rows:,} lines with as many payments", lambda house, asked: recon.run(house, rows=asked.rows)),
}


class Report(msgspec.Struct, kw_only=True):
    """One run on one machine."""

    at: datetime
    commit: str
    machine: str
    load_before: float
    rows: int
    figures: list[Figure]


def main() -> None:
    """Measure what is asked for."""
    asked = arguments()
    load = os.getloadavg()[0]
    print(f"{machine()}; load {load:.1f}")
    if load > 1:
        print("Other work is going on: every figure will be lower than this machine can do, and ratios less certain.")
    figures: list[Figure] = []
    for name in asked.parts or list(PARTS):
        title, measure = PARTS[name]
        began = time.monotonic()
        print(f"\n{title.format(rows=asked.rows)}", flush=True)
        with open_house() as house:
            found = measure(house, asked)
        figures += found
        print(f"\n{table(found)}\n({time.monotonic() - began:.0f} s)", flush=True)
    report = Report(at=datetime.now(UTC), commit=commit(), machine=machine(), load_before=load, rows=asked.rows, figures=figures)
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    print(f"\nWritten to {asked.output}")


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure; every number as a ratio to a floor measured in the same run.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them otherwise")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each workload runs (default 3; pay-ins twice as long)")
    parser.add_argument(
        "--rows",
        type=int,
        default=1_000_000,
        help="payments of the merchant whose pages are opened, and lines of the file that is reconciled",
    )
    parser.add_argument("--output", type=Path, default=DATA / "bench.json", help="where the figures are written")
    asked = parser.parse_args()
    unknown = set(asked.parts) - PARTS.keys()
    if unknown:
        parser.error(f"there is no part called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return asked


def machine() -> str:
    """The machine, as far as it matters here."""
    cpuinfo = Path("/proc/cpuinfo")
    models = (
        [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    return (
        f"{os.cpu_count()} cores {models[0] if models else platform.processor() or platform.machine()}, Python {platform.python_version()}"
    )


def commit() -> str:
    """Which state of the code was measured; unknown outside a checkout."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    with ended_by_signals():
        main()
