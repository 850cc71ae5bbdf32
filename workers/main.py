"""The worker process: `python -m dramatiq workers.main`, started by `countinghouse worker`."""

import dramatiq

from app.core import logs
from app.core.settings import settings
from workers import broker as brokers
from workers.jobs import load_jobs


def make_broker() -> dramatiq.Broker:
    """The broker with every job declared."""
    logs.configure(settings())
    load_jobs()
    brokers.prepare(settings().broker_url)
    made = brokers.connect(settings().broker_url, takes=True)
    dramatiq.set_broker(made)
    brokers.declare(made)
    return made


broker = make_broker()
