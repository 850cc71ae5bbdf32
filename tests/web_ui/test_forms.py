"""Forms become structs; what is wrong is said field by field and nothing typed is lost."""

from datetime import date
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.money import CURRENCIES, MAX_MINOR, Money
from app.web.forms import InvalidForm, contains_card_number, parse_form, state_after


class Speed(StrEnum):
    SLOW = "slow"
    FAST = "fast"


class PayoutForm(msgspec.Struct):
    amount: Money
    name: Annotated[str, msgspec.Meta(min_length=2, max_length=10)]
    day: date
    speed: Speed
    count: Annotated[int, msgspec.Meta(ge=1, le=9)]
    account: UUID
    note: str | None = None
    text: str = ""
    sure: bool = False
    tags: Annotated[list[Speed], msgspec.Meta(min_length=1)] = []
    fee: Money | None = None


GOOD = {
    "amount": ["12.50"],
    "amount_currency": ["EUR"],
    "name": ["  Lena "],
    "day": ["2026-11-20"],
    "speed": ["fast"],
    "count": ["3"],
    "account": ["018f0000-0000-7000-8000-000000000001"],
}


def errors(**changes: list[str]) -> dict[str, str]:
    """The messages for the good form with these fields changed."""
    with pytest.raises(InvalidForm) as caught:
        parse_form(GOOD | changes, PayoutForm)
    return caught.value.fields


class TestParseForm:
    def test_reads_every_kind_of_field(self) -> None:
        form = parse_form(
            GOOD | {"sure": ["on"], "tags": ["slow", "fast"], "note": [" "], "fee": ["1"], "fee_currency": ["JPY"]}, PayoutForm
        )
        assert form == PayoutForm(
            amount=Money(1250, "EUR"),
            name="Lena",
            day=date(2026, 11, 20),
            speed=Speed.FAST,
            count=3,
            account=UUID("018f0000-0000-7000-8000-000000000001"),
            note=None,
            sure=True,
            tags=[Speed.SLOW, Speed.FAST],
            fee=Money(1, "JPY"),
        )

    def test_says_everything_that_is_wrong_at_once_and_keeps_what_was_typed(self) -> None:
        typed = {"name": ["L"], "count": ["12"], "speed": ["warp"], "day": ["20.11."], "amount": ["1.234"], "amount_currency": ["EUR"]}
        with pytest.raises(InvalidForm) as caught:
            parse_form(typed, PayoutForm)
        assert set(caught.value.fields) == {"name", "count", "speed", "day", "amount", "account"}
        assert caught.value.values == typed

    @pytest.mark.parametrize(
        ("field", "value", "says"),
        [
            ("amount", "", "Enter an amount."),
            ("amount", "12.505", "EUR has 2 decimals"),
            ("amount", "much", "is not an amount"),
            ("amount", "9" * 16, "too large"),
            ("name", "", "Enter a name."),
            ("name", "L", "2 characters or more"),
            ("name", "Lena Hoffmann", "at most 10 characters"),
            ("name", "Le\x00na", "cannot be shown"),
            ("day", "tomorrow", "Enter a date like"),
            ("speed", "warp", "Choose one of the options."),
            ("count", "0", "from 1 to 9"),
            ("count", "many", "whole number"),
            ("account", "me", "Choose one of the options."),
            ("tags", "warp", "Choose one of the options."),
        ],
    )
    def test_tells_how_to_put_it_right(self, field: str, value: str, says: str) -> None:
        found = errors(**{field: [value]})
        assert list(found) == [field]
        assert says in found[field]

    def test_a_required_field_that_is_absent_is_named(self) -> None:
        without = {name: value for name, value in GOOD.items() if name != "count"}
        with pytest.raises(InvalidForm) as caught:
            parse_form(without, PayoutForm)
        assert caught.value.fields == {"count": "Enter a count."}

    def test_an_amount_needs_its_currency(self) -> None:
        assert errors(amount_currency=[""]) == {"amount": "Choose a currency."}
        assert "ISO 4217" in errors(amount_currency=["XXX"])["amount"]

    @given(minor=st.integers(-MAX_MINOR, MAX_MINOR), currency=st.sampled_from(sorted(CURRENCIES)))
    def test_every_amount_comes_back_as_it_was_written(self, minor: int, currency: str) -> None:
        amount = Money(minor, currency)
        form = parse_form(GOOD | {"amount": [amount.decimal()], "amount_currency": [currency]}, PayoutForm)
        assert form.amount == amount

    @given(
        values=st.dictionaries(
            st.sampled_from([*PayoutForm.__struct_fields__, "amount_currency", "x"]),
            st.lists(st.text(max_size=60), max_size=3),
            max_size=12,
        )
    )
    def test_whatever_is_posted_is_either_a_struct_or_named_errors(self, values: dict[str, list[str]]) -> None:
        posted = {name: texts for name, texts in values.items() if texts}
        outcome = outcome_of(posted)
        if isinstance(outcome, InvalidForm):
            assert outcome.fields
            assert set(outcome.fields) <= set(PayoutForm.__struct_fields__)
            assert outcome.values == posted
        else:
            assert isinstance(outcome, PayoutForm)


def outcome_of(posted: dict[str, list[str]]) -> PayoutForm | InvalidForm:
    """The struct, or the refusal; any other failure is a failure of the test."""
    try:
        return parse_form(posted, PayoutForm)
    except InvalidForm as error:
        return error


def card_number(digits: list[int]) -> str:
    """The digits with the check digit that makes them a card number."""
    doubled = [digit * 2 - 9 * (digit > 4) if i % 2 == 0 else digit for i, digit in enumerate(reversed(digits))]
    return "".join(map(str, digits)) + str(-sum(doubled) % 10)


class TestCardNumbers:
    @given(
        digits=st.lists(st.integers(0, 9), min_size=12, max_size=18).filter(any),
        gap=st.sampled_from(["", " ", "-"]),
        around=st.sampled_from(["", "card: ", "€"]),
    )
    def test_are_refused_in_free_text_however_they_are_written(self, digits: list[int], gap: str, around: str) -> None:
        number = gap.join(card_number(digits))
        assert contains_card_number(around + number)
        with pytest.raises(InvalidForm) as caught:
            parse_form(GOOD | {"text": [around + number]}, PayoutForm)
        assert "card number" in caught.value.fields["text"]
        assert number not in caught.value.fields["text"]

    @given(digits=st.lists(st.integers(0, 9), min_size=12, max_size=18).filter(any), off=st.integers(1, 9))
    def test_other_digits_are_not_mistaken_for_one(self, digits: list[int], off: int) -> None:
        number = card_number(digits)
        assert not contains_card_number(number[:-1] + str((int(number[-1]) + off) % 10))

    @pytest.mark.parametrize("text", ["DE89 3704 0044 0532", "+49 30 1234567", "2026-11-20 14:32:11", "order 20418, line 3"])
    def test_everyday_numbers_pass(self, text: str) -> None:
        assert not contains_card_number(text)


class TestStateAfter:
    def test_an_error_without_fields_goes_to_the_summary(self) -> None:
        state = state_after(InvalidForm("The limit is reached."), "/payouts", {"name": ["x"]})
        assert [(p.text, p.field) for p in state.problems] == [("The limit is reached.", None)]
        assert state.headline == "There is a problem"

    def test_each_field_has_a_line_in_the_summary(self) -> None:
        state = state_after(InvalidForm(fields={"a": "Enter a.", "b": "Enter b."}), "/payouts", {})
        assert [(p.text, p.field) for p in state.problems] == [("Enter a.", "a"), ("Enter b.", "b")]
        assert state.headline == "There are 2 problems"
