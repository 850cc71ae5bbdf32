"""A worker that knows two jobs more, which do nothing: `python -m dramatiq bench.echo`. One is counted as every job is, the other is the broker's alone."""

import itertools
import time
from pathlib import Path

import dramatiq

from workers.jobs import Message, job
from workers.main import make_broker
from workers.routes import Queue

TOPIC, JOB, BARE = "bench.tick", "echo.nothing", "bare"
_numbers = itertools.count(1)


@job
async def nothing(_message: Message) -> None:
    """Nothing."""


def count(last: int, path: str) -> None:
    """Nothing, and say when the last one was done."""
    if next(_numbers) == last:
        Path(path).write_text(str(time.time()))


broker = make_broker()
dramatiq.actor(actor_name=BARE, queue_name=Queue.DEFAULT, broker=broker)(count)
