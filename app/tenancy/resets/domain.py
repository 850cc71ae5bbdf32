"""Resetting a colleague's second factors: asked for by one admin, approved by another, done after a day in which its owner can object."""

from datetime import timedelta
from enum import StrEnum

from app.core.errors import Conflict, Forbidden, NotFound
from app.core.state import Machine

WAIT = timedelta(hours=24)


class ResetStatus(StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    DONE = "done"
    CANCELLED = "cancelled"


FACTOR_RESET = Machine(
    "factor_reset",
    states=ResetStatus,
    initial=ResetStatus.REQUESTED,
    transitions={
        "approve": ((ResetStatus.REQUESTED,), ResetStatus.APPROVED),
        "finish": ((ResetStatus.APPROVED,), ResetStatus.DONE),
        "cancel": ((ResetStatus.REQUESTED, ResetStatus.APPROVED), ResetStatus.CANCELLED),
    },
)


class ResetNotFound(NotFound):
    """There is no such reset of second factors."""

    code = "factor_reset_not_found"
    title = "There is no such reset"


class ResetPending(Conflict):
    """A reset for this person is under way already."""

    code = "factor_reset_pending"
    title = "A reset for this person is under way"


class ResetByOneself(Forbidden):
    """Whoever asked for a reset does not approve it, and nobody resets their own factors."""

    code = "factor_reset_by_oneself"
    title = "Another admin must do this"


class WorksElsewhere(Conflict):
    """The person also works for another merchant, whose access this would weaken; the operator of the installation helps."""

    code = "person_works_elsewhere"
    title = "This person works for another merchant too"
