"""Processes left behind by a demo that was killed: the next one stops them, and only them."""

import os
from pathlib import Path

import msgspec
import psutil

from app.cli.supervisor import kill_tree
from app.core.errors import Conflict


class DemoRunning(Conflict):
    """A demo with these data is running already; two would do each other's work."""

    code = "demo_running"
    title = "The demo is running already"


class Stray(msgspec.Struct, frozen=True):
    """A process by its id and the moment it began, because ids are used again."""

    pid: int
    began: float


class Running(msgspec.Struct, frozen=True):
    """A demo and the processes it started."""

    demo: Stray
    children: list[Stray]


def remember(data: Path, pids: list[int]) -> None:
    """Write down the processes of a running demo."""
    children = [_process(pid) for pid in pids if psutil.pid_exists(pid)]
    _file(data).write_bytes(msgspec.json.encode(Running(demo=_process(os.getpid()), children=children)))


def _process(pid: int) -> Stray:
    return Stray(pid, psutil.Process(pid).create_time())


def forget(data: Path) -> None:
    """The demo has stopped its processes itself."""
    _file(data).unlink(missing_ok=True)


def stop_strays(data: Path) -> None:
    """Stop what a killed demo left running; a demo that still runs is left alone, and this one refused."""
    if not _file(data).exists():
        return
    running = msgspec.json.decode(_file(data).read_bytes(), type=Running)
    if running.demo.pid != os.getpid() and _lives(running.demo):
        raise DemoRunning(
            f"Process {running.demo.pid} runs it with the same data. Stop that one first (Ctrl-C), or keep the data of this one elsewhere: countinghouse --data DIRECTORY demo."
        )
    for stray in running.children:
        if _lives(stray):
            kill_tree(stray.pid)
    forget(data)


def _lives(stray: Stray) -> bool:
    try:
        began: float = psutil.Process(stray.pid).create_time()
    except psutil.NoSuchProcess:
        return False
    return abs(began - stray.began) < 1


def _file(data: Path) -> Path:
    return data / "processes.json"
