"""The drop folder: what is moved in is taken once, and what is refused is set aside with its reason."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from app.core import settings as house
from app.core.failpoints import FailpointRaised, enable
from app.core.ids import public_id
from app.reconciliation.domain.arrivals import MAX_FILE
from app.reconciliation.drops import flows as drops
from app.reconciliation.queries import SOURCE
from tests.reconciliation.conftest import Desk, SettlementLine, settlement

CONTENT = settlement([SettlementLine(id="x", gross=100)])


@pytest.fixture
def folder(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the provider's source."""
    changed = msgspec.structs.replace(house.settings(), drop_folder=str(tmp_path))
    monkeypatch.setattr("app.reconciliation.drops.flows.settings", lambda: changed)
    place = tmp_path / public_id("mer", desk.shop.merchant_id) / public_id(SOURCE, desk.psp.id)
    place.mkdir(parents=True)
    return place


def lying(folder: Path) -> list[str]:
    """What lies there, without the ids before the names."""
    found = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [str(path.parent / path.name.rpartition("-")[2]).removeprefix("./") for path in found]


async def test_a_file_is_taken_once_even_if_the_sweeper_dies(desk: Desk, folder: Path) -> None:
    (folder / "day.csv").write_bytes(CONTENT)
    (folder / "half.csv.part").write_bytes(CONTENT)
    (folder / "link.csv").symlink_to("/etc/hostname")
    os.mkfifo(folder / "pipe.csv")
    enable("reconciliation.dropped", "raise")
    try:
        with pytest.raises(FailpointRaised):
            await drops.sweep()
    finally:
        enable("reconciliation.dropped", "off")
    assert await drops.sweep() == 1
    assert await drops.sweep() == 0
    await desk.work()
    assert desk.query("select origin, name, status from recon_arrival") == [("drop", "day.csv", "compared")]
    assert [name for name in lying(folder) if "link" not in name] == ["half.csv.part", "taken/day.csv"]


async def test_what_is_refused_is_set_aside_with_its_reason(desk: Desk, folder: Path) -> None:
    (folder / "wrong.csv").write_bytes(CONTENT.replace(b"100,0,100", b"101,0,101"))
    (folder / "empty.csv").write_bytes(b"")
    with (folder / "large.csv").open("wb") as large:
        large.truncate(MAX_FILE + 1)
    assert await drops.sweep() == 1
    await desk.work()
    await desk.work()
    assert lying(folder) == [f"refused/{name}{end}" for name in ("empty.csv", "large.csv", "wrong.csv") for end in ("", ".reason.txt")]
    reasons = {path.name.rpartition("-")[2]: path.read_text() for path in folder.glob("refused/*.reason.txt")}
    assert reasons["empty.csv.reason.txt"] == "There is nothing in this file.\n"
    assert reasons["large.csv.reason.txt"] == "A file has 50 MB at most.\n"
    assert reasons["wrong.csv.reason.txt"].startswith("Line 3: batch set_1 does not add up")


async def test_a_folder_of_nobody_is_left_alone(desk: Desk, folder: Path) -> None:
    other = folder.parent / public_id(SOURCE, desk.shop.merchant_id)
    for place in (other, folder.parent / "rsc_nonsense"):
        place.mkdir()
        (place / "day.csv").write_bytes(CONTENT)
    assert await drops.sweep() == 0
    assert (other / "day.csv").exists()


async def test_what_was_refused_before_under_the_same_name_is_kept(desk: Desk, folder: Path) -> None:
    for day in range(1, 4):
        with (folder / "large.csv").open("wb") as large:
            large.write(f"day {day}".encode())
            large.truncate(MAX_FILE + 1)
        assert await drops.sweep() == 0
    days = {path.name: path.read_bytes()[:5] for path in folder.glob("refused/*.csv")}
    assert days == {"large.csv": b"day 1", "large.2.csv": b"day 2", "large.3.csv": b"day 3"}
    assert len(list(folder.glob("refused/*.reason.txt"))) == 3


@pytest.mark.parametrize("name", ["x" * 246 + ".csv", "é" * 125 + ".csv"])
async def test_a_name_as_long_as_a_folder_takes_is_no_obstacle(desk: Desk, folder: Path, name: str) -> None:
    (folder / name).write_bytes(CONTENT)
    assert await drops.sweep() == 1
    assert await drops.sweep() == 0
    (folder / name).write_bytes(b"")
    assert await drops.sweep() == 0
    assert [path for path in folder.iterdir() if path.is_file()] == []
