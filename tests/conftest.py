"""Fixtures every test may use. A test that touches the database asks for `database` (or something that does) and finds it clean."""

import fcntl
import gc
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from app.core.embedded import THROWAWAY_PREFIX, EmbeddedPostgres, Urls, sweep_throwaways
from tests.support import database as databases

SERVER_DIRECTORY = "COUNTINGHOUSE_TEST_SERVER"

hypothesis_settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
hypothesis_settings.register_profile("thorough", deadline=None, max_examples=2000, suppress_health_check=list(HealthCheck))
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure(config: pytest.Config) -> None:
    """Give the process the settings of a test before anything reads them; start the server where several processes share it."""
    for name in [name for name in os.environ if name.startswith("COUNTINGHOUSE_")]:
        del os.environ[name]
    os.environ.update(
        COUNTINGHOUSE_ENVIRONMENT="test",
        COUNTINGHOUSE_ALLOW_INSECURE_PSP_URLS="true",
        COUNTINGHOUSE_ALLOWED_HOSTS="countinghouse.test",
        COUNTINGHOUSE_LOG_LEVEL="warning",
        DATABASE_URL="postgresql://nobody@127.0.0.1:1/the_test_must_ask_for_the_fixture_database",
    )
    worker = getattr(config, "workerinput", None)
    if worker is None and getattr(config.option, "numprocesses", None):
        config.stash[SHARED] = start_server()
    config.stash[SERVER] = Path(worker["countinghouse_server"]) if worker else None


def pytest_collection_finish() -> None:
    """What was imported and collected stays until the end: the garbage collector need not walk through all of it again and again."""
    gc.collect()
    gc.freeze()


def pytest_configure_node(node: object) -> None:
    """Tell a worker process where the shared server is."""
    node.workerinput["countinghouse_server"] = str(node.config.stash[SHARED].directory)  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop and delete the server this process started."""
    server = config.stash.get(SHARED, None)
    if server is not None:
        server.destroy()


SHARED: pytest.StashKey[EmbeddedPostgres] = pytest.StashKey()
SERVER: pytest.StashKey[Path | None] = pytest.StashKey()


def start_server() -> EmbeddedPostgres:
    """A throw-away server in a new temporary directory."""
    sweep_throwaways()
    directory = Path(tempfile.mkdtemp(prefix=THROWAWAY_PREFIX))
    directory.chmod(0o711)
    return EmbeddedPostgres(directory, throwaway=True).start()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> EmbeddedPostgres:
    """The test run's own PostgreSQL with a migrated database in it, shared by all test processes."""
    shared = request.config.stash[SERVER]
    if shared is None:
        request.config.stash[SHARED] = server = start_server()
    else:
        server = EmbeddedPostgres(shared, throwaway=True).start()
    with (server.directory / "migrated.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if not lock.read():
            databases.migrate(server)
            lock.write("done")
    return server


@pytest.fixture(scope="session")
def urls(server: EmbeddedPostgres, worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Urls:
    """Connection addresses of this test process's database; the application's settings point there from now on."""
    from app.core.secrets import new_ring, ring, write_ring
    from app.core.settings import settings

    with (server.directory / "migrated.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # A template must have no visitor while it is copied.
        made = databases.clone(server, f"test_{worker_id}")
    databases.remember(server.url(database=f"test_{worker_id}"))
    key_file = tmp_path_factory.mktemp("keys") / "keys.json"
    os.environ.update(
        DATABASE_URL=made.app,
        BROKER_URL=made.broker,
        COUNTINGHOUSE_OWNER_DATABASE_URL=made.owner,
        COUNTINGHOUSE_RELAY_DATABASE_URL=made.relay,
        COUNTINGHOUSE_KEY_FILE=str(key_file),
    )
    write_ring(key_file, new_ring())
    settings.cache_clear()
    ring.cache_clear()
    return made


@pytest.fixture(scope="session")
def superuser(server: EmbeddedPostgres, urls: Urls, worker_id: str) -> Iterator[psycopg.Connection]:
    """A superuser's autocommitting connection to this process's database; for resetting it and for looking behind the walls."""
    with psycopg.connect(server.url(database=f"test_{worker_id}"), autocommit=True) as connection:
        yield connection


@pytest_asyncio.fixture
async def database(superuser: psycopg.Connection, urls: Urls) -> AsyncIterator[Urls]:
    """The test process's database, as the migrations left it."""
    superuser.execute("SELECT pristine.reset()")
    yield urls


@pytest.fixture
def owner(database: Urls) -> Iterator[psycopg.Connection]:
    """A plain autocommitting connection as the owner role (row security is forced for it too: set app.merchant_id to see a merchant's rows)."""
    with psycopg.connect(database.owner, autocommit=True) as connection:
        yield connection


@pytest_asyncio.fixture(scope="session", autouse=True, loop_scope="session")
async def _close_connections() -> AsyncIterator[None]:
    yield
    from app.core import outbound
    from app.core.db import dispose
    from workers import tries

    outbound.close()
    await dispose()
    await tries.dispose()
