"""Posting through the service: once, balanced, never below zero, never into a closed day."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

import psycopg
import pytest

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import MerchantId, new_id
from app.core.money import Money
from app.ledger import domain, queries, service
from app.ledger.domain import AccountRef, AccountStatus, Code, Kind, Line, Posting, TransactionId, credit, debit
from tests.ledger.direct import BANK, available, eur, fund, move, seller, spend

TODAY = date(2026, 11, 21)


def posting(
    lines: Sequence[Line], *, key: str = "event", source: UUID | None = None, on: date = TODAY, kind: str = Kind.ADJUSTED
) -> Posting:
    return Posting(kind=kind, source_type="test", source_id=source or new_id(), event_key=key, effective_on=on, lines=list(lines))


async def post(merchant: MerchantId, *postings: Posting) -> list[TransactionId]:
    async with unit_of_work(merchant) as session:
        return await service.post(session, merchant_id=merchant, postings=list(postings))


async def held(merchant: MerchantId, account: AccountRef, currency: str = "EUR") -> int:
    async with unit_of_work(merchant) as session:
        return (await queries.balance(session, merchant_id=merchant, account=account, currency=currency)).balance.minor


async def sound(merchant: MerchantId) -> bool:
    async with unit_of_work(merchant) as session:
        return (await queries.check(session, merchant_id=merchant)).is_sound


class TestPost:
    async def test_moves_money_between_accounts_opened_on_first_use(self, merchant: MerchantId) -> None:
        anna = seller()
        await post(merchant, posting(fund(anna, 1000)))
        await post(merchant, posting(spend(anna, 400)))
        assert await held(merchant, available(anna)) == 600
        assert await held(merchant, BANK) == 600
        assert await sound(merchant)

    async def test_several_at_once_in_order(self, merchant: MerchantId) -> None:
        anna, bert = seller(), seller()
        numbers = await post(
            merchant, posting(fund(anna, 1000)), posting(fund(bert, 500)), posting([*move(anna, bert, 300), *move(bert, anna, 1)])
        )
        assert numbers == sorted(numbers)
        assert len(set(numbers)) == 3
        assert (await held(merchant, available(anna)), await held(merchant, available(bert))) == (701, 799)
        assert await sound(merchant)

    async def test_a_thousand_at_once(self, merchant: MerchantId) -> None:
        owners = [seller() for _ in range(20)]
        numbers = await post(merchant, *(posting(fund(owners[i % 20], i + 1)) for i in range(1000)))
        assert len(set(numbers)) == 1000
        assert await held(merchant, BANK) == 500_500
        assert await sound(merchant)

    async def test_one_account_on_both_sides_counts_its_net(self, merchant: MerchantId) -> None:
        anna = seller()
        await post(merchant, posting([*spend(anna, 700), *fund(anna, 1000)]))
        assert await held(merchant, available(anna)) == 300
        assert await sound(merchant)

    async def test_currencies_are_kept_apart(self, merchant: MerchantId) -> None:
        anna = seller()
        dollars = [debit(BANK, Money(7, "USD")), credit(available(anna), Money(7, "USD"))]
        await post(merchant, posting([*fund(anna, 1000), *dollars]))
        assert (await held(merchant, available(anna)), await held(merchant, available(anna), "USD")) == (1000, 7)

    async def test_a_francs_currency_without_decimals(self, merchant: MerchantId, superuser: psycopg.Connection) -> None:
        assert superuser.execute("select exponent from ledger.currency where code = 'XOF'").fetchone() == (0,)

    async def test_nothing_to_post(self, merchant: MerchantId) -> None:
        assert await post(merchant) == []


class TestRefusals:
    async def test_unbalanced_before_the_database(self, merchant: MerchantId) -> None:
        with pytest.raises(domain.Unbalanced):
            await post(merchant, posting([debit(BANK, eur(2)), credit(available(seller()), eur(1))]))

    async def test_more_than_the_wallet_holds(self, merchant: MerchantId) -> None:
        anna = seller()
        await post(merchant, posting(fund(anna, 100)))
        with pytest.raises(domain.InsufficientFunds):
            await post(merchant, posting(spend(anna, 101)))
        assert await held(merchant, available(anna)) == 100

    async def test_one_bad_posting_undoes_the_whole_call(self, merchant: MerchantId) -> None:
        anna = seller()
        with pytest.raises(domain.InsufficientFunds):
            await post(merchant, posting(fund(seller(), 100)), posting(spend(anna, 1)))
        assert await held(merchant, BANK) == 0

    @pytest.mark.parametrize("account", [AccountRef("2999"), AccountRef("2110", "seller", None)])
    async def test_an_account_the_chart_does_not_know(self, merchant: MerchantId, account: AccountRef) -> None:
        with pytest.raises(domain.UnknownAccount):
            await post(merchant, posting([debit(BANK, eur(1)), credit(account, eur(1))]))

    async def test_a_kind_nobody_knows(self, merchant: MerchantId) -> None:
        with pytest.raises(domain.UnknownAccount):
            await post(merchant, posting(fund(seller(), 1), kind="no.such"))

    async def test_a_credit_line_ends_where_it_was_agreed(self, merchant: MerchantId) -> None:
        anna = seller()
        async with unit_of_work(merchant) as session:
            await service.open_account(session, merchant_id=merchant, account=available(anna), currency="EUR", min_available=-500)
        await post(merchant, posting(spend(anna, 500)))
        with pytest.raises(domain.InsufficientFunds):
            await post(merchant, posting(spend(anna, 1)))
        assert await sound(merchant)


class TestExactlyOnce:
    @pytest.mark.parametrize("extra", [0, 1], ids=["alone", "among others"])
    async def test_the_same_event_again_gives_the_first_number(self, merchant: MerchantId, extra: int) -> None:
        anna, source = seller(), new_id()
        [first] = await post(merchant, posting(fund(anna, 100), source=source))
        others = [posting(fund(seller(), 5)) for _ in range(extra)]
        again = await post(merchant, posting(fund(anna, 100), source=source, on=date(2026, 11, 22)), *others)
        assert again[0] == first
        assert await held(merchant, available(anna)) == 100
        assert await sound(merchant)

    async def test_posted_among_others_then_alone(self, merchant: MerchantId) -> None:
        anna, source = seller(), new_id()
        first = await post(merchant, posting(fund(anna, 100), source=source), posting(fund(anna, 7)))
        assert await post(merchant, posting(fund(anna, 100), source=source)) == first[:1]

    @pytest.mark.parametrize("extra", [0, 1], ids=["alone", "among others"])
    async def test_the_same_event_with_other_content_is_refused(self, merchant: MerchantId, extra: int) -> None:
        anna, source = seller(), new_id()
        await post(merchant, posting(fund(anna, 100), source=source))
        with pytest.raises(domain.LedgerIdempotencyConflict):
            await post(merchant, posting(fund(anna, 101), source=source), *(posting(fund(seller(), 5)) for _ in range(extra)))
        assert await held(merchant, available(anna)) == 100

    async def test_the_same_event_twice_in_one_call_is_posted_once(self, merchant: MerchantId) -> None:
        anna, source = seller(), new_id()
        numbers = await post(merchant, posting(fund(anna, 100), source=source), posting(fund(anna, 100), source=source))
        assert len(set(numbers)) == 1
        assert await held(merchant, available(anna)) == 100
        assert await sound(merchant)


class TestPeriods:
    async def test_nothing_is_posted_into_a_closed_day(self, merchant: MerchantId) -> None:
        await post(merchant, posting(fund(seller(), 100), on=date(2026, 11, 1)))
        async with unit_of_work(merchant) as session:
            assert await service.close_period(session, merchant_id=merchant, through=date(2026, 11, 20)) == 2
        for postings in ([posting(fund(seller(), 1), on=date(2026, 11, 20))], [posting(fund(seller(), 1), on=date(2026, 11, 20))] * 2):
            with pytest.raises(domain.PeriodClosed, match="2026-11-20"):
                await post(merchant, *postings)
        await post(merchant, posting(fund(seller(), 1), on=date(2026, 11, 21)))

    async def test_what_was_posted_before_is_still_recognised(self, merchant: MerchantId) -> None:
        source, anna = new_id(), seller()
        first = await post(merchant, posting(fund(anna, 100), source=source, on=date(2026, 11, 1)))
        async with unit_of_work(merchant) as session:
            await service.close_period(session, merchant_id=merchant, through=date(2026, 11, 20))
        assert await post(merchant, posting(fund(anna, 100), source=source, on=date(2026, 11, 1))) == first

    async def test_a_closed_period_stays_closed(self, merchant: MerchantId, superuser: psycopg.Connection) -> None:
        await post(merchant, posting(fund(seller(), 100)))
        async with unit_of_work(merchant) as session:
            await service.close_period(session, merchant_id=merchant, through=date(2026, 11, 20))
            assert await service.close_period(session, merchant_id=merchant, through=date(2026, 11, 10)) == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            superuser.execute("update ledger.book set closed_through = '2026-01-01'")

    async def test_trial_balances_of_past_days_use_what_was_kept(self, merchant: MerchantId) -> None:
        anna = seller()
        for day in range(1, 8):
            await post(merchant, posting(fund(anna, day), on=date(2026, 11, day)))
        expected = {3: 6, 4: 10, 5: 15, 7: 28}
        for closing in (None, 3, 5):
            async with unit_of_work(merchant) as session:
                if closing:
                    await service.close_period(session, merchant_id=merchant, through=date(2026, 11, closing))
                for day, minor in expected.items():
                    page = await queries.trial_balance_page(session, merchant_id=merchant, as_of=date(2026, 11, day))
                    assert [(found.debits.minor, found.credits.minor) for found in page.balances] == [(minor, minor)]


class TestAccountStatus:
    @pytest.mark.parametrize(
        ("status", "may_enter", "may_leave"),
        [
            (AccountStatus.OPEN, True, True),
            (AccountStatus.FROZEN_OUT, True, False),
            (AccountStatus.FROZEN, False, False),
            (AccountStatus.CLOSED, False, False),
        ],
    )
    @pytest.mark.parametrize("extra", [0, 1], ids=["alone", "among others"])
    async def test_decides_what_moves(
        self, merchant: MerchantId, status: AccountStatus, may_enter: bool, may_leave: bool, extra: int
    ) -> None:
        anna = seller()
        await post(merchant, posting(fund(anna, 100)))
        async with unit_of_work(merchant) as session:
            number = await service.open_account(session, merchant_id=merchant, account=available(anna), currency="EUR")
            await service.set_account_status(session, merchant_id=merchant, account_id=number, status=status)
        for lines, allowed in ((fund(anna, 5), may_enter), (spend(anna, 5), may_leave)):
            postings = [posting(lines), *(posting(fund(seller(), 1)) for _ in range(extra))]
            if allowed:
                await post(merchant, *postings)
            else:
                with pytest.raises(domain.AccountFrozen):
                    await post(merchant, *postings)

    async def test_a_closed_account_is_not_reopened(self, merchant: MerchantId) -> None:
        async with unit_of_work(merchant) as session:
            number = await service.open_account(session, merchant_id=merchant, account=available(seller()), currency="EUR")
            await service.set_account_status(session, merchant_id=merchant, account_id=number, status=AccountStatus.CLOSED)
            with pytest.raises(domain.AccountNotFound):
                await service.set_account_status(session, merchant_id=merchant, account_id=number, status=AccountStatus.OPEN)


class TestReverse:
    async def test_undoes_every_line_once(self, merchant: MerchantId) -> None:
        anna, actor = seller(), Actor.system(merchant)
        [number] = await post(merchant, posting(fund(anna, 100)))
        async with unit_of_work(merchant) as session:
            undo = await service.reverse(
                session, merchant_id=merchant, transaction_id=number, effective_on=TODAY, actor=actor, reason="Entered twice"
            )
            again = await service.reverse(
                session, merchant_id=merchant, transaction_id=number, effective_on=TODAY, actor=actor, reason="Entered twice"
            )
            page = await queries.transaction_page(session, merchant_id=merchant, transaction_id=number)
        assert undo == again
        assert (page.transaction.state, page.transaction.reversed_by) == ("Reversed", undo)
        assert page.related[0].reverses == number
        assert await held(merchant, available(anna)) == 0
        assert await sound(merchant)

    async def test_is_refused_when_the_money_is_gone(self, merchant: MerchantId) -> None:
        anna = seller()
        [number] = await post(merchant, posting(fund(anna, 100)))
        await post(merchant, posting(spend(anna, 1)))
        with pytest.raises(domain.InsufficientFunds):
            async with unit_of_work(merchant) as session:
                await service.reverse(
                    session, merchant_id=merchant, transaction_id=number, effective_on=TODAY, actor=Actor.system(merchant), reason="x"
                )

    async def test_what_does_not_exist_is_not_found(self, merchant: MerchantId) -> None:
        with pytest.raises(domain.TransactionNotFound):
            async with unit_of_work(merchant) as session:
                await service.reverse(
                    session,
                    merchant_id=merchant,
                    transaction_id=TransactionId(1),
                    effective_on=TODAY,
                    actor=Actor.system(merchant),
                    reason="x",
                )


class TestHolds:
    async def test_what_is_held_cannot_be_spent_until_released(self, merchant: MerchantId) -> None:
        anna = seller()
        await post(merchant, posting(fund(anna, 100)))
        async with unit_of_work(merchant) as session:
            hold = await service.hold(session, merchant_id=merchant, posting=posting(spend(anna, 80), key="hold"))
            found = await queries.balance(session, merchant_id=merchant, account=available(anna), currency="EUR")
        assert (found.balance.minor, found.available.minor) == (100, 20)
        with pytest.raises(domain.InsufficientFunds):
            await post(merchant, posting(spend(anna, 21)))
        assert await sound(merchant)
        async with unit_of_work(merchant) as session:
            await service.end_hold(session, merchant_id=merchant, hold_id=hold, event_key="released", effective_on=TODAY)
        await post(merchant, posting(spend(anna, 100)))
        assert await sound(merchant)

    async def test_is_posted_in_part_and_ends_once(self, merchant: MerchantId) -> None:
        anna = seller()
        await post(merchant, posting(fund(anna, 100)))
        async with unit_of_work(merchant) as session:
            hold = await service.hold(session, merchant_id=merchant, posting=posting(spend(anna, 80), key="hold"))
            ended = await service.end_hold(
                session, merchant_id=merchant, hold_id=hold, event_key="posted", effective_on=TODAY, amounts=[30, 30]
            )
            again = await service.end_hold(
                session, merchant_id=merchant, hold_id=hold, event_key="posted", effective_on=TODAY, amounts=[30, 30]
            )
            found = await queries.balance(session, merchant_id=merchant, account=available(anna), currency="EUR")
        assert ended == again
        assert (found.balance.minor, found.available.minor) == (70, 70)
        with pytest.raises(domain.AlreadyReversed):
            async with unit_of_work(merchant) as session:
                await service.end_hold(session, merchant_id=merchant, hold_id=hold, event_key="twice", effective_on=TODAY)
        assert await sound(merchant)

    @pytest.mark.parametrize("amounts", [[81, 81], [80, 79], [80], []])
    async def test_more_or_other_than_was_held_is_refused(self, merchant: MerchantId, amounts: list[int]) -> None:
        anna = seller()
        await post(merchant, posting(fund(anna, 100)))
        async with unit_of_work(merchant) as session:
            hold = await service.hold(session, merchant_id=merchant, posting=posting(spend(anna, 80), key="hold"))
        with pytest.raises(domain.Unbalanced):
            async with unit_of_work(merchant) as session:
                await service.end_hold(session, merchant_id=merchant, hold_id=hold, event_key="posted", effective_on=TODAY, amounts=amounts)


class TestChart:
    def test_code_and_table_name_the_same_accounts(self, superuser: psycopg.Connection) -> None:
        assert [row[0] for row in superuser.execute("select code from ledger.chart order by code")] == sorted(Code)

    def test_code_and_table_name_the_same_kinds(self, superuser: psycopg.Connection) -> None:
        assert {row[0] for row in superuser.execute("select code from ledger.txn_kind")} == set(Kind)

    def test_wallets_may_not_go_below_zero(self, superuser: psycopg.Connection) -> None:
        guarded = {row[0] for row in superuser.execute("select code from ledger.chart where min_available = 0 and contention = 0")}
        assert guarded >= {Code.SELLER_PENDING, Code.SELLER_AVAILABLE, Code.SELLER_RESERVE, Code.PAYOUT_RESERVED}


class TestSharded:
    async def test_an_account_in_shards_reads_as_one(self, merchant: MerchantId, superuser: psycopg.Connection) -> None:
        superuser.execute("update ledger.chart set contention = 1, shards = 8 where code = '4300'")
        breakage = AccountRef(Code.GIFT_CARD_BREAKAGE)
        for minor in range(1, 20):
            await post(merchant, posting([debit(BANK, eur(minor)), credit(breakage, eur(minor))]))
        async with unit_of_work(merchant) as session:
            await service.hold(session, merchant_id=merchant, posting=posting([debit(BANK, eur(5)), credit(breakage, eur(5))]))
        assert await held(merchant, breakage) == 190
        rows = superuser.execute(
            "select count(*) from ledger.balance b join ledger.account a on a.id = b.account_id where a.code = '4300' and b.credits_posted > 0"
        )
        assert rows.fetchone() == (8,)
        assert await sound(merchant)
