"""Named places where a test can make the process die, fail or wait. They do nothing unless switched on."""

import asyncio
import os
import signal

from app.core.settings import settings

REGISTERED: set[str] = set()
_enabled: dict[str, str] = {}
_read_settings = False


class FailpointRaised(Exception):
    """A test asked for a failure here."""


def enable(name: str, action: str) -> None:
    """Switch a failpoint on: ``kill``, ``raise`` or ``sleep:250``; ``off`` switches it off."""
    if action == "off":
        _enabled.pop(name, None)
    else:
        _enabled[name] = action


def _action(name: str) -> str | None:
    global _read_settings  # noqa: PLW0603 - read once per process
    if not _read_settings:
        _read_settings = True
        for pair in filter(None, settings().failpoints.split(",")):
            key, _, action = pair.partition("=")
            _enabled.setdefault(key.strip(), action.strip())
    return _enabled.get(name)


async def failpoint(name: str) -> None:
    """A place between two effects; what a test switched on happens here."""
    action = _action(name)
    if action is None:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "raise":
        raise FailpointRaised(name)
    if action.startswith("sleep:"):
        await asyncio.sleep(int(action.removeprefix("sleep:")) / 1000)
