"""A RabbitMQ of the tests' own: found, or installed from Debian's package when we may, started on free ports and stopped again."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from app.core.embedded import free_port, port_is_free
from tests.support import chromium

PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/homebrew/sbin/rabbitmq-server", "/usr/local/sbin/rabbitmq-server")
START_SECONDS = 60.0
EPMD_SECONDS = 5.0


class RabbitMissing(Exception):
    """There is no RabbitMQ and none could be installed."""


@cache
def program() -> str:
    """The server's own start script; Debian's wrapper on the PATH would change the user."""
    found = _present()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        chromium.runs(["apt-get", "update", "-qq"])
        chromium.runs(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "rabbitmq-server"])
        found = _present()
    if found is None:
        raise RabbitMissing("no RabbitMQ: install one (Debian: apt-get install rabbitmq-server)")
    return found


def _present() -> str | None:
    return next((path for path in PROGRAMS if os.access(path, os.X_OK)), None) or shutil.which("rabbitmq-server")


class Rabbit:
    """One node in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the broker is."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2f"

    @property
    def pid(self) -> int | None:
        """The node's process, while there is one."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the node, with what it held before, and wait until it answers."""
        (self.directory / "plugins").write_text("[].")
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen([program()], env=self._environment(), stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while port_is_free(self.port):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RabbitMissing(f"RabbitMQ did not start: {(self.directory / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the node with everything in it, as a machine that loses power does."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _environment(self) -> dict[str, str]:
        here = str(self.directory)
        return {
            "PATH": os.environ.get("PATH", ""),
            "HOME": here,
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": here,
            "RABBITMQ_LOG_BASE": here,
            "RABBITMQ_CONF_ENV_FILE": f"{here}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{here}/plugins",
            "ERL_EPMD_PORT": str(_epmd_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }


@cache
def _epmd_port() -> int:
    return free_port()


def _end_epmd() -> None:
    """End the directory of nodes, which refuses while it has not noticed yet that the node is gone."""
    deadline = time.monotonic() + EPMD_SECONDS
    while not port_is_free(_epmd_port()) and time.monotonic() < deadline:
        if subprocess.run(["epmd", "-port", str(_epmd_port()), "-kill"], capture_output=True, check=False).returncode:
            time.sleep(0.05)


@contextmanager
def running_rabbit() -> Iterator[Rabbit]:
    """A fresh node, gone at the end."""
    directory = Path(tempfile.mkdtemp(prefix="countinghouse-rabbit-"))
    rabbit = Rabbit(directory)
    try:
        rabbit.start()
        yield rabbit
    finally:
        if rabbit._process is not None:
            rabbit.kill()
        _end_epmd()
        shutil.rmtree(directory, ignore_errors=True)
