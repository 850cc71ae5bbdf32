"""Errors: six families, one status each, every code once."""

import importlib
import pkgutil

import app
from app.core.errors import FAMILIES, AppError, Invalid, NotFound, catalogue


class TestFamilies:
    def test_each_has_its_own_status(self) -> None:
        assert {family.__name__: family.status for family in FAMILIES} == {
            "NotFound": 404, "Forbidden": 403, "Conflict": 409, "Invalid": 422, "Unavailable": 503, "UpstreamFailed": 502,
        }  # fmt: skip

    def test_what_is_said_defaults_to_the_title(self) -> None:
        assert NotFound().detail == NotFound.title == str(NotFound())
        refused = Invalid("No.", fields={"a": "b"}, retry_after=3)
        assert (refused.detail, refused.fields, refused.extra) == ("No.", {"a": "b"}, {"retry_after": 3})

    def test_every_code_is_used_once_and_has_a_title(self) -> None:
        for module in pkgutil.walk_packages(app.__path__, "app."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        found = [error for error in catalogue() if error.__module__.startswith("app.")]
        codes: dict[str, type[AppError]] = {}
        for error in found:
            assert codes.setdefault(error.code, error) is error, f"{error} and {codes[error.code]} share a code"
            assert error.title and error.code.replace("_", "").isalnum(), error
        assert len(found) > 40
