"""The private PostgreSQL: it starts, keeps its data, survives being killed, and lets nobody in without a password."""

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.core.embedded import THROWAWAY_PREFIX, EmbeddedPostgres, free_port, port_is_free, sweep_throwaways, throwaway


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with throwaway() as running:
        yield running


def attributes(server: EmbeddedPostgres) -> dict[str, tuple[bool, bool, bool]]:
    with psycopg.connect(server.url()) as connection:
        rows = connection.execute("select rolname, rolsuper, rolbypassrls, rolcreaterole from pg_roles where rolname ~ '^countinghouse'")
        return {row[0]: (row[1], row[2], row[3]) for row in rows}


class TestEmbeddedPostgres:
    def test_every_role_reaches_its_database_and_none_is_mighty(self, server: EmbeddedPostgres) -> None:
        for role, url in (
            ("owner", server.urls.owner),
            ("app", server.urls.app),
            ("relay", server.urls.relay),
            ("broker", server.urls.broker),
        ):
            with psycopg.connect(url) as connection:
                assert connection.execute("select current_user").fetchone() == (f"countinghouse_{role}",)
        assert set(attributes(server).values()) == {(False, False, False)}
        assert len(attributes(server)) == 4

    def test_refuses_without_the_password(self, server: EmbeddedPostgres) -> None:
        for password in ("", "wrong"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(f"postgresql://postgres:{password}@127.0.0.1:{server.port}/postgres")

    def test_keeps_passwords_to_itself(self, server: EmbeddedPostgres) -> None:
        mode = (server.directory / "passwords.json").stat().st_mode
        assert stat.S_IMODE(mode) == 0o600

    def test_relay_cannot_enter_the_broker_database(self, server: EmbeddedPostgres) -> None:
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(server.url("countinghouse_relay", "countinghouse_broker"))

    def test_sorts_by_code_point_without_a_system_locale(self, server: EmbeddedPostgres) -> None:
        with psycopg.connect(server.urls.app) as connection:
            assert connection.execute("select 'B' < 'a', upper('é')").fetchone() == (True, "É")

    def test_survives_kill_9_with_its_data(self, server: EmbeddedPostgres) -> None:
        with psycopg.connect(server.urls.owner) as connection:
            connection.execute("create table if not exists kept (id int)")
            connection.execute("insert into kept values (1)")
        killed, port = server.pid, server.port
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        server.start()
        assert server.pid not in (None, killed)
        assert server.port == port
        with psycopg.connect(server.urls.owner) as connection:
            assert connection.execute("select count(*) from kept").fetchone() == (1,)

    def test_ignores_the_pid_file_of_an_unreaped_zombie(self, server: EmbeddedPostgres) -> None:
        zombie = os.fork()
        if zombie == 0:
            os._exit(0)
        os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
        try:
            server.stop()
            (server.data / "postmaster.pid").write_text(f"{zombie}\n{server.data}\n0\n{server.port}\n\n127.0.0.1\n\nready   \n")
            assert server.pid is None
            server.start()
            assert server.pid not in (None, zombie)
        finally:
            os.waitpid(zombie, 0)

    def test_second_launcher_attaches_and_leaves_it_running(self, server: EmbeddedPostgres) -> None:
        with EmbeddedPostgres(server.directory, throwaway=True) as second:
            assert not second.owns_server
            assert second.urls == server.urls
        assert server.pid is not None

    def test_moves_to_another_port_when_its_own_is_taken(self, server: EmbeddedPostgres) -> None:
        server.stop()
        with Listening() as taken:
            (server.directory / "port").write_text(str(taken))
            server.start()
            assert server.port != taken
        with psycopg.connect(server.urls.app) as connection:
            assert connection.execute("select 1").fetchone() == (1,)

    def test_adopts_a_server_whose_launcher_was_killed(self, server: EmbeddedPostgres) -> None:
        orphan = server.pid
        assert server._lock is not None
        server._lock.close()  # What the kernel does with a killed launcher's lock.
        server._lock = None
        server.start()
        assert server.pid == orphan
        assert server.owns_server


class TestThrowaway:
    def test_leaves_nothing_behind(self) -> None:
        with throwaway() as running:
            directory, pid = running.directory, running.pid
            assert pid is not None
        assert not directory.exists()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    def test_sweeps_up_after_a_killed_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        abandoned = tmp_path / f"{THROWAWAY_PREFIX}abandoned"
        abandoned.mkdir()
        (abandoned / "passwords.json").write_text("{}")
        sweep_throwaways()
        assert not abandoned.exists()


class TestPorts:
    def test_tells_free_from_taken(self) -> None:
        with Listening() as taken:
            assert not port_is_free(taken)
        assert port_is_free(free_port())


class Listening:
    def __enter__(self) -> int:
        import socket

        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen()
        port: int = self.socket.getsockname()[1]
        return port

    def __exit__(self, *error: object) -> None:
        self.socket.close()
