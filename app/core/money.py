"""Money: a whole number of minor units and an ISO 4217 currency, never a float.

Exponents come from ISO 4217 (``iso4217`` package), not from CLDR: 13 currencies differ there. Formatting for people uses Babel
with the ISO exponent forced.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from typing import Self

import msgspec
from babel.numbers import format_currency
from iso4217 import Currency

from app.core.errors import Invalid

MAX_MINOR = 999_999_999_999_999
"""The largest amount we take from anybody: it fits a BIGINT with room for thousands of them in one sum."""
_BIGINT = 2**63 - 1

# A comma or a space only between full groups of three: “12,50” must not become 1,250.
_AMOUNT = re.compile(r"[+-]?(?=\.?[0-9])(?:[0-9]{1,3}(?:[, \u00a0][0-9]{3})+|[0-9]*)(?:\.[0-9]*)?")
_GROUPING = re.compile(r"[, \u00a0]")


class CurrencyMismatch(Invalid):
    """Two amounts in different currencies cannot be added or compared."""

    code = "currency_mismatch"
    title = "The currencies differ"


class UnknownCurrency(Invalid):
    """The currency is not an active ISO 4217 code with minor units."""

    code = "unknown_currency"
    title = "This currency is not known"


class MalformedAmount(Invalid):
    """The amount cannot be read, is too large, or has too many decimals for its currency."""

    code = "malformed_amount"
    title = "This amount cannot be read"


def _exponents() -> dict[str, int]:
    return {c.code: c.exponent for c in Currency if c.exponent is not None}


CURRENCIES: dict[str, int] = _exponents()


def exponent(currency: str) -> int:
    """How many decimals the currency has: EUR 2, JPY 0, KWD 3."""
    try:
        return CURRENCIES[currency]
    except KeyError:
        raise UnknownCurrency(f"“{currency[:8]}” is not an ISO 4217 currency. Use a three-letter code such as EUR.") from None


class Money(msgspec.Struct, frozen=True):
    """An amount in one currency. ``minor`` is in the currency's smallest unit: 12.50 EUR is ``Money(1250, "EUR")``."""

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if self.currency not in CURRENCIES:
            exponent(self.currency)
        # wider than what is taken: a balance of many amounts that were taken must still be shown
        if not -_BIGINT <= self.minor <= _BIGINT:
            raise MalformedAmount("The amount is too large to be kept.")

    @classmethod
    def taken(cls, minor: int, currency: str) -> Self:
        """An amount that somebody outside names, in minor units: at most ``MAX_MINOR`` of them."""
        if not -MAX_MINOR <= minor <= MAX_MINOR:
            raise MalformedAmount(f"The amount is too large; at most {MAX_MINOR} minor units are taken.")
        return cls(minor, currency)

    @classmethod
    def zero(cls, currency: str) -> Self:
        """Nothing, in this currency."""
        return cls(0, currency)

    @classmethod
    def parse(cls, text: str, currency: str) -> Self:
        """Read ``12.50`` or ``1,250.00``; more decimals than the currency has are refused, never rounded."""
        places = exponent(currency)
        cleaned = text.strip().replace("\u2212", "-")
        if len(cleaned) > 32 or not _AMOUNT.fullmatch(cleaned):
            raise MalformedAmount(f"“{text[:40]}” is not an amount. Write it like 12.50.")
        whole, _, decimals = _GROUPING.sub("", cleaned.lstrip("+-")).partition(".")
        decimals = decimals.rstrip("0")
        if len(decimals) > places:
            raise MalformedAmount(f"{currency} has {places} decimals; “{text[:40]}” has more.")
        minor = int(f"{whole or '0'}{decimals.ljust(places, '0')}")
        return cls.taken(-minor if cleaned.startswith("-") else minor, currency)

    def decimal(self) -> str:
        """The amount as a plain decimal text, for files and APIs: ``-12.50``."""
        return f"{Decimal(self.minor).scaleb(-exponent(self.currency)):f}"

    def format(self, locale: str = "en") -> str:
        """The amount as people write it: ``€12.50``, with a true minus sign."""
        return _format(self.minor, self.currency, locale)

    @property
    def is_zero(self) -> bool:
        """Whether it is nothing."""
        return self.minor == 0

    @property
    def is_positive(self) -> bool:
        """Whether it is more than nothing."""
        return self.minor > 0

    @property
    def is_negative(self) -> bool:
        """Whether it is less than nothing."""
        return self.minor < 0

    def _same(self, other: "Money") -> None:
        if self.currency != other.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency} cannot be combined.")

    def __add__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.minor + other.minor, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.minor - other.minor, self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.minor, self.currency)

    def __abs__(self) -> "Money":
        return Money(abs(self.minor), self.currency)

    def __lt__(self, other: "Money") -> bool:
        self._same(other)
        return self.minor < other.minor

    def __le__(self, other: "Money") -> bool:
        self._same(other)
        return self.minor <= other.minor

    def __gt__(self, other: "Money") -> bool:
        return other < self

    def __ge__(self, other: "Money") -> bool:
        return other <= self

    def allocate(self, weights: Sequence[int]) -> "list[Money]":
        """Split by weights with the largest remainder, so that the parts always sum to the whole; all-zero weights are refused."""
        total = sum(weights)
        if total <= 0 or any(w < 0 for w in weights):
            raise MalformedAmount("An amount can only be split by positive weights.")
        sign = -1 if self.minor < 0 else 1
        shares = [divmod(abs(self.minor) * w, total) for w in weights]
        left = abs(self.minor) - sum(quotient for quotient, _ in shares)
        by_remainder = sorted(range(len(weights)), key=lambda i: (-shares[i][1], i))
        extra = set(by_remainder[:left])
        return [Money(sign * (quotient + (i in extra)), self.currency) for i, (quotient, _) in enumerate(shares)]

    def percent(self, basis_points: int) -> "Money":
        """A share in basis points (250 = 2.5 %), rounded half to even."""
        return self.portion(basis_points, 10_000)

    def portion(self, part: int, whole: int) -> "Money":
        """As much of it as the part is of the whole, rounded half to even; exact however large the numbers are."""
        quotient, rest = divmod(self.minor * part, whole)
        up = 2 * rest > whole or (2 * rest == whole and quotient % 2 == 1)
        return Money(quotient + up, self.currency)


def total(amounts: Sequence[Money], currency: str) -> Money:
    """The sum of the amounts; nothing at all sums to zero in ``currency``."""
    for amount in amounts:
        if amount.currency != currency:
            raise CurrencyMismatch(f"{currency} and {amount.currency} cannot be combined.")
    return Money(sum(amount.minor for amount in amounts), currency)


@cache
def _pattern(places: int) -> str:
    return "\u00a4#,##0" + ("." + "0" * places if places else "")


@cache
def _signs(currency: str, locale: str) -> tuple[str, str, str, str] | None:
    """What a locale writes before an amount, between thousands, before decimals and after the amount; None when it does not use our digits.

    Asked of babel once for each currency: a page has dozens of amounts, and a whole answer of babel's costs forty times as much.
    """
    places = exponent(currency)
    sample = format_currency(Decimal(1234567), currency, _pattern(places), locale=locale, currency_digits=False)
    found = re.fullmatch(rf"(\D*)1(\D+)234(?:\2)567(?:(\D+)0{{{places}}})?(\D*)", sample)
    return (found[1], found[2], found[3] or "", found[4]) if found else None


def _format(minor: int, currency: str, locale: str) -> str:
    places, signs = exponent(currency), _signs(currency, locale)
    if signs is None:
        text = format_currency(Decimal(abs(minor)).scaleb(-places), currency, _pattern(places), locale=locale, currency_digits=False)
    else:
        before, thousands, point, after = signs
        whole, rest = divmod(abs(minor), 10**places)
        decimals = f"{point}{rest:0{places}}" if places else ""
        text = (
            f"{before}{whole:,}{decimals}{after}"
            if thousands == ","
            else f"{before}{f'{whole:,}'.replace(',', thousands)}{decimals}{after}"
        )
    return f"\u2212{text}" if minor < 0 else text
