"""Amounts and moments as people read them."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import clock
from app.core.money import CURRENCIES, MAX_MINOR, Money
from app.web.formatting import age, currency_symbol, moment, money_digits, money_text

NOON = datetime(2026, 11, 20, 14, 32, 11, tzinfo=UTC)


class TestMoney:
    @given(minor=st.integers(-MAX_MINOR, MAX_MINOR), currency=st.sampled_from(sorted(CURRENCIES)))
    def test_reads_as_money_itself_writes_it(self, minor: int, currency: str) -> None:
        amount = Money(minor, currency)
        assert money_text(amount).replace("\u00a0", "") == amount.format().replace("\u00a0", "")

    @pytest.mark.parametrize(
        ("amount", "text", "digits"),
        [
            (Money(124_900, "EUR"), "€1,249.00", "€1,249.00"),
            (Money(-1, "EUR"), "−€0.01", "−€0.01"),
            (Money(18_400, "JPY"), "¥18,400", "¥18,400"),
            (Money(1_234_567, "KWD"), "KWD\u00a01,234.567", "1,234.567"),
            (Money(-108_550, "SEK"), "−SEK\u00a01,085.50", "−1,085.50"),
        ],
    )
    def test_keeps_the_code_off_the_digits(self, amount: Money, text: str, digits: str) -> None:
        assert (money_text(amount), money_digits(amount)) == (text, digits)

    def test_a_sign_is_shown_where_it_is_asked_for(self) -> None:
        assert money_text(Money(500, "EUR"), sign=True) == "+€5.00"
        assert money_text(Money(0, "EUR"), sign=True) == "€0.00"

    def test_symbols(self) -> None:
        assert [currency_symbol(code) for code in ("EUR", "GBP", "SEK")] == ["€", "£", "SEK"]


class TestMoment:
    @pytest.mark.parametrize(
        ("style", "text"),
        [("short", "20 Nov, 14:32"), ("time", "14:32"), ("date", "20 Nov"), ("full", "20 Nov, 14:32:11"), ("age", "3 h 12 min")],
    )
    def test_is_short_and_exact(self, style: str, text: str) -> None:
        with clock.travel(NOON + timedelta(hours=3, minutes=12, seconds=5)):
            assert moment(NOON, style) == text

    def test_names_the_year_only_when_it_is_not_this_one(self) -> None:
        with clock.travel(datetime(2027, 1, 2, tzinfo=UTC)):
            assert moment(NOON) == "20 Nov 2026, 14:32"
            assert moment(date(2027, 1, 1)) == "1 Jan"

    @pytest.mark.parametrize(
        ("span", "text"),
        [
            (timedelta(seconds=-5), "0 s"),
            (timedelta(minutes=31), "31 min"),
            (timedelta(hours=2), "2 h"),
            (timedelta(days=1), "1 day"),
            (timedelta(days=9), "9 days"),
        ],
    )
    def test_ages_are_rough(self, span: timedelta, text: str) -> None:
        assert age(span) == text
