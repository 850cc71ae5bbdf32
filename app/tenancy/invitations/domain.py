"""Invitations: from sent to accepted or revoked."""

from datetime import timedelta
from enum import StrEnum

from app.core.errors import Forbidden, Invalid, NotFound
from app.core.state import Machine

LIFETIME = timedelta(days=7)


class InvitationStatus(StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"
    REVOKED = "revoked"


INVITATION = Machine(
    "invitation",
    states=InvitationStatus,
    initial=InvitationStatus.OPEN,
    transitions={
        "accept": ((InvitationStatus.OPEN,), InvitationStatus.ACCEPTED),
        "revoke": ((InvitationStatus.OPEN,), InvitationStatus.REVOKED),
    },
)


class InvitationNotFound(NotFound):
    """There is no such invitation at this merchant."""

    code = "invitation_not_found"
    title = "There is no such invitation"


class InvitationInvalid(Invalid):
    """The invitation was accepted, revoked or has expired; ask for a new one."""

    code = "invitation_invalid"
    title = "This invitation does not work any more"


class InvitationForSomebodyElse(Forbidden):
    """The invitation is for another e-mail address than the one you are signed in with."""

    code = "invitation_for_somebody_else"
    title = "This invitation is for somebody else"
