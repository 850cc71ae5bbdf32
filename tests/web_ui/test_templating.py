"""The compiled templates say what Jinja's own would say."""

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from app.payments.domain import PaymentStatus
from app.web.templating import Environment, shown

FILES = {
    "parts.html": (
        "{% macro box(text, cls='', on=false) -%}<b class=\"{{ cls }}\"{{ ' data-on' if on }}>{{ text }}{{ caller() if caller is defined }}</b>{%- endmacro %}"
        "{% macro twice(text) %}{{ box(text) }}{{ box(text, on=true) }}{% endmacro %}"
    ),
    "base.html": "<i>{% block title %}{{ page.name }}{% endblock %}</i>{% block main %}{% endblock %}",
    "row.html": "{{ loop_row }}:{{ page.name|upper }};",
    "page.html": (
        "{% extends 'base.html' %}{% import 'parts.html' as ui %}{% block title %}{{ super() }}!{% endblock %}{% block main %}"
        "{% for row in page.rows %}{% set loop_row = row %}{{ loop.index }}{{ ui.twice(row) }}{% include 'row.html' %}{% endfor %}"
        "{% call ui.box(page.name, cls=page.cls) %}<u>{{ page.name ~ page.cls }}</u>{% endcall %}"
        "{{ page.words(*page.rows, **page.named) }}{{ page.number + 1 }}{{ none }}{{ {'a': page.name}|xmlattr }}{% endblock %}"
    ),
}
VALUES = st.one_of(
    st.text(max_size=12), st.text(alphabet="<>&'\"a ", max_size=8).map(Markup), st.integers(), st.none(), st.sampled_from(PaymentStatus)
)


class Page:
    def __init__(self, name: object, cls: object, rows: list[object]) -> None:
        self.name, self.cls, self.rows, self.number, self.named = name, cls, rows, 7, {"end": "<"}

    def words(self, *words: object, end: str) -> str:
        return f"{len(words)}{end}"


def both() -> tuple[jinja2.Environment, jinja2.Environment]:
    loader = jinja2.DictLoader(FILES)
    own = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return Environment(loader, reloads=False), own


OURS, THEIRS = both()


class TestEnvironment:
    @given(name=VALUES, cls=VALUES, rows=st.lists(VALUES, max_size=3))
    def test_writes_what_jinja_writes(self, name: object, cls: object, rows: list[object]) -> None:
        page = Page(name, cls, rows)
        assert OURS.get_template("page.html").render(page=page) == THEIRS.get_template("page.html").render(page=page)

    @pytest.mark.parametrize(
        "source",
        [
            "{{ nothing }}",
            "{{ page.nothing }}",
            "{{ page.name.nothing() }}",
            "{{ nothing() }}",
            "{% import 'parts.html' as ui %}{{ ui.box() }}",
            "{% import 'parts.html' as ui %}{{ ui.nothing('a') }}",
        ],
    )
    def test_what_is_not_defined_is_an_error(self, source: str) -> None:
        with pytest.raises(jinja2.UndefinedError):
            OURS.from_string(source).render(page=Page("a", "b", []))

    def test_a_macro_refuses_what_it_does_not_know(self) -> None:
        with pytest.raises(TypeError, match="takes no keyword argument"):
            OURS.from_string("{% import 'parts.html' as ui %}{{ ui.twice('a', size=1) }}").render()


class TestShown:
    @given(value=VALUES)
    def test_is_safe_and_says_the_same_as_markup(self, value: object) -> None:
        assert shown(value) == Markup("{}").format(value)
