"""Processes left behind by a demo that was killed: the next one stops them, and only them."""

from pathlib import Path

import msgspec
import psutil

from app.cli.supervisor import kill_tree


class Stray(msgspec.Struct, frozen=True):
    """A process by its id and the moment it began, because ids are used again."""

    pid: int
    began: float


def remember(data: Path, pids: list[int]) -> None:
    """Write down the processes of a running demo."""
    strays = [Stray(pid, psutil.Process(pid).create_time()) for pid in pids if psutil.pid_exists(pid)]
    _file(data).write_bytes(msgspec.json.encode(strays))


def forget(data: Path) -> None:
    """The demo has stopped its processes itself."""
    _file(data).unlink(missing_ok=True)


def stop_strays(data: Path) -> None:
    """Stop what a killed demo left running."""
    if not _file(data).exists():
        return
    for stray in msgspec.json.decode(_file(data).read_bytes(), type=list[Stray]):
        try:
            if abs(psutil.Process(stray.pid).create_time() - stray.began) < 1:
                kill_tree(stray.pid)
        except psutil.NoSuchProcess:
            continue
    forget(data)


def _file(data: Path) -> Path:
    return data / "processes.json"
