"""Repairing what got stuck: jobs that were given up after their tries. Pure."""

from enum import StrEnum

from app.core.errors import Conflict, Invalid, NotFound

MOST_AT_ONCE = 500
"""So many jobs are tried again or discarded by one act; what is left takes another one."""


class JobState(StrEnum):
    """The states of a job that people care about."""

    DEAD = "dead"
    FAILED = "failed"
    DISCARDED = "discarded"


class JobNotFound(NotFound):
    """There is no such job, or it belongs to another merchant."""

    code = "job_not_found"
    title = "There is no such job"


class NoDeadJobs(Conflict):
    """None of the chosen jobs is dead: each is done, is being tried again by itself, or was discarded."""

    code = "no_dead_jobs"
    title = "None of these jobs is dead"


class ReasonMissing(Invalid):
    """A job is discarded for a reason that others can read."""

    code = "discard_reason_missing"
    title = "Say why"


_OBJECTS = {
    "payment_id": "/payments/",
    "order_id": "/orders/",
    "payout_id": "/payouts/",
    "seller_id": "/sellers/",
    "connection_id": "/connections/",
}


def object_path(payload: dict[str, object]) -> str | None:
    """The page of what a job is about, by the public ids its event carries; the closest to money first."""
    return next((path + str(payload[name]) for name, path in _OBJECTS.items() if isinstance(payload.get(name), str)), None)
