"""Templates: one variable, no scripts or styles of their own, and every one of them compiles."""

import re
from pathlib import Path

import pytest
from jinja2 import meta

from app.web.rendering import templates
from tests.architecture.sources import ROOT, committed, name

FROM_THE_REQUEST = {"page", "web", "shell", "ui"}
FILES = [path for path in committed("templates/*.html") if "templates/simulator" not in name(path)]


def given(path: Path) -> set[str]:
    text = path.read_text()
    set_here = set(re.findall(r"{%-?\s*set\s+(\w+)", text))
    return meta.find_undeclared_variables(templates().parse(text)) - set(templates().globals) - set_here


@pytest.mark.parametrize("path", [path for path in FILES if not path.name.startswith("_")], ids=name)
def test_a_page_is_given_one_variable(path: Path) -> None:
    # A fragment also sees what the page that includes it has set: the row of a loop, the components under `ui`.
    assert given(path) <= FROM_THE_REQUEST


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_template_compiles(path: Path) -> None:
    assert templates().get_template(str(path.relative_to(ROOT / "templates"))) is not None


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_template_brings_no_style_and_no_handler_of_its_own(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"<[a-z][^<>{}]*\sstyle=|\son(?:click|change|submit|load|input)=|<style\b|javascript:", text) == []
