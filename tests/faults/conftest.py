"""One house for the whole folder: its processes come and go with the tests, its database and simulator stay."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.embedded import THROWAWAY_PREFIX, EmbeddedPostgres
from tests.faults.house import House, HttpShop
from tests.support import database as databases
from tests.support.simulator import Simulator


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """PostgreSQL, simulator and two web workers."""
    directory = Path(tempfile.mkdtemp(prefix=THROWAWAY_PREFIX))
    directory.chmod(0o711)
    logs = tmp_path_factory.mktemp("house")
    server = EmbeddedPostgres(directory, throwaway=True).start()
    simulator = Simulator(logs / "simulator.journal").start()
    try:
        databases.migrate(server)
        whole = House(server, simulator, logs)
        with whole.running(whole.web(workers=2)):
            yield whole
    finally:
        simulator.stop()
        server.destroy()


@pytest.fixture(autouse=True)
def _hang_up(house: House) -> Iterator[None]:
    yield
    house.close_shops()


@pytest.fixture
def shop(house: House) -> Iterator[HttpShop]:
    """A merchant of its own for every test; afterwards the books balance."""
    yield house.open_shop()
    assert house.books_balance()
