"""Identifiers: in the order they were made, written one way, read back exactly, or refused."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.clock import now, travel
from app.core.errors import NotFound
from app.core.ids import MalformedId, first_id_at, new_id, parse_id, path_id, public_id, public_ids


class TestNewId:
    def test_ids_are_strictly_increasing_and_of_version_seven(self) -> None:
        made = [new_id() for _ in range(20_000)]
        assert made == sorted(made) and len(set(made)) == len(made)
        assert {each.version for each in made} == {7}

    def test_a_range_of_time_is_a_range_of_ids(self) -> None:
        before = now()
        made = new_id()
        assert first_id_at(before - timedelta(milliseconds=1)) < made < first_id_at(now() + timedelta(milliseconds=2))

    def test_an_id_carries_the_moment_the_clock_shows(self) -> None:
        moment = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
        with travel(moment):
            made = new_id()
        assert abs((made.int >> 80) / 1000 - moment.timestamp()) < 5
        assert new_id() < made, "coming back from a journey, ids are of today again"


class TestPublicId:
    @given(st.uuids())
    def test_what_is_written_is_read_back(self, value: UUID) -> None:
        text = public_id("pay", value)
        assert len(text) == 30 and parse_id("pay", text) == value and parse_id("pay", f" {text.upper().replace('PAY', 'pay')} ") == value

    @given(st.uuids(), st.uuids())
    def test_texts_sort_like_the_ids(self, a: UUID, b: UUID) -> None:
        assert (public_id("pay", a) < public_id("pay", b)) == (a < b)

    @given(st.lists(st.uuids(), max_size=40), st.sampled_from(["pay", "ord", "x"]))
    def test_many_at_once_are_the_same_as_one_by_one(self, values: list[UUID], prefix: str) -> None:
        assert (
            public_ids(prefix, b"".join(value.bytes for value in values)) == "".join(public_id(prefix, value) for value in values).encode()
        )

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "pay",
            "pay_",
            "ord_" + "0" * 26,
            "pay_" + "0" * 25,
            "pay_" + "0" * 27,
            "pay_" + "u" * 26,
            "pay_" + "z" * 26,
            "pay_" + "0" * 25 + "é",
            "pay_" + "٣" * 26,
        ],
    )
    def test_what_is_no_id_is_refused(self, text: str) -> None:
        with pytest.raises(MalformedId):
            parse_id("pay", text)

    @given(st.text(max_size=40))
    def test_any_text_is_an_id_or_refused(self, text: str) -> None:
        for candidate in (text, f"pay_{text}"):
            try:
                found = parse_id("pay", candidate)
            except MalformedId:
                continue
            assert public_id("pay", found) == candidate.strip().lower()

    def test_a_malformed_id_in_an_address_leads_nowhere_like_an_unknown_one(self) -> None:
        nothing = NotFound("nothing")
        with pytest.raises(NotFound) as refused:
            path_id("pay", "rubbish", otherwise=nothing)
        assert refused.value is nothing
