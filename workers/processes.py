"""How the relay and the scheduler run as processes: with logs, until they are asked to stop."""

import signal
from collections.abc import Callable
from threading import Event

from app.core import logs
from app.core.settings import Settings, settings


def run_process(run: Callable[[Settings, Event], None]) -> None:
    """Run until SIGTERM or Ctrl-C; what was begun is finished first."""
    logs.configure(settings())
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(settings(), stop)
