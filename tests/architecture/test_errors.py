"""Errors: one code each, the codes are part of the API."""

from collections import Counter
from importlib import import_module

import pytest

from app.core.errors import AppError, catalogue
from tests.architecture.sources import ROOT, modules


@pytest.fixture(scope="module")
def errors() -> list[type[AppError]]:
    for path in modules("app"):
        if "cli" not in path.parts and path.name != "__main__.py":
            import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    return list(catalogue())


def test_every_error_has_a_code_of_its_own(errors: list[type[AppError]]) -> None:
    twice = [code for code, times in Counter(error.code for error in errors).items() if times > 1]
    assert twice == []


def test_every_error_says_what_is_wrong(errors: list[type[AppError]]) -> None:
    titles = Counter(error.title for error in errors)
    assert [title for title, times in titles.items() if times > 1] == []


def test_codes_are_written_for_programs(errors: list[type[AppError]]) -> None:
    assert [error.code for error in errors if not error.code.replace("_", "").isalnum() or error.code != error.code.lower()] == []
