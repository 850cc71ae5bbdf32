"""The arithmetic of splits, and the states of payments."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.ids import SellerId, new_id
from app.core.money import Money
from app.core.state import IllegalTransition
from app.payments.domain import (
    ASK_AFTER,
    PAYMENT,
    Part,
    PaymentStatus,
    Share,
    SplitInvalid,
    capture_shares,
    money_event,
    next_ask_at,
    refund_shares,
)

amounts = st.integers(1, 10_000_000)


@st.composite
def plans(draw: st.DrawFn) -> list[Part]:
    """A payment's parts: one to six sellers, fees between nothing and everything."""
    parts = []
    for _ in range(draw(st.integers(1, 6))):
        amount = draw(amounts)
        parts.append(Part(seller_id=SellerId(new_id()), amount_minor=amount, fee_minor=draw(st.integers(0, amount))))
    return parts


def whole(parts: list[Part]) -> int:
    return sum(part.amount_minor for part in parts)


def captured(parts: list[Part], shares: list[Share]) -> list[Part]:
    by_seller = {share.seller_id: share for share in shares}
    return [
        part
        if part.seller_id not in by_seller
        else Part(
            seller_id=part.seller_id,
            amount_minor=part.amount_minor,
            fee_minor=part.fee_minor,
            captured_minor=part.captured_minor + by_seller[part.seller_id].amount_minor,
            fee_captured_minor=part.fee_captured_minor + by_seller[part.seller_id].fee_minor,
        )
        for part in parts
    ]


def refunded(parts: list[Part], shares: list[Share]) -> list[Part]:
    by_seller = {share.seller_id: share for share in shares}
    return [
        part
        if part.seller_id not in by_seller
        else Part(
            seller_id=part.seller_id,
            amount_minor=part.amount_minor,
            fee_minor=part.fee_minor,
            captured_minor=part.captured_minor,
            fee_captured_minor=part.fee_captured_minor,
            refunded_minor=part.refunded_minor + by_seller[part.seller_id].amount_minor,
            fee_returned_minor=part.fee_returned_minor + by_seller[part.seller_id].fee_minor,
        )
        for part in parts
    ]


class TestSplits:
    @given(parts=plans(), data=st.data())
    def test_captures_in_any_steps_end_at_the_plan_to_the_cent(self, parts: list[Part], data: st.DataObject) -> None:
        plan = parts
        for _ in range(4):
            left = whole(plan) - sum(part.captured_minor for part in parts)
            if left == 0:
                break
            step = data.draw(st.integers(1, left))
            shares = capture_shares(parts, Money(step, "EUR"))
            assert sum(share.amount_minor for share in shares) == step
            assert all(0 <= share.fee_minor <= share.amount_minor and share.amount_minor > 0 for share in shares)
            parts = captured(parts, shares)
            assert all(part.captured_minor <= part.amount_minor for part in parts)
        left = whole(plan) - sum(part.captured_minor for part in parts)
        if left:
            parts = captured(parts, capture_shares(parts, Money(left, "EUR")))
        assert [part.captured_minor for part in parts] == [part.amount_minor for part in plan]
        assert [part.fee_captured_minor for part in parts] == [part.fee_minor for part in plan]

    @given(parts=plans(), data=st.data())
    def test_partial_refunds_return_exactly_what_was_captured_and_the_whole_fee(self, parts: list[Part], data: st.DataObject) -> None:
        first = data.draw(st.integers(1, whole(parts)))
        parts = captured(parts, capture_shares(parts, Money(first, "EUR")))
        while (left := sum(part.captured_minor - part.refunded_minor for part in parts)) > 0:
            step = data.draw(st.integers(max(1, left // 3), left))
            shares = refund_shares(parts, Money(step, "EUR"))
            assert sum(share.amount_minor for share in shares) == step
            assert all(share.fee_minor >= 0 and share.net_minor >= 0 for share in shares)
            parts = refunded(parts, shares)
        assert [part.refunded_minor for part in parts] == [part.captured_minor for part in parts]
        assert [part.fee_returned_minor for part in parts] == [part.fee_captured_minor for part in parts]

    @given(parts=plans())
    def test_a_kept_fee_is_not_returned(self, parts: list[Part]) -> None:
        parts = captured(parts, capture_shares(parts, Money(whole(parts), "EUR")))
        shares = refund_shares(parts, Money(whole(parts), "EUR"), keep_fee=True)
        assert sum(share.fee_minor for share in shares) == 0
        assert sum(share.net_minor for share in shares) == whole(parts)

    def test_a_fee_that_was_kept_once_is_not_returned_by_a_later_refund(self) -> None:
        part = Part(seller_id=SellerId(new_id()), amount_minor=1_000, fee_minor=101, captured_minor=1_000, fee_captured_minor=101)
        (kept,) = refund_shares([part], Money(500, "EUR"), keep_fee=True)
        assert (kept.fee_minor, kept.kept_minor) == (0, 51)
        part = msgspec.structs.replace(part, refunded_minor=500, fee_kept_minor=51)
        (given,) = refund_shares([part], Money(500, "EUR"))
        assert (given.fee_minor, given.kept_minor) == (50, 0)

    def test_a_wanted_split_is_taken_as_it_is(self) -> None:
        one, two = (Part(seller_id=SellerId(new_id()), amount_minor=600, fee_minor=60) for _ in range(2))
        shares = capture_shares([one, two], Money(500, "EUR"), wanted={two.seller_id: 500})
        assert [(share.seller_id, share.amount_minor, share.fee_minor) for share in shares] == [(two.seller_id, 500, 50)]

    @pytest.mark.parametrize("wanted", [{}, {"one": 499}, {"one": 601}, {"one": 700, "two": -200}, {"stranger": 500}])
    def test_a_split_that_does_not_fit_is_refused(self, wanted: dict[str, int]) -> None:
        one, two = (Part(seller_id=SellerId(new_id()), amount_minor=600, fee_minor=60) for _ in range(2))
        names = {"one": one.seller_id, "two": two.seller_id, "stranger": SellerId(new_id())}
        amount = 601 if wanted == {"one": 601} else 500
        with pytest.raises(SplitInvalid):
            capture_shares([one, two], Money(amount, "EUR"), wanted={names[name]: minor for name, minor in wanted.items()})


class TestStates:
    def test_a_final_no_is_final_unless_the_psp_took_the_money_after_all(self) -> None:
        assert PAYMENT.events(PaymentStatus.VOIDED) == []
        for given_up in (PaymentStatus.FAILED, PaymentStatus.EXPIRED):
            assert PAYMENT.events(given_up) == ["revive"]

    def test_money_that_was_taken_is_never_forgotten(self) -> None:
        taken = (PaymentStatus.CAPTURED, PaymentStatus.PARTIALLY_CAPTURED, PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED)
        for state in taken:
            for event in PAYMENT.events(state):
                assert PAYMENT.next(state, event) in taken
        with pytest.raises(IllegalTransition, match="captured"):
            PAYMENT.next(PaymentStatus.CAPTURED, "void")

    def test_an_unknown_payment_can_end_either_way(self) -> None:
        assert {"fail", "authorise", "capture_all"} <= set(PAYMENT.events(PaymentStatus.UNKNOWN))

    @given(amount=amounts, data=st.data())
    def test_the_state_follows_the_money(self, amount: int, data: st.DataObject) -> None:
        taken = data.draw(st.integers(1, amount))
        back = data.draw(st.integers(0, taken))
        released = data.draw(st.booleans())
        event = money_event(amount_minor=amount, captured_minor=taken, refunded_minor=back, rest_released=released)
        complete = taken == amount or released
        expected = "refund_all" if back == taken and complete else "refund_part" if back else "capture_all" if complete else "capture_part"
        assert event == expected


class TestAsking:
    def test_it_is_asked_again_later_and_later_and_then_a_person_decides(self) -> None:
        moment = datetime(2026, 11, 20, tzinfo=UTC)
        times = [next_ask_at(asked, moment) for asked in range(len(ASK_AFTER) + 1)]
        assert times[0] == moment + timedelta(minutes=1)
        assert times[-1] is None
        assert all(earlier <= later for earlier, later in pairwise(times[:-1]) if earlier and later)
