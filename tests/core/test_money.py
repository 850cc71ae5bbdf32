"""Money: exact in every currency, never a rounding nobody asked for, never two currencies in one sum."""

from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import Invalid
from app.core.money import CURRENCIES, MAX_MINOR, CurrencyMismatch, MalformedAmount, Money, UnknownCurrency, exponent, total

ONE_OF_EACH_EXPONENT = sorted({places: code for code, places in sorted(CURRENCIES.items())}.values())
currencies = st.sampled_from(sorted(CURRENCIES))
minors = st.integers(-MAX_MINOR, MAX_MINOR)
weights = st.lists(st.integers(0, 10**6), min_size=1, max_size=12).filter(any)


class TestText:
    @given(minors, currencies)
    def test_what_is_written_is_read_back(self, minor: int, currency: str) -> None:
        money = Money(minor, currency)
        assert Money.parse(money.decimal(), currency) == money
        assert Decimal(money.decimal()) == Decimal(minor).scaleb(-exponent(currency))

    @given(minors, st.sampled_from(ONE_OF_EACH_EXPONENT))
    def test_what_people_read_has_exactly_the_decimals_of_the_currency(self, minor: int, currency: str) -> None:
        shown = Money(minor, currency).format()
        digits = "".join(character for character in shown if character.isdecimal())
        assert int(digits) == abs(minor)
        places = exponent(currency)
        assert (len(shown.rpartition(".")[2]) == places) if places else "." not in shown
        assert ("−" in shown) == (minor < 0)

    @given(st.integers(0, MAX_MINOR))
    def test_groups_of_thousands_are_understood(self, minor: int) -> None:
        grouped = f"{Decimal(minor).scaleb(-2):,}"
        assert Money.parse(grouped, "EUR").minor == minor

    @pytest.mark.parametrize("text", ["12,50", "1,2,3", "1,25", "12,5.00", "1.250,00", ",100", "1,0000.00"])
    def test_a_decimal_comma_is_refused_and_never_read_as_a_hundredfold(self, text: str) -> None:
        with pytest.raises(MalformedAmount):
            Money.parse(text, "EUR")

    @pytest.mark.parametrize(
        "text",
        ["", " ", "abc", "1.005", "NaN", "Infinity", "-inf", "1e3", "1E9999999", "1e-400", "1_000", "--1", "1.2.3", "٣", "0x10", "1" * 25],
    )
    def test_what_is_no_amount_is_refused(self, text: str) -> None:
        with pytest.raises(MalformedAmount):
            Money.parse(text, "EUR")

    @given(st.text(max_size=30))
    def test_any_text_is_an_amount_or_refused_politely(self, text: str) -> None:
        try:
            money = Money.parse(text, "EUR")
        except Invalid:
            return
        assert Money.parse(money.decimal(), "EUR") == money

    def test_more_decimals_than_the_currency_has_are_refused_not_rounded(self) -> None:
        with pytest.raises(MalformedAmount):
            Money.parse("100.5", "JPY")
        assert Money.parse("1.234", "KWD").minor == 1234

    @given(st.integers(0, 9), st.integers(1, 26))
    def test_a_decimal_too_many_is_refused_however_far_behind_it_stands(self, whole: int, zeros: int) -> None:
        assert Money.parse(f"{whole}.{'0' * zeros}", "EUR").minor == whole * 100
        with pytest.raises(MalformedAmount, match="has 2 decimals"):
            Money.parse(f"{whole}.00{'0' * zeros}1", "EUR")


class TestArithmetic:
    @given(minors, weights, currencies)
    def test_a_split_keeps_the_sum_and_is_fair_to_the_last_unit(self, minor: int, shares: list[int], currency: str) -> None:
        parts = Money(minor, currency).allocate(shares)
        assert sum(part.minor for part in parts) == minor
        for part, weight in zip(parts, shares, strict=True):
            exact = Decimal(minor) * weight / sum(shares)
            assert abs(Decimal(part.minor) - exact) < 1
            assert part.minor * minor >= 0
            assert weight or part.is_zero

    @given(st.integers(1, MAX_MINOR), st.lists(st.integers(1, 1000), min_size=2, max_size=8))
    def test_a_larger_weight_never_gets_less(self, minor: int, shares: list[int]) -> None:
        parts = Money(minor, "EUR").allocate(shares)
        ranked = [part.minor for _, part in sorted(zip(shares, parts, strict=True), key=lambda pair: (pair[0], pair[1].minor))]
        assert ranked == sorted(ranked)

    @pytest.mark.parametrize("shares", [[], [0], [0, 0], [-1, 2]])
    def test_weights_that_cannot_be_split_by_are_refused(self, shares: list[int]) -> None:
        with pytest.raises(MalformedAmount):
            Money(100, "EUR").allocate(shares)

    @given(minors, st.integers(0, 10_000))
    def test_a_percentage_is_the_nearest_whole_unit(self, minor: int, basis_points: int) -> None:
        share = Money(minor, "EUR").percent(basis_points).minor
        assert abs(2 * (share * 10_000 - minor * basis_points)) <= 10_000

    @pytest.mark.parametrize(("minor", "share"), [(50, 0), (150, 2), (250, 2), (-150, -2)])
    def test_exactly_half_goes_to_the_even_neighbour(self, minor: int, share: int) -> None:
        assert Money(minor, "EUR").percent(100).minor == share

    @given(st.integers(-(10**14), 10**14), st.integers(-(10**14), 10**14))
    def test_it_adds_and_compares_like_its_units(self, a: int, b: int) -> None:
        x, y = Money(a, "EUR"), Money(b, "EUR")
        assert (x + y).minor == a + b and (x - y) == x + -y and abs(x).minor == abs(a)
        assert (x < y, x <= y, x > y, x >= y) == (a < b, a <= b, a > b, a >= b)
        assert total([x, y], "EUR") == x + y

    def test_two_currencies_never_meet(self) -> None:
        x, y = Money(1, "EUR"), Money(1, "USD")
        for attempt in (lambda: x + y, lambda: x - y, lambda: x < y, lambda: x >= y, lambda: total([x, y], "EUR")):
            with pytest.raises(CurrencyMismatch):
                attempt()
        assert x != y

    def test_more_than_the_largest_amount_is_not_taken(self) -> None:
        assert Money.taken(MAX_MINOR, "EUR").minor == MAX_MINOR
        for minor in (MAX_MINOR + 1, -MAX_MINOR - 1):
            with pytest.raises(MalformedAmount):
                Money.taken(minor, "EUR")
        with pytest.raises(MalformedAmount):
            Money.parse("1" * 16, "EUR")

    def test_a_sum_of_the_largest_amounts_exists_as_long_as_it_can_be_kept(self) -> None:
        assert total([Money(MAX_MINOR, "EUR")] * 9_000, "EUR").minor == 9_000 * MAX_MINOR < 2**63
        for minor in (2**63, -(2**63)):
            with pytest.raises(MalformedAmount):
                Money(minor, "EUR")


class TestCurrencies:
    def test_exponents_are_those_of_iso_4217(self) -> None:
        assert {code: exponent(code) for code in ("EUR", "JPY", "KWD", "CLF", "ISK", "HUF")} == {
            "EUR": 2,
            "JPY": 0,
            "KWD": 3,
            "CLF": 4,
            "ISK": 0,
            "HUF": 2,
        }

    @pytest.mark.parametrize("code", ["", "eur", "EURO", "XXX", "XAU", "ZZZ"])
    def test_what_is_no_currency_is_refused(self, code: str) -> None:
        with pytest.raises(UnknownCurrency):
            Money(1, code)

    @pytest.mark.parametrize(
        "sent",
        [
            b'{"minor":1.0,"currency":"EUR"}',
            b'{"minor":"1","currency":"EUR"}',
            b'{"minor":1e30,"currency":"EUR"}',
            b'{"minor":true,"currency":"EUR"}',
            b'{"minor":1}',
        ],
    )
    def test_only_whole_units_come_over_the_wire(self, sent: bytes) -> None:
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(sent, type=Money)


class TestPortion:
    @given(st.integers(-MAX_MINOR, MAX_MINOR), st.integers(0, MAX_MINOR), st.integers(1, MAX_MINOR))
    def test_it_is_the_nearest_whole_number_and_the_even_one_of_two(self, minor: int, part: int, whole: int) -> None:
        part = min(part, whole)
        exact = Fraction(minor * part, whole)
        assert Money(minor, "EUR").portion(part, whole).minor == round(exact)

    def test_the_whole_of_the_largest_amount_is_itself(self) -> None:
        assert Money(MAX_MINOR, "EUR").portion(MAX_MINOR, MAX_MINOR).minor == MAX_MINOR
