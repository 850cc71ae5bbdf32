"""The supervisor: what dies is started again, what hangs is killed, what a killed demo left is swept up."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from app.cli import strays
from app.cli.supervisor import Child, Supervisor

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
DEAF = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"]


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    made = Supervisor({})
    yield made
    made.stop()


def wait_for(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def up(child: Child) -> None:
    wait_for(lambda: "up" in child.last_lines)


class TestSupervisor:
    def test_starts_again_what_was_killed(self, supervisor: Supervisor) -> None:
        child = supervisor.start("job", SLEEP)
        up(child)
        assert child.process is not None
        killed = child.process.pid
        child.process.kill()
        child.process.wait()
        wait_for(lambda: (child.restart_when_dead(), child.is_running)[1])
        assert child.process is not None
        assert child.process.pid != killed

    def test_waits_longer_for_what_keeps_dying(self, supervisor: Supervisor) -> None:
        child = supervisor.start("job", [sys.executable, "-c", "raise SystemExit(3)"])
        waits = []
        for _ in range(3):
            wait_for(lambda: not child.is_running)
            child.restart_when_dead()
            waits.append(child.not_before - time.monotonic())
            child.not_before = 0
            child.restart_when_dead()
        assert waits == sorted(waits)
        assert waits[-1] > 1

    def test_stops_the_last_started_first(self, supervisor: Supervisor) -> None:
        first, second = supervisor.start("first", SLEEP), supervisor.start("second", SLEEP)
        up(first)
        up(second)
        supervisor.stop()
        assert not first.is_running
        assert not second.is_running

    def test_kills_what_does_not_listen(self, supervisor: Supervisor) -> None:
        child = supervisor.start("deaf", DEAF)
        up(child)
        child.ask_to_stop()
        child.wait_or_kill(0.2)
        assert not child.is_running

    def test_shows_lines_under_a_name_once_all_is_up(self, supervisor: Supervisor, capsys: pytest.CaptureFixture[str]) -> None:
        supervisor.quiet = False
        up(supervisor.start("job", SLEEP))
        wait_for(lambda: "job │ up" in capsys.readouterr().out)

    def test_while_starting_only_trouble_is_shown(self, supervisor: Supervisor, capsys: pytest.CaptureFixture[str]) -> None:
        command = [sys.executable, "-c", "print('up', flush=True); print('Error: no', flush=True)"]
        up(supervisor.start("job", command))
        wait_for(lambda: not supervisor.children[0].is_running)
        supervisor.children[0].wait_or_kill(1)
        shown = capsys.readouterr().out
        assert "Error: no" in shown
        assert "up" not in shown


class TestStrays:
    def test_stops_what_a_killed_demo_left(self, tmp_path: Path, supervisor: Supervisor) -> None:
        child = supervisor.start("job", SLEEP)
        up(child)
        assert child.process is not None
        strays.remember(tmp_path, [child.process.pid])
        strays.stop_strays(tmp_path)
        wait_for(lambda: not child.is_running)
        assert list(tmp_path.iterdir()) == []

    def test_leaves_a_process_that_only_got_the_same_number(self, tmp_path: Path, supervisor: Supervisor) -> None:
        child = supervisor.start("job", SLEEP)
        up(child)
        assert child.process is not None
        strays.remember(tmp_path, [child.process.pid])
        file = tmp_path / "processes.json"
        began = psutil.Process(child.process.pid).create_time()
        file.write_text(file.read_text().replace(str(began), str(began - 100)))
        strays.stop_strays(tmp_path)
        assert child.is_running

    def test_leaves_a_demo_that_runs_alone_and_says_so(self, tmp_path: Path, supervisor: Supervisor) -> None:
        other, child = supervisor.start("demo", SLEEP), supervisor.start("job", SLEEP)
        up(other)
        up(child)
        assert other.process is not None
        assert child.process is not None
        strays.remember(tmp_path, [child.process.pid])
        file = tmp_path / "processes.json"
        running = msgspec.json.decode(file.read_bytes())
        running["demo"] = {"pid": other.process.pid, "began": psutil.Process(other.process.pid).create_time()}
        file.write_bytes(msgspec.json.encode(running))
        with pytest.raises(strays.DemoRunning, match=str(other.process.pid)):
            strays.stop_strays(tmp_path)
        assert child.is_running
        other.process.kill()
        other.process.wait()
        strays.stop_strays(tmp_path)
        wait_for(lambda: not child.is_running)
