"""The one list of what waits for a second person. Pure."""

from app.core.errors import Invalid, NotFound


class NothingWaits(NotFound):
    """There is no such thing that waits for approval; perhaps somebody decided already."""

    code = "nothing_waits"
    title = "This does not wait any more"


class RefusalNeedsReason(Invalid):
    """Whoever asked has to learn why it was refused."""

    code = "refusal_needs_reason"
    title = "A refusal needs a reason"
