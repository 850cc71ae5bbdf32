"""Who travels with whom, and that one's refusal is not another's."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from psycopg import errors as postgres

from app.core.gathering import MOMENT, MOST, PATIENCE, Gathering


class Refused(postgres.CheckViolation):
    sqlstate = "23514"


class Road:
    """Carries what is sent when the test lets it, and remembers who travelled together."""

    def __init__(self) -> None:
        self.journeys: list[list[int]] = []
        self.open = asyncio.Event()
        self.refuses: set[int] = set()
        self.breaks = False

    async def __call__(self, group: str, ones: Sequence[int]) -> list[int]:
        self.journeys.append(list(ones))
        await self.open.wait()
        if self.breaks:
            raise postgres.OperationalError("the connection is lost")
        if self.refuses & set(ones):
            raise Refused
        return [one * 10 for one in ones]


async def turns(count: int = 5) -> None:
    """Let every task that can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


def begin(calls: Gathering[str, int, int], *numbers: int, group: str = "a") -> list["asyncio.Task[int]"]:
    return [asyncio.ensure_future(calls(group, number)) for number in numbers]


async def test_the_first_leaves_at_once_and_the_next_leave_together() -> None:
    road = Road()
    calls = Gathering(road)
    first = begin(calls, 1)
    await turns()
    rest = begin(calls, 2, 3, 4)
    await turns()
    assert road.journeys == [[1]]
    road.open.set()
    assert await asyncio.gather(*first, *rest) == [10, 20, 30, 40]
    assert road.journeys == [[1], [2, 3, 4]]


async def test_groups_do_not_mix() -> None:
    road = Road()
    calls = Gathering(road)
    tasks = begin(calls, 1, group="a") + begin(calls, 2, group="b")
    await turns()
    tasks += begin(calls, 3, group="a") + begin(calls, 4, group="b")
    road.open.set()
    assert await asyncio.gather(*tasks) == [10, 20, 30, 40]
    assert sorted(road.journeys) == [[1], [2], [3], [4]]


async def test_a_refusal_is_given_to_the_one_it_is_for() -> None:
    road = Road()
    calls = Gathering(road)
    road.refuses = {3}
    tasks = begin(calls, 1)
    await turns()
    tasks += begin(calls, 2, 3, 4)
    road.open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [found[0], found[1], found[3]] == [10, 20, 40]
    assert isinstance(found[2], Refused)
    assert road.journeys == [[1], [2, 3, 4], [2], [3], [4]]


async def test_a_lost_connection_is_nobodys_refusal_and_nothing_is_sent_again() -> None:
    road = Road()
    calls = Gathering(road)
    tasks = begin(calls, 1)
    await turns()
    tasks += begin(calls, 2, 3)
    road.breaks = True
    road.open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [postgres.OperationalError] * 3
    assert road.journeys == [[1], [2, 3]]


async def test_who_goes_away_before_anything_was_sent_is_not_sent() -> None:
    road = Road()
    calls = Gathering(road)
    first = begin(calls, 1)
    await turns()
    gone, stays = begin(calls, 2, 3)
    await turns()
    gone.cancel()
    road.open.set()
    assert await asyncio.gather(*first, stays) == [10, 30]
    assert road.journeys == [[1], [3]]
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_call_that_stays_away_does_not_hold_up_the_others() -> None:
    stuck, journeys = asyncio.Event(), []

    async def send(_: str, ones: Sequence[int]) -> list[int]:
        journeys.append(list(ones))
        if 1 in ones:
            await stuck.wait()
        return list(ones)

    calls = Gathering(send)
    waits = begin(calls, 1)
    await turns()
    before = asyncio.get_running_loop().time()
    assert await asyncio.gather(*begin(calls, 2, 3)) == [2, 3]
    assert asyncio.get_running_loop().time() - before >= PATIENCE * 0.9
    assert journeys == [[1], [2, 3]]
    stuck.set()
    assert await waits[0] == 1


async def test_no_call_grows_without_bounds() -> None:
    road = Road()
    calls = Gathering(road)
    tasks = begin(calls, *range(2 * MOST + 2))
    await turns()
    road.open.set()
    assert await asyncio.gather(*tasks) == [10 * n for n in range(2 * MOST + 2)]
    assert max(len(journey) for journey in road.journeys) <= MOST


async def test_as_many_as_last_time_are_waited_for_but_not_for_long() -> None:
    road = Road()
    calls = Gathering(road)
    first = begin(calls, 1)
    await turns()
    rest = begin(calls, 2, 3, 4)
    road.open.set()
    await asyncio.gather(*first, *rest)
    together = begin(calls, 5)
    await turns()
    together += begin(calls, 6, 7)
    await asyncio.gather(*together)
    alone = begin(calls, 8)
    await turns()
    assert road.journeys[-1] == [5, 6, 7], "one alone waits a moment for the others"
    assert await alone[0] == 80
    assert road.journeys == [[1], [2, 3, 4], [5, 6, 7], [8]]
    at_once = begin(calls, 9)
    await turns()
    assert road.journeys[-1] == [9], "after one alone nobody is waited for"
    await at_once[0]


async def test_nothing_is_kept_when_all_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.core.gathering.IDLE", 0.0)
    road = Road()
    road.open.set()
    calls = Gathering(road)
    await asyncio.gather(*begin(calls, 1, 2, 3))
    await turns(20)
    assert calls._lanes == {}


async def test_those_who_begin_meet_those_who_finish() -> None:
    """Two halves that each travel as three wait for one more, and from then on travel as six."""
    journeys: list[int] = []

    async def send(_: str, ones: Sequence[int]) -> list[int]:
        journeys.append(len(ones))
        await asyncio.sleep(0)
        return list(ones)

    calls = Gathering(send)

    async def busy(late: bool) -> None:
        if late:
            await turns(3)
        for number in range(30):
            await calls("a", number)
            await turns(2)

    await asyncio.gather(*(busy(late) for late in [False] * 3 + [True] * 3))
    assert journeys.count(6) >= 5


async def test_calls_of_two_kinds_take_turns() -> None:
    """While a call of either kind is on its way, what comes for both waits; whoever waited longest leaves first."""
    road = Road()
    begins = Gathering(road)
    takes = Gathering(road, beside=begins)
    tasks = begin(takes, 1)
    await turns()
    tasks += begin(begins, 2, 3)
    await turns()
    tasks += begin(takes, 4, 5)
    await turns()
    assert road.journeys == [[1]]
    road.open.set()
    assert await asyncio.gather(*tasks) == [10, 20, 30, 40, 50]
    assert road.journeys == [[1], [2, 3], [4, 5]]


async def test_two_kinds_of_different_groups_do_not_wait_for_each_other() -> None:
    road = Road()
    begins = Gathering(road)
    takes = Gathering(road, beside=begins)
    tasks = begin(begins, 1, group="a") + begin(takes, 2, group="b")
    await turns()
    assert road.journeys == [[1], [2]]
    road.open.set()
    await asyncio.gather(*tasks)


async def test_one_kind_that_stays_away_does_not_hold_up_the_other() -> None:
    stuck, journeys = asyncio.Event(), []

    async def send(_: str, ones: Sequence[int]) -> list[int]:
        journeys.append(list(ones))
        if 1 in ones:
            await stuck.wait()
        return list(ones)

    begins = Gathering(send)
    takes = Gathering(send, beside=begins)
    waits = begin(begins, 1)
    await turns()
    before = asyncio.get_running_loop().time()
    assert await asyncio.gather(*begin(takes, 2, 3)) == [2, 3]
    assert asyncio.get_running_loop().time() - before >= PATIENCE * 0.9
    later = begin(begins, 4) + begin(takes, 5)
    assert await asyncio.gather(*later) == [4, 5]
    assert journeys[:2] == [[1], [2, 3]] and sorted(journeys[2:]) == [[4], [5]]
    stuck.set()
    assert await waits[0] == 1


async def test_a_moments_wait_ends_in_a_longer_one_when_the_other_kind_has_set_out() -> None:
    """Who waits for company as last time does not leave on his own beside a call that left meanwhile."""
    road = Road()
    begins = Gathering(road)
    takes = Gathering(road, beside=begins)
    road.open.set()
    await asyncio.gather(*begin(begins, 1))
    first = begin(begins, 2)
    await turns(1)
    await asyncio.gather(*first, *begin(begins, 3, 4))
    road.open.clear()
    alone = begin(begins, 5)
    await turns()
    other = begin(takes, 6)
    await turns()
    assert road.journeys[-1] == [6]
    await asyncio.sleep(3 * MOMENT)
    assert road.journeys[-1] == [6], "the call of the other kind is still on its way"
    road.open.set()
    assert await asyncio.gather(*alone, *other) == [50, 60]
    assert road.journeys[-2:] == [[6], [5]]


async def test_payments_that_begin_and_payments_that_finish_travel_whole() -> None:
    """Six who begin and then finish, half of them a little late: after a few rounds each call carries all of them."""
    journeys: list[tuple[str, int]] = []

    def sender(kind: str) -> Callable[[str, Sequence[int]], Awaitable[list[int]]]:
        async def send(_: str, ones: Sequence[int]) -> list[int]:
            journeys.append((kind, len(ones)))
            await asyncio.sleep(0)
            return list(ones)

        return send

    begins = Gathering(sender("begin"))
    takes = Gathering(sender("take"), beside=begins)

    async def busy(late: bool) -> None:
        if late:
            await turns(3)
        for number in range(30):
            await begins("a", number)
            await turns(1)
            await takes("a", number)
            await turns(1)

    await asyncio.gather(*(busy(late) for late in [False] * 3 + [True] * 3))
    assert journeys.count(("begin", 6)) >= 15 and journeys.count(("take", 6)) >= 15


async def test_nothing_is_kept_of_two_kinds_when_all_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.core.gathering.IDLE", 0.0)
    road = Road()
    road.open.set()
    begins = Gathering(road)
    takes = Gathering(road, beside=begins)
    await asyncio.gather(*begin(begins, 1, 2), *begin(takes, 3, 4))
    await turns(30)
    assert begins._lanes == {} and takes._lanes == {} and begins._roads == {}
