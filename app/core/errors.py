"""Errors a caller can act on: six families, one HTTP status each.

Raise a small subclass that says what is wrong (``class PaymentNotFound(NotFound)``); the edge turns it into a page, an htmx
fragment, ``application/problem+json`` or a line of the command. ``code`` is unique and part of the API; docs/errors.md lists all.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar


class AppError(Exception):
    """Something the caller can be told, with what to do about it."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(self, detail: str = "", *, fields: Mapping[str, str] | None = None, **extra: object) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.fields: dict[str, str] = dict(fields or {})
        self.extra = extra


class NotFound(AppError):
    """There is no such thing, or it is not yours: the answer is the same."""

    status = 404
    code = "not_found"
    title = "There is nothing here"


class Forbidden(AppError):
    """You are known, but may not do this."""

    status = 403
    code = "forbidden"
    title = "You are not allowed to do this"


class Conflict(AppError):
    """What you ask for does not fit the present state."""

    status = 409
    code = "conflict"
    title = "This does not fit the present state"


class Invalid(AppError):
    """What you sent is not valid; ``fields`` says which part and why."""

    status = 422
    code = "invalid"
    title = "What was sent is not valid"


class Unavailable(AppError):
    """A part of the house is not ready; trying again later helps."""

    status = 503
    code = "unavailable"
    title = "This is not available at the moment"


class UpstreamFailed(AppError):
    """A payment provider did not do its part."""

    status = 502
    code = "upstream_failed"
    title = "The payment provider did not answer as expected"


FAMILIES: tuple[type[AppError], ...] = (NotFound, Forbidden, Conflict, Invalid, Unavailable, UpstreamFailed)


def catalogue() -> Iterator[type[AppError]]:
    """Every error class that is loaded, families first; the error catalogue in the docs is written from it."""
    pending: list[type[AppError]] = list(FAMILIES)
    while pending:
        error = pending.pop(0)
        yield error
        pending.extend(error.__subclasses__())
