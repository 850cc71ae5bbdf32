"""A thread's job in the event loop: its answer and its errors come back to the thread, and who is told to stop stops it."""

import asyncio
import threading
from collections.abc import Iterator

import dramatiq
import pytest
from dramatiq.asyncio import EventLoopThread, set_event_loop_thread
from dramatiq.logging import get_logger
from dramatiq.middleware import TimeLimitExceeded
from dramatiq.middleware.threading import raise_thread_exception

from workers import broker as brokers
from workers.errands import Errands


@pytest.fixture
def errands() -> Iterator[Errands]:
    loop = EventLoopThread(get_logger(__name__))
    loop.start(timeout=5)
    set_event_loop_thread(loop)
    yield Errands()
    set_event_loop_thread(None)
    loop.stop()


class TestErrands:
    def test_each_thread_has_its_own_answer(self, errands: Errands) -> None:
        async def even(number: int) -> bool:
            await asyncio.sleep(0.001 * (number % 3))
            return number % 2 == 0

        answers: dict[int, bool] = {}

        def ask(number: int) -> None:
            for _ in range(50):
                answers[number] = errands.run(even(number))
                assert answers[number] == (number % 2 == 0)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        assert answers == {number: number % 2 == 0 for number in range(8)}

    def test_an_error_is_the_threads(self, errands: Errands) -> None:
        async def fail() -> bool:
            raise LookupError("as asked")

        with pytest.raises(LookupError, match="as asked"):
            errands.run(fail())

    def test_whose_time_is_over_stops_its_job(self, errands: Errands) -> None:
        begun, stopped, raised = threading.Event(), threading.Event(), threading.Event()

        async def forever() -> bool:
            begun.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                stopped.set()
                raise
            return True

        def work() -> None:
            try:
                errands.run(forever())
            except TimeLimitExceeded:
                raised.set()

        thread = threading.Thread(target=work)
        thread.start()
        assert begun.wait(5) and thread.ident is not None
        raise_thread_exception(thread.ident, TimeLimitExceeded)
        thread.join(10)
        assert stopped.is_set() and raised.is_set()


class TestEncoder:
    @pytest.mark.parametrize("text", ["plain", "Grüße", "half a \ud800 character", '"\\'])
    def test_what_it_writes_the_package_reads_and_the_other_way_round(self, text: str) -> None:
        message = {"args": [{"number": 2**70, "nothing": None}], "options": {"traceback": text}}
        quick, plain = brokers.QuickEncoder(), dramatiq.JSONEncoder()
        assert plain.decode(quick.encode(message)) == message
        if text.isprintable() and "\ud800" not in text:
            assert quick.decode(plain.encode({"text": text})) == {"text": text}
