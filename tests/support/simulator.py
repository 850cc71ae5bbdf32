"""The simulated provider as a real process, for tests: started once per test process, with an account of its own for every test."""

import base64
import itertools
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

_SERVE = "import sys; from pathlib import Path; from app.psp.simulator import serve; serve(host='127.0.0.1', port=int(sys.argv[1]), journal=Path(sys.argv[2]))"
_numbers = itertools.count(1)
READY_SECONDS = 60.0


class Simulator:
    """A running simulator and its levers."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "Simulator":
        """Start the process and wait until it answers."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        self.process = subprocess.Popen([sys.executable, "-c", _SERVE, str(self.port), str(self.journal)], env=environ)
        give_up = time.monotonic() + READY_SECONDS
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"the simulator ended with {self.process.returncode}")
            try:
                self.get("/healthz")
            except OSError:
                if time.monotonic() > give_up:
                    self.stop(kill=True)
                    raise
                time.sleep(0.02)
            else:
                return self

    def stop(self, *, kill: bool = False) -> None:
        """End the process, politely or not."""
        if self.process is not None:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait(timeout=10)
            self.process = None

    def restart(self, *, kill: bool = True) -> None:
        """Kill it and start it again on the same store."""
        self.stop(kill=kill)
        self.start()

    def get(self, path: str) -> Any:
        """Read something from it."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:
            return json.loads(answer.read())

    def post(self, path: str, body: Mapping[str, object], *, method: str = "POST") -> Any:
        """Tell it something."""
        request = urllib.request.Request(
            f"{self.url}{path}", data=json.dumps(body).encode(), headers={"content-type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=15) as answer:
            return json.loads(answer.read())

    def account(self, *, webhook_url: str | None = None) -> "SimulatedAccount":
        """A new account."""
        body: dict[str, object] = {"name": f"test_{next(_numbers)}_{secrets.token_hex(3)}"}
        made = self.post("/_accounts", body | ({"webhook_url": webhook_url} if webhook_url else {}))
        return SimulatedAccount(self, made["name"], made["secret_keys"][0], made["webhook_secret"])


class SimulatedAccount:
    """One account at the simulator: its keys, its scenario, and what was really charged on it."""

    def __init__(self, simulator: Simulator, name: str, secret_key: str, webhook_secret: str) -> None:
        self.simulator, self.name, self.secret_key, self.webhook_secret = simulator, name, secret_key, webhook_secret

    @property
    def settings(self) -> dict[str, str]:
        """What a connection to this account is made from."""
        return {
            "api_base_url": self.simulator.url,
            "account": self.name,
            "secret_key": self.secret_key,
            "webhook_secret": self.webhook_secret,
        }

    def scenario(self, **switches: object) -> None:
        """Put a scenario in play for this account only."""
        self.simulator.post(f"/_scenario?account={self.name}", switches)

    def fault(self, fault: str, *, operation: str = "*", count: int = 1, seconds: float = 30.0) -> None:
        """Let the next call go wrong in this way."""
        self.scenario(faults=[{"fault": fault, "operation": operation, "count": count, "seconds": seconds}])

    def charges(self, reference: str = "") -> Any:
        """What was really charged, by our reference."""
        return self.simulator.get(f"/_charges?account={self.name}&reference={reference}")

    def operations(self, reference: str = "") -> Any:
        """Which captures, voids and refunds were really done."""
        return self.simulator.get(f"/_operations?account={self.name}&reference={reference}")

    def events(self) -> list[dict[str, Any]]:
        """The account's events, oldest first."""
        request = urllib.request.Request(f"{self.simulator.url}/v1/events", headers={"authorization": f"Bearer {self.secret_key}"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())["data"]
        return found


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_webhook_secret() -> str:
    """A webhook secret as the simulator makes them."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """The test process's simulator."""
    running = Simulator(tmp_path_factory.mktemp("simulator") / "journal.jsonl").start()
    yield running
    running.stop()


@pytest.fixture
def account(simulator: Simulator) -> SimulatedAccount:
    """A fresh account of the simulator."""
    return simulator.account()
