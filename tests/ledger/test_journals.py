"""The journals as pure functions: whatever goes in, what comes out balances, and an event and its inverse leave no trace."""

from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.money import MalformedAmount, Money
from app.ledger.domain import AccountRef, Code, Line, Owner, Side, Unbalanced, check_balanced, credit, debit, inverse, net
from app.ledger.domain import journals as j

CURRENCIES = st.sampled_from(["EUR", "JPY", "KWD", "USD"])
PSP, BANK, CUSTOMER = Owner("connection", UUID(int=1)), Owner("bank", UUID(int=2)), Owner("customer", UUID(int=3))
SELLERS = [Owner("seller", UUID(int=number)) for number in range(10, 16)]
MINOR = st.integers(1, 10_000_000_000)


@st.composite
def plans(draw: st.DrawFn) -> list[j.Share]:
    """A capture's shares: sellers with fees, sometimes a carrier and tax without one."""
    currency = draw(CURRENCIES)
    shares = []
    for seller in draw(st.lists(st.sampled_from(SELLERS), min_size=1, max_size=5, unique=True)):
        amount = draw(MINOR)
        fee = draw(st.integers(0, amount))
        shares.append(j.Share(j.wallet_pending(seller), Money(amount, currency), Money(fee, currency)))
    if draw(st.booleans()):
        shares.append(j.Share(AccountRef(Code.TAX_COLLECTED), Money(draw(MINOR), currency), Money.zero(currency)))
    return shares


@st.composite
def transactions(draw: st.DrawFn) -> list[Line]:
    """Any journal with any input it takes."""
    plan = draw(plans())
    currency = plan[0].amount.currency
    amount, fee = Money(draw(MINOR), currency), Money(draw(MINOR), currency)
    whole = Money(sum(share.amount.minor for share in plan), currency)
    parts = j.unwind(
        plan, [j.Undone(Money.zero(currency), Money.zero(currency)) for _ in plan], Money(draw(st.integers(1, whole.minor)), currency)
    )
    lines = draw(st.lists(st.tuples(st.text(min_size=1, max_size=5), st.integers(-(10**9), 10**9)), min_size=1, max_size=6))
    batch = [(key, Money(minor, currency)) for key, minor in lines if minor] or [("a", amount)]
    journals: list[Callable[[], list[Line]]] = [
        lambda: j.authorise(payment="p", amount=amount),
        lambda: j.release_authorisation(payment="p", amount=amount),
        lambda: j.capture(payment="p", psp=PSP, shares=plan, released=draw(st.sampled_from([whole, Money.zero(currency)]))),
        lambda: j.psp_fee(payment="p", psp=PSP, fee=fee),
        lambda: j.psp_fee(payment="p", psp=PSP, fee=fee, charged=[(plan[0].account, fee)]),
        lambda: j.platform_fee(seller=SELLERS[0], fee=fee),
        lambda: j.become_available(seller=SELLERS[0], amount=amount, reserve_bps=draw(st.integers(0, 10_000)), reserve="r"),
        lambda: j.hold_reserve(seller=SELLERS[0], amount=amount, reserve="r"),
        lambda: j.release_reserve(seller=SELLERS[0], amount=amount, reserve="r"),
        lambda: j.request_refund(refund="r", psp=PSP, parts=parts),
        lambda: j.confirm_refund(refund="r", psp=PSP, amount=amount),
        lambda: j.fail_refund(refund="r", psp=PSP, parts=parts),
        lambda: j.return_refund(refund="r", psp=PSP, customer=CUSTOMER, amount=amount),
        lambda: j.report_settlement(batch="b", psp=PSP, lines=batch),
        lambda: j.receive_settlement(batch="b", psp=PSP, bank=BANK, amount=-amount),
    ]
    return draw(st.sampled_from(journals))()


class TestEveryJournal:
    @given(transactions())
    def test_balances_with_positive_amounts(self, lines: list[Line]) -> None:
        check_balanced(lines)
        assert all(line.amount.minor > 0 for line in lines)
        sums: dict[str, int] = {}
        for line in lines:
            sums[line.amount.currency] = sums.get(line.amount.currency, 0) + line.side * line.amount.minor
        assert set(sums.values()) == {0}

    @given(transactions())
    def test_followed_by_its_inverse_leaves_no_trace(self, lines: list[Line]) -> None:
        assert net([*lines, *inverse(lines)]) == {}


class TestCapture:
    @given(plans())
    def test_gives_each_share_its_net_and_the_platform_the_fees(self, plan: list[j.Share]) -> None:
        currency = plan[0].amount.currency
        whole = Money(sum(share.amount.minor for share in plan), currency)
        changes = net(j.capture(payment="p", psp=PSP, shares=plan, released=Money.zero(currency)))
        assert changes[PSP.account(Code.PSP_RECEIVABLE), currency] == whole.minor
        for share in plan:
            assert changes.get((share.account, currency), 0) == -share.net.minor
        assert changes.get((AccountRef(Code.PLATFORM_FEE), currency), 0) == -sum(share.fee.minor for share in plan)

    def test_two_sellers_carrier_and_tax(self) -> None:
        shares = [
            j.Share(j.wallet_pending(SELLERS[0]), eur(6000), eur(600)),
            j.Share(j.wallet_pending(SELLERS[1]), eur(3000), eur(300)),
            j.Share(j.wallet_pending(SELLERS[2]), eur(400), eur(0)),
            j.Share(AccountRef(Code.TAX_COLLECTED), eur(600), eur(0)),
        ]
        lines = j.capture(payment="p", psp=PSP, shares=shares, released=eur(10000))
        assert [(line.account.code, int(line.side), line.amount.minor) for line in lines] == [
            ("1100", 1, 10000),
            ("9200", 1, 10000),
            ("2100", -1, 5400),
            ("2100", -1, 2700),
            ("2100", -1, 400),
            ("2300", -1, 600),
            ("4100", -1, 900),
            ("9100", -1, 10000),
        ]

    def test_a_fee_above_its_share_is_refused(self) -> None:
        with pytest.raises(MalformedAmount):
            j.capture(payment="p", psp=PSP, shares=[j.Share(j.wallet_pending(SELLERS[0]), eur(10), eur(11))], released=eur(0))


class TestRefunds:
    @given(plans(), st.data())
    def test_partial_refunds_sum_exactly_to_the_whole_and_its_fees(self, plan: list[j.Share], data: st.DataObject) -> None:
        currency = plan[0].amount.currency
        left = sum(share.amount.minor for share in plan)
        undone = {share.account: j.Undone(Money.zero(currency), Money.zero(currency)) for share in plan}
        while left:
            amount = data.draw(st.integers(1, left)) if left > 1 and data.draw(st.booleans()) else left
            parts = j.unwind(plan, [undone[share.account] for share in plan], Money(amount, currency))
            assert sum(part.amount.minor for part in parts) == amount
            for part in parts:
                assert not part.fee_returned.is_negative
                assert part.fee_returned <= part.amount
                before = undone[part.account]
                undone[part.account] = j.Undone(before.amount + part.amount, before.fee + part.fee_returned)
            left -= amount
        for share in plan:
            assert undone[share.account] == j.Undone(share.amount, share.fee)

    def test_more_than_is_left_is_refused(self) -> None:
        plan = [j.Share(j.wallet_pending(SELLERS[0]), eur(100), eur(5))]
        with pytest.raises(MalformedAmount):
            j.unwind(plan, [j.Undone(eur(60), eur(3))], eur(41))

    def test_the_platform_may_keep_its_fee(self) -> None:
        plan = [j.Share(j.wallet_pending(SELLERS[0]), eur(100), eur(5))]
        parts = j.unwind(plan, [j.Undone(eur(0), eur(0))], eur(100), return_fees=False)
        assert net(j.request_refund(refund="r", psp=PSP, parts=parts)) == {
            (j.wallet_pending(SELLERS[0]), "EUR"): 100,
            (PSP.account(Code.REFUND_IN_TRANSIT), "EUR"): -100,
        }

    def test_what_a_wallet_cannot_cover_is_owed(self) -> None:
        part = j.RefundPart(j.wallet_available(SELLERS[0]), eur(100), eur(5), eur(40))
        changes = net(j.request_refund(refund="r", psp=PSP, parts=[part]))
        assert changes[j.wallet_available(SELLERS[0]), "EUR"] == 55
        assert changes[SELLERS[0].account(Code.SELLER_RECEIVABLE), "EUR"] == 40

    def test_a_refund_that_came_back_is_parked_for_the_buyer(self) -> None:
        changes = net(j.return_refund(refund="r", psp=PSP, customer=CUSTOMER, amount=eur(100)))
        assert changes == {(PSP.account(Code.PSP_RECEIVABLE), "EUR"): 100, (CUSTOMER.account(Code.REFUND_UNCLAIMED), "EUR"): -100}


class TestOneRoundOfAPayment:
    def test_captured_fees_paid_settled_leaves_nothing_at_the_psp(self) -> None:
        plan = [j.Share(j.wallet_pending(SELLERS[0]), eur(10000), eur(500))]
        lines = [
            *j.authorise(payment="p", amount=eur(10000)),
            *j.capture(payment="p", psp=PSP, shares=plan, released=eur(10000)),
            *j.psp_fee(payment="p", psp=PSP, fee=eur(320)),
            *j.become_available(seller=SELLERS[0], amount=eur(9500), reserve_bps=1000, reserve="r"),
            *j.report_settlement(batch="B", psp=PSP, lines=[("p", eur(9680))]),
            *j.receive_settlement(batch="B", psp=PSP, bank=BANK, amount=eur(9680)),
        ]
        assert {account.code: minor for (account, _), minor in net(lines).items()} == {
            "5100": 320,
            "1201": 9680,
            "2110": -8550,
            "2120": -950,
            "4100": -500,
        }


class TestCheckBalanced:
    def test_refuses_a_difference_naming_the_currency(self) -> None:
        with pytest.raises(Unbalanced, match="EUR"):
            check_balanced([debit(AccountRef("1100"), eur(2)), credit(AccountRef("2100"), eur(1))])

    def test_refuses_currencies_that_only_balance_together(self) -> None:
        with pytest.raises(Unbalanced, match="EUR, USD"):
            check_balanced([debit(AccountRef("1100"), eur(1)), credit(AccountRef("2100"), Money(1, "USD"))])

    @pytest.mark.parametrize("minor", [0, -1])
    def test_refuses_an_amount_that_is_not_positive(self, minor: int) -> None:
        with pytest.raises(Unbalanced):
            check_balanced([Line(AccountRef("1100"), Side.DEBIT, eur(minor)), Line(AccountRef("2100"), Side.CREDIT, eur(minor))])

    def test_refuses_a_transaction_without_lines(self) -> None:
        with pytest.raises(Unbalanced):
            check_balanced([])


def eur(minor: int) -> Money:
    return Money(minor, "EUR")
