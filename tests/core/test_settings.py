"""Settings: everything that is wrong is said at once, before anything starts."""

import msgspec
import pytest

from app.core.settings import BARE, PREFIX, Settings, SettingsError, load, table

GOOD = {"DATABASE_URL": "postgresql://a@b/c"}


class TestLoad:
    def test_only_the_database_is_required(self) -> None:
        settings = load(GOOD)
        assert (settings.database_url, settings.environment, settings.port) == ("postgresql://a@b/c", "production", 8000)

    def test_everything_wrong_is_named_at_once(self) -> None:
        wrong = {
            "COUNTINGHOUSE_PROT": "1",
            "COUNTINGHOUSE_PORT": "many",
            "COUNTINGHOUSE_ENVIRONMENT": "prod",
            "COUNTINGHOUSE_DATABASE_POOL_SIZE": "0",
            "COUNTINGHOUSE_FAILPOINTS": "a=kill",
        }
        with pytest.raises(SettingsError) as refused:
            load(wrong)
        said = str(refused.value)
        for name in (*wrong, "DATABASE_URL"):
            assert name in said, said
        assert "README" in said and "make demo" in said

    @pytest.mark.parametrize("environment", [{}, {"COUNTINGHOUSE_ENVIRONMENT": "production"}])
    def test_production_refuses_failpoints(self, environment: dict[str, str]) -> None:
        with pytest.raises(SettingsError, match="FAILPOINTS may not be set in production"):
            load(GOOD | environment | {"COUNTINGHOUSE_FAILPOINTS": "payments.called=kill"})
        assert load(GOOD | {"COUNTINGHOUSE_ENVIRONMENT": "test", "COUNTINGHOUSE_FAILPOINTS": "payments.called=kill"}).failpoints

    def test_the_prefixed_name_wins_over_the_bare_one(self) -> None:
        assert load(GOOD | {"COUNTINGHOUSE_DATABASE_URL": "postgresql://x@y/z"}).database_url == "postgresql://x@y/z"

    def test_other_programs_variables_are_none_of_our_business(self) -> None:
        assert load(GOOD | {"PORT": "1", "HOST": "x", "PATH": "/"}).port == 8000

    @pytest.mark.parametrize(("value", "read"), [("true", True), ("1", True), ("false", False), ("0", False)])
    def test_switches(self, value: str, read: bool) -> None:
        assert load(GOOD | {"ALLOW_INSECURE_PSP_URLS": value}).allow_insecure_psp_urls is read

    def test_secrets_are_not_repeated_in_what_is_said(self) -> None:
        with pytest.raises(SettingsError) as refused:
            load({"COUNTINGHOUSE_PORT": "sk_live_hunter2", "DATABASE_URL": "postgresql://app:hunter2@b/c"})
        assert "hunter2" not in str(refused.value)


class TestTable:
    def test_every_setting_is_explained(self) -> None:
        rows = table()
        assert len(rows) == len(msgspec.structs.fields(Settings))
        for name, _, meaning in rows:
            assert meaning.endswith(".") and (name.startswith(PREFIX) or name in BARE)
