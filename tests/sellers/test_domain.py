"""Fees: what is read, what is refused, and what they come to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.money import Money
from app.sellers.domain import FeeOutOfRange, FeeTerms, basis_points
from app.sellers.schemas import percent_text


class TestBasisPoints:
    @pytest.mark.parametrize(
        ("text", "expected"), [("2.9", 290), ("2,9 %", 290), ("0", 0), ("100", 10_000), ("0.05", 5), (" 12.50% ", 1250)]
    )
    def test_reads_percentages_as_people_write_them(self, text: str, expected: int) -> None:
        assert basis_points(text) == expected

    @pytest.mark.parametrize("text", ["", "a", "-1", "2.999", "1e2", "1 2", "∞", "٣"])
    def test_refuses_what_it_would_have_to_round_or_guess(self, text: str) -> None:
        with pytest.raises(FeeOutOfRange) as refused:
            basis_points(text)
        assert set(refused.value.fields) == {"percent"}

    @given(st.integers(0, 10_000))
    def test_what_is_shown_is_read_back(self, points: int) -> None:
        assert basis_points(percent_text(points)) == points


class TestFeeTerms:
    @given(st.integers(0, 10_000), st.integers(0, 10**9), st.integers(1, 10**12))
    def test_a_fee_is_never_more_than_the_sale_and_never_less_than_nothing(self, points: int, fixed: int, minor: int) -> None:
        sale = Money(minor, "EUR")
        assert Money.zero("EUR") <= FeeTerms(basis_points=points, fixed_minor=fixed).of(sale) <= sale

    @pytest.mark.parametrize(("points", "fixed", "field"), [(10_001, 0, "percent"), (-1, 0, "percent"), (0, -1, "fixed")])
    def test_impossible_terms_name_their_field(self, points: int, fixed: int, field: str) -> None:
        with pytest.raises(FeeOutOfRange) as refused:
            FeeTerms(basis_points=points, fixed_minor=fixed)
        assert set(refused.value.fields) == {field}
