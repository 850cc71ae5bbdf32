"""The benchmark's parts still run, on tiny sizes: that they measure something, not what they measure."""

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from bench import ledger, lists, payin, payouts, recon, relay
from bench.figures import Figure, percentile, table
from bench.house import House, open_house

SOME = ["payments, first page", "search by e-mail", "payment, newest"]


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with open_house(workers=1, only_web="bench.apps:both") as opened:
        yield opened


class TestTable:
    def test_a_column_nobody_fills_is_left_out(self) -> None:
        lines = table([Figure(part="x", name="one", clients=1, per_second=1234.4), Figure(part="x", name="two", clients=8)]).splitlines()
        assert lines[0].split() == ["workload", "clients", "per", "second", "floor"]
        assert lines[1].split() == ["one", "1", "1,234", "–"]
        assert lines[2].split() == ["two", "8", "–", "–"]

    def test_a_percentile_is_one_of_the_values(self) -> None:
        assert [percentile([1, 2, 3, 4], percent) for percent in (0, 50, 99, 100)] == [1, 3, 4, 4]


class TestProcessorSeconds:
    def test_a_child_that_ended_meanwhile_is_passed_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with subprocess.Popen([sys.executable, "-c", ""]) as process:
            child = psutil.Process(process.pid)
        monkeypatch.setattr(psutil.Process, "children", lambda *_, **__: [child])
        assert relay.processor_seconds(os.getpid()) > 0


@pytest.mark.slow
class TestParts:
    """All on one house, and with one web worker for all that opens the product: nobody looks at the speed."""

    def test_captures(self, house: House) -> None:
        figures = ledger.run(house, seconds=0.1, clients=(1,))
        assert {"take, random wallets", "begin and take"} <= {figure.name for figure in figures if figure.per_second}
        assert all(figure.ratio for figure in figures if figure.floor)

    def test_pay_ins(self, house: House) -> None:
        figures = payin.run(house, seconds=0.1, warm_up=0.05, clients=(2,))
        assert [figure.name for figure in figures if figure.ratio] == [
            "pay, PSP in the process",
            "order, then pay",
            "authorise, then capture",
            "pay, simulator over HTTP",
            "pay, relay and worker busy",
        ]

    def test_payouts(self, house: House) -> None:
        figures = payouts.run(house, count=70)
        assert [figure.name for figure in figures if figure.ratio] == ["sent and paid", "from schedule to paid"]

    def test_relay(self, house: House) -> None:
        alone, whole = relay.Brokers(house, "PostgreSQL", house.here.urls.broker).measure(100, 5)
        assert alone.per_second and whole.ratio and whole.p50_ms and "105 events, none lost" in whole.note

    def test_lists(self, house: House) -> None:
        figures = lists.run(house, rows=300, visits=3, seconds=0.1, clients=2, only=SOME)
        pages = [figure for figure in figures if figure.queries is not None]
        assert [page.name for page in pages] == SOME
        assert all(figure.server_p50_ms and figure.queries and figure.queries <= 12 for figure in pages)
        assert "file of all payments" in {figure.name for figure in figures}

    def test_reconciliation(self, house: House) -> None:
        figures = recon.run(house, rows=900)
        assert [figure.name for figure in figures if not figure.ratio] == [recon.FLOOR, recon.KEYED_FLOOR]
        assert all(figure.per_second for figure in figures)
