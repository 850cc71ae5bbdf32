"""The command line: exit codes, one clear line when something is wrong, JSON where it is asked for."""

import json
from pathlib import Path

import psycopg
import pytest

from app.cli.main import COMMANDS, run
from app.cli.operations import SEALED
from app.core.db import Base
from app.core.embedded import Urls
from app.core.ids import new_id, public_id
from app.core.secrets import seal, unseal

UNUSED = "postgresql://127.0.0.1/none"


class TestRun:
    def test_help_is_not_an_error_and_shows_examples(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["--help"]) == 0
        shown = capsys.readouterr().out
        assert "Examples:" in shown
        assert all(command in shown for command in COMMANDS)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_explains_itself(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run([command, "--help"]) == 0
        assert "Usage: countinghouse" in capsys.readouterr().out

    def test_an_unknown_command_is_a_wrong_call(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["frobnicate"]) == 2
        assert "No such command" in capsys.readouterr().err

    def test_without_a_database_it_says_what_to_do(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("DATABASE_URL")
        assert run(["--data", str(tmp_path), "ledger", "check"]) == 1
        assert "make demo" in capsys.readouterr().err

    def test_a_problem_is_json_when_asked_for(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("DATABASE_URL")
        assert run(["--data", str(tmp_path), "ledger", "check"], as_json=True) == 1
        problem = json.loads(capsys.readouterr().err)
        assert (problem["status"], problem["type"]) == (503, "urn:countinghouse:no_database")


class TestSettings:
    def test_lists_them_as_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["settings"], as_json=True) == 0
        assert {"name": "DATABASE_URL", "default": "required"}.items() <= json.loads(capsys.readouterr().out)[1].items()


class TestLedgerCheck:
    def test_an_empty_house_balances(self, database: Urls, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["ledger", "check"], as_json=True) == 0
        assert json.loads(capsys.readouterr().out)["violations"] == []

    def test_a_wrong_merchant_id_is_named(self, database: Urls, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["ledger", "check", "--merchant", "nobody"]) == 1
        assert "malformed_id" in capsys.readouterr().err

    def test_a_merchant_that_is_not_here_is_not_called_sound(self, database: Urls, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["ledger", "check", "--merchant", public_id("mer", new_id())]) == 1
        assert "merchant_not_found" in capsys.readouterr().err


class TestUserAdd:
    def test_the_first_person_opens_a_merchant(self, database: Urls, capsys: pytest.CaptureFixture[str]) -> None:
        command = ["user", "add", "ada@example.com", "--name", "Ada", "--open-merchant", "Ada's Market"]
        assert run(command, as_json=True) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["person"].startswith("usr_")
        assert shown["merchant"].startswith("mer_")
        assert len(shown["password"]) >= 15

    def test_the_same_address_twice_is_refused(self, database: Urls, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["user", "add", "ada@example.com", "--name", "Ada"]) == 0
        assert run(["user", "add", "ADA@example.com", "--name", "Ada"]) == 1
        assert "person_exists" in capsys.readouterr().err


class TestPsp:
    def test_describe_gives_the_schema_of_the_settings(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["psp", "describe", "--psp", "simulated"]) == 0
        described = json.loads(capsys.readouterr().out)
        assert described["credentials"]["$defs"]["Config"]["required"]
        assert "authorise" in str(described["capabilities"]) or described["capabilities"]

    def test_an_unreachable_provider_is_an_outcome_and_no_error(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        credentials = tmp_path / "account.json"
        credentials.write_text(json.dumps({"account": "a", "secret_key": "sk_sim_12345678", "webhook_secret": "whsec_MTIz"}))
        command = ["psp", "call", "--psp", "simulated", "--base-url", "http://127.0.0.1:1", "--credentials", str(credentials)]
        assert run([*command, "--verb", "authorise", "--amount", "20.00", "--token", "tok_visa", "--key", "k1"]) == 0
        assert json.loads(capsys.readouterr().out)["outcome"] == "not_sent"


class TestKeys:
    def test_every_sealed_column_is_known_to_the_rotation(self) -> None:
        named = {(table.name, column.name) for table in Base.metadata.tables.values() for column in table.columns}
        assert set(SEALED) <= named
        suspicious = {(table, column) for table, column in named if column in {"credentials", "totp_secret"} or column.startswith("sealed")}
        assert suspicious == set(SEALED)

    def test_a_rotation_wraps_every_secret_anew_and_each_still_opens(self, database: Urls, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["user", "add", "ada@example.com", "--name", "Ada"]) == 0
        capsys.readouterr()
        before = seal("JBSWY3DP", "here")
        with psycopg.connect(database.owner, autocommit=True) as connection:
            connection.execute("update person set totp_secret = %s", (before,))
            assert run(["keys", "rotate"], as_json=True) == 0
            assert json.loads(capsys.readouterr().out)["rewrapped"] == 1
            (after,) = connection.execute("select totp_secret from person").fetchone() or ("",)
        assert after.split(".")[1] != before.split(".")[1] and after.split(".")[3:] == before.split(".")[3:]
        assert unseal(after, "here") == "JBSWY3DP"
