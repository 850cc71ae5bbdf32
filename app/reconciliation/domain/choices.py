"""Which unnamed batches an unnamed credit pays (P5): only when exactly one choice adds up to it, and no other credit wants the same."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from uuid import UUID

import msgspec

MOST, NEAR_DAYS, MOST_CREDITS = 20, 5, 500


class Loose(msgspec.Struct, frozen=True, kw_only=True):
    """A bank line or a batch that no other rule paired."""

    id: UUID
    currency: str
    minor: int
    day: date


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A credit and the batches it pays."""

    bank: UUID
    batches: list[UUID]


def choices(banks: Sequence[Loose], batches: Sequence[Loose]) -> list[Choice]:
    """The credits whose batches are certain. A batch that two credits could pay belongs to neither; hundreds of unnamed credits are not guessed at."""
    if len(banks) > MOST_CREDITS:
        return []
    found = []
    for bank in banks:
        near = [batch for batch in batches if batch.currency == bank.currency and abs((batch.day - bank.day).days) <= NEAR_DAYS]
        places = subset_of([batch.minor for batch in near], bank.minor)
        if places is not None and len(places) > 1:
            found.append(Choice(bank=bank.id, batches=[near[place].id for place in places]))
    wanted = Counter(batch for choice in found for batch in choice.batches)
    return [choice for choice in found if all(wanted[batch] == 1 for batch in choice.batches)]


def subset_of(amounts: list[int], target: int, *, most: int = MOST) -> list[int] | None:
    """The places of the amounts that add up to the target, when exactly one choice does; at most twenty amounts are tried.

    Sums are built up one amount at a time and each is kept with the number of ways that lead to it, so the work is bounded by the
    distinct sums and not by the number of choices.
    """
    if len(amounts) > most:
        return None
    ways: dict[int, tuple[int, int]] = {0: (1, 0)}
    for place, amount in enumerate(amounts):
        for reached, (count, chosen) in list(ways.items()):
            known = ways.get(reached + amount)
            ways[reached + amount] = (count + (known[0] if known else 0), known[1] if known else chosen | 1 << place)
    count, chosen = ways.get(target, (0, 0))
    return [place for place in range(len(amounts)) if chosen >> place & 1] if count == 1 and target else None
