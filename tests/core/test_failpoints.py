"""Failpoints: nothing unless switched on, and every one of them is met by a test."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

import app
from app.core import failpoints
from app.core.failpoints import FailpointRaised, enable, failpoint

ROOT = Path(app.__file__).parents[1]
CALL = re.compile(r"failpoint\(\s*\"([a-z_.]+)\"")


def named_in(*folders: str) -> set[str]:
    return {name for folder in folders for path in (ROOT / folder).rglob("*.py") for name in CALL.findall(path.read_text())}


class TestFailpoint:
    async def test_it_does_nothing_unless_switched_on_and_what_it_is_told_when_on(self) -> None:
        await failpoint("test.unknown")
        enable("test.here", "raise")
        try:
            with pytest.raises(FailpointRaised, match=r"test\.here"):
                await failpoint("test.here")
            await failpoint("test.elsewhere")
            enable("test.here", "sleep:30")
            began = asyncio.get_running_loop().time()
            await failpoint("test.here")
            assert asyncio.get_running_loop().time() - began >= 0.025
        finally:
            enable("test.here", "off")
        await failpoint("test.here")

    def test_the_settings_switch_it_on_and_kill_means_kill(self, urls: object) -> None:
        import os

        program = "import asyncio; from app.core.failpoints import failpoint; asyncio.run(failpoint('a.b')); print('alive')"
        for points, code in (("a.b=kill", -9), ("a.c=kill", 0)):
            environ = os.environ | {"COUNTINGHOUSE_FAILPOINTS": points}
            done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, check=False)
            assert done.returncode == code, done.stderr

    def test_every_failpoint_of_the_house_is_named_by_a_test(self) -> None:
        placed = named_in("app", "workers")
        tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
        assert len(placed) >= 10
        assert sorted(name for name in placed if f'"{name}"' not in tests and f"{name}=" not in tests) == []
        assert failpoints.__doc__
