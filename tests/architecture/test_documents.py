"""Generated parts of the documents are current; `make docs` writes them."""

import re

import pytest

from app.cli.documents import DOCUMENTS, written


@pytest.mark.parametrize("path", sorted(DOCUMENTS))
def test_a_generated_document_is_current(path: str) -> None:
    before, now = written(path)
    assert before == now, "run `make docs`"


def test_the_readme_lists_every_setting() -> None:
    _, text = written("README.md")
    assert len(re.findall(r"^\| `(?:COUNTINGHOUSE_|DATABASE_URL|BROKER_URL|ALLOW_)", text, re.MULTILINE)) > 20
