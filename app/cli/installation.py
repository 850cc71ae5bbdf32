"""An installation on this machine: its data directory, its private PostgreSQL, its keys, and the settings its processes get."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

import app
from app.core import secrets
from app.core.embedded import EmbeddedPostgres, Urls
from app.core.errors import Unavailable
from app.core.settings import settings

ROOT = Path(app.__file__).parents[1]
DATA = ROOT / "var"


class NoDatabase(Unavailable):
    """There is neither a DATABASE_URL nor a demo to work on."""

    code = "no_database"
    title = "There is no database to work on"


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything of one installation is: files, addresses and ports."""

    data: Path
    urls: Urls
    port: int
    simulator_port: int
    environment: str = "demo"

    @property
    def web_url(self) -> str:
        """The address of the web pages. A name and not a number, because passkeys need one."""
        return f"http://localhost:{self.port}"

    @property
    def simulator_url(self) -> str:
        """The address of the PSP simulator."""
        return f"http://127.0.0.1:{self.simulator_port}"

    @property
    def key_file(self) -> Path:
        """The key ring that seals secrets."""
        return self.data / "keys.json"

    @property
    def demo_file(self) -> Path:
        """Addresses, people and keys of the demo, for scripts that use a running one."""
        return self.data / "demo.json"

    def environ(self) -> dict[str, str]:
        """The settings of this installation's processes."""
        return {
            "DATABASE_URL": self.urls.app,
            "BROKER_URL": self.urls.broker,
            "ALLOW_INSECURE_PSP_URLS": "true",
            "COUNTINGHOUSE_ENVIRONMENT": self.environment,
            "COUNTINGHOUSE_OWNER_DATABASE_URL": self.urls.owner,
            "COUNTINGHOUSE_RELAY_DATABASE_URL": self.urls.relay,
            "COUNTINGHOUSE_KEY_FILE": str(self.key_file),
            "COUNTINGHOUSE_PUBLIC_URL": self.web_url,
            "COUNTINGHOUSE_PORT": str(self.port),
            "COUNTINGHOUSE_SIMULATOR_URL": self.simulator_url,
            "COUNTINGHOUSE_LOG_FORMAT": "pretty",
        }


@contextmanager
def database(data: Path, environ: Mapping[str, str]) -> Iterator[Urls]:
    """The database to use: the one DATABASE_URL names, otherwise a private PostgreSQL in the data directory."""
    if "DATABASE_URL" in environ:
        yield given_urls(environ)
        return
    with EmbeddedPostgres(data / "postgres") as server:
        yield server.urls


def given_urls(environ: Mapping[str, str]) -> Urls:
    """The addresses of a database somebody else runs; roles without an address of their own use the main one."""
    url = environ["DATABASE_URL"]
    relay = environ.get("COUNTINGHOUSE_RELAY_DATABASE_URL", url)
    return Urls(
        owner=environ.get("COUNTINGHOUSE_OWNER_DATABASE_URL", url),
        app=url,
        relay=relay,
        broker=environ.get("BROKER_URL", environ.get("COUNTINGHOUSE_BROKER_URL", relay)),
    )


def ensure_keys(path: Path) -> None:
    """Make the key ring when there is none."""
    if not path.exists():
        secrets.write_ring(path, secrets.new_ring())


def use(environ: Mapping[str, str]) -> None:
    """Let this process work with the given settings."""
    os.environ.update(environ)
    settings.cache_clear()
    secrets.ring.cache_clear()


@contextmanager
def attached(data: Path) -> Iterator[None]:
    """Let a command work on DATABASE_URL or, without one, on the demo in the data directory, whether it runs or not."""
    if "DATABASE_URL" in os.environ:
        yield
        return
    server = EmbeddedPostgres(data / "postgres")
    if not server.exists():
        raise NoDatabase(f"Set DATABASE_URL, or run “make demo” first; there is no data in {data}.")
    with ExitStack() as stack:
        stack.enter_context(server)
        demo = data / "demo.json"
        known = msgspec.json.decode(demo.read_bytes()) if demo.exists() else {}
        port = int(known.get("port", 8000))
        use(Installation(data=data, urls=server.urls, port=port, simulator_port=int(known.get("simulator_port", port + 1))).environ())
        yield
