"""What a provider says it owes beside what the books say it does. Pure."""

from collections.abc import Collection, Iterable

import msgspec

from app.core.money import Money
from app.psp.domain import Owed


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """What the books say a provider owes in a currency: all of it, how much of that a break names already, and what captures and refunds that
    nobody knows the end of may change about it. Minor units.
    """

    owed_minor: int = 0
    broken_minor: int = 0
    moving_minor: int = 0


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The books of one connection: by currency, the batches of its files that are booked, and where the books stand, to see whether they moved."""

    booked: dict[str, Booked]
    settled: frozenset[str]
    through: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One currency on both sides. ``early`` is an open batch whose lines were handed in before it was closed."""

    owed: Money
    on_its_way: Money
    books: Money
    broken: Money
    moving: Money
    early: str | None = None

    @property
    def difference(self) -> Money:
        """What the books have more than the provider owes, breaks aside."""
        return self.books - self.broken - self.owed - self.on_its_way

    @property
    def agrees(self) -> bool:
        """Whether nothing is left to explain, or nothing can be said: of a batch that is still open only a part was booked."""
        return self.early is not None or abs(self.difference).minor <= self.moving.minor

    @property
    def text(self) -> str:
        """Both sides in a sentence."""
        if self.early is not None:
            return f"not compared: lines of {self.early} were handed in, which the provider has not closed yet"
        parts = [f"{self.owed.format()} owed", f"{self.on_its_way.format()} in batches that no file told of yet"]
        parts += [f"{self.books.format()} in the books", f"{self.broken.format()} of that in breaks"]
        return ", ".join([*parts, f"{self.moving.format()} under way"] if self.moving.minor else parts)


def compared(told: Collection[Owed], standing: Standing) -> list[Comparison]:
    """Every currency that either side knows. A batch that is closed and booked has left both sides."""
    currencies = {owed.amount.currency for owed in told} | standing.booked.keys()
    return [_compared(currency, told, standing) for currency in sorted(currencies)]


def _compared(currency: str, told: Iterable[Owed], standing: Standing) -> Comparison:
    of_it = [owed for owed in told if owed.amount.currency == currency]
    booked = standing.booked.get(currency, Booked())
    return Comparison(
        owed=Money(sum(owed.amount.minor for owed in of_it if owed.is_open), currency),
        on_its_way=Money(sum(owed.amount.minor for owed in of_it if not owed.is_open and owed.batch not in standing.settled), currency),
        books=Money(booked.owed_minor, currency),
        broken=Money(booked.broken_minor, currency),
        moving=Money(booked.moving_minor, currency),
        early=next((owed.batch for owed in of_it if owed.is_open and owed.batch in standing.settled), None),
    )
