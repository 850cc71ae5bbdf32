"""A round: work that is due for many at once, where one that cannot be done holds up nobody else and comes again in the next round."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import structlog

from app.core.errors import AppError

log = structlog.get_logger(__name__)
T = TypeVar("T")
Owner = TypeVar("Owner")


def together(due: Iterable[tuple[Owner, T]], most: int) -> list[tuple[Owner, list[T]]]:
    """What is due, owner by owner, in sets of at most so many: what one transaction takes."""
    of_owner: dict[Owner, list[T]] = {}
    for owner, one in due:
        of_owner.setdefault(owner, []).append(one)
    return [(owner, some[start : start + most]) for owner, some in of_owner.items() for start in range(0, len(some), most)]


async def each(due: Iterable[T], work: Callable[[T], Awaitable[int]]) -> int:
    """Do the work for one after the other and say how much was done in all; a failure is logged and leaves its own work undone, nobody else's."""
    done = 0
    for one in due:
        try:
            done += await work(one)
        except Exception:
            log.exception("left_for_the_next_round", due=repr(one))
    return done


async def at_once(some: Sequence[T], work: Callable[[Sequence[T]], Awaitable[int]]) -> int:
    """Do the work for some in one transaction; when one of them is refused, which undoes it for all, for each in its own."""
    try:
        return await work(some)
    except AppError:
        if len(some) == 1:
            raise
        return await each([[one] for one in some], work)
