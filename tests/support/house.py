"""A whole house for browsers: every process of the demo, started as a person starts it, on a database and ports of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg
import pyotp

from app.cli.demo import scratch
from app.core.embedded import EmbeddedPostgres, free_port
from app.core.roles import DATABASE

_RUN = (
    "import sys; from pathlib import Path; from app.cli.demo import run;"
    " run(Path(sys.argv[1]), port=int(sys.argv[2]), environment='demo', days=int(sys.argv[3]))"
)
READY, READY_SECONDS = "Countinghouse is ready", 240.0
STOP_SECONDS = 40.0


class Resident(msgspec.Struct, kw_only=True):
    """Somebody who can sign in."""

    email: str
    password: str
    totp_secret: str = ""
    name: str = ""
    merchant: str = ""
    role: str = ""

    def code(self, *, steps: int = 0) -> str:
        """What the authenticator app shows, or shows some half minutes away."""
        return pyotp.TOTP(self.totp_secret).generate_otp(int(time.time()) // 30 + steps)


class House(msgspec.Struct, kw_only=True):
    """A running house."""

    data: Path
    url: str
    simulator_url: str
    people: list[Resident]

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Look into the database, behind every wall."""
        with psycopg.connect(EmbeddedPostgres(self.data / "postgres").url(database=DATABASE), autocommit=True) as connection:
            found = connection.execute(sql, values)
            return list(found.fetchall()) if found.description else []

    def add_person(self, email: str, *, opens: str, password: str = "violet tram keeps nine hats") -> Resident:
        """A newcomer with a merchant and without a second factor, by the command line."""
        command = ["--data", str(self.data), "user", "add", email, "--name", "Nina Newcomer", "--open-merchant", opens, "--password-stdin"]
        subprocess.run(
            [sys.executable, "-m", "app.cli.main", *command],
            input=f"{password}\n",
            text=True,
            check=True,
            capture_output=True,
            env=_environ(),
        )
        return Resident(email=email, password=password, name="Nina Newcomer", merchant=opens, role="owner")

    def merchant_id(self, person: Resident) -> UUID:
        """The live merchant somebody works for."""
        found = self.query("select id from merchant where name = %s and sandbox_of is null", person.merchant)
        assert isinstance(found[0][0], UUID)
        return found[0][0]

    def forget_codes(self, person: Resident) -> None:
        """Let the code the app shows now be used again, so that nobody waits for the next one."""
        self.query("update person set totp_last_step = 0 where email = %s", person.email)

    def age_factor(self, person: Resident) -> None:
        """Half an hour of work later: the sessions live, the second factor is stale."""
        self.query(
            "update web_session set factor_at = factor_at - interval '30 minutes' where person_id = (select id from person where email = %s)",
            person.email,
        )


@contextmanager
def running_house(*, days: int) -> Iterator[House]:
    """Start everything, give it away, and stop it the way Ctrl-C does."""
    with scratch() as data:
        log = data / "house.log"
        with log.open("w") as lines:
            command = [sys.executable, "-c", _RUN, str(data), str(free_port()), str(days)]
            process = subprocess.Popen(command, env=_environ(), stdout=lines, stderr=subprocess.STDOUT)
        try:
            _wait_until_ready(process, log)
            known = msgspec.json.decode((data / "demo.json").read_bytes())
            people = msgspec.convert(known["people"], list[Resident])
            yield House(data=data, url=known["url"], simulator_url=known["simulator_url"], people=people)
        finally:
            process.terminate()
            code = process.wait(STOP_SECONDS)
        said = log.read_text(encoding="utf-8")
        assert code == 0, said
        assert "Traceback" not in said, said


def _environ() -> dict[str, str]:
    """Nothing of the test process's own settings, and no limit a quick visitor would meet."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COUNTINGHOUSE_", "COV")) and name not in {"DATABASE_URL", "BROKER_URL"}
    }
    return kept | {
        "COUNTINGHOUSE_REQUESTS_PER_MINUTE": "1000000",
        "COUNTINGHOUSE_WEB_WORKERS": "1",
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
    }


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + READY_SECONDS
    while READY not in log.read_text(encoding="utf-8"):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < give_up, log.read_text(encoding="utf-8")
        time.sleep(0.05)
