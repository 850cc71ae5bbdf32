"""A worker that knows two jobs more: one that kills its process, and its neighbours. `python -m dramatiq tests.faults.poison`."""

import asyncio
import os
import signal
from pathlib import Path

from workers.jobs import Message, job
from workers.main import make_broker


def note(message: Message) -> None:
    """A line in the file the event names, on disk whatever happens to this process."""
    with Path(message.payload["file"]).open("a") as file:
        file.write(f"{message.event_id}\n")


@job
async def kill(message: Message) -> None:
    """Kill the process."""
    note(message)
    os.kill(os.getpid(), signal.SIGKILL)


@job
async def neighbour(message: Message) -> None:
    """Take a moment, so that some of them are under way whenever the process dies."""
    await asyncio.sleep(0.02)
    note(message)


broker = make_broker()
