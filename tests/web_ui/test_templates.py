"""The templates keep to the rules that the content policy and the design rely on."""

import hashlib
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from litestar import Litestar
from litestar.testing import TestClient

from app.web.rendering import TEMPLATES, templates
from app.web.static import STATIC, icon_names, static_url
from app.web.statuses import vocabulary
from tests.web_ui.house import tiny_house

FILES = sorted(TEMPLATES.rglob("*.html"))
COMPONENTS = sorted(path.name for path in (TEMPLATES / "components").glob("*.html"))
_RAW_HTMX = re.compile(r"[\s\"'](?:data-)?hx-[a-z:-]+\s*=")
_JINJA = re.compile(r"{%.*?%}|{{.*?}}|{#.*?#}", re.DOTALL)
_INLINE_HANDLER = re.compile(r"\son[a-z]+\s*=\s*[\"']", re.IGNORECASE)


def _id(path: Path) -> str:
    return str(path.relative_to(TEMPLATES))


@pytest.fixture(scope="module")
def patterns() -> BeautifulSoup:
    with TestClient[Litestar](tiny_house()) as client:
        answer = client.get("/dev/patterns")
    assert answer.status_code == 200
    return BeautifulSoup(answer.text, "html.parser")


class TestSources:
    @pytest.mark.parametrize("path", FILES, ids=_id)
    def test_compiles(self, path: Path) -> None:
        templates().get_template(_id(path))

    @pytest.mark.parametrize("path", [p for p in FILES if p.name != "hx.html"], ids=_id)
    def test_htmx_attributes_come_from_the_macro_that_adds_the_nonce(self, path: Path) -> None:
        assert _RAW_HTMX.findall(path.read_text()) == []

    @pytest.mark.parametrize("path", FILES, ids=_id)
    def test_has_nothing_the_content_policy_blocks(self, path: Path) -> None:
        text = _JINJA.sub("x", path.read_text())
        assert not re.search(r"\sstyle\s*=", text), "style attributes are blocked"
        assert not re.search(r"<style[\s>]", text), "style elements are blocked"
        assert not _INLINE_HANDLER.search(text), "inline handlers are blocked"
        assert not re.search(r"<script(?![^>]*nonce=)[^>]*>", text), "a script needs the nonce"
        assert not re.search(r"<script[^>]*>[^<\s]", text), "inline scripts are not used"
        assert "javascript:" not in text

    @pytest.mark.parametrize("path", FILES, ids=_id)
    def test_loads_nothing_from_elsewhere(self, path: Path) -> None:
        assert not re.search(r"(?:src|href)\s*=\s*[\"'](?:https?:)?//", path.read_text())

    @pytest.mark.parametrize("path", FILES, ids=_id)
    def test_is_short_enough_to_read(self, path: Path) -> None:
        assert len(path.read_text().splitlines()) <= 150

    @pytest.mark.parametrize("path", [p for p in FILES if p.name == "_rows.html"], ids=_id)
    def test_list_rows_keep_their_roles_as_phone_grids(self, path: Path) -> None:
        text = path.read_text()
        for tag, role in (("tr", "row"), ("td", "cell")):
            bare = [found for found in re.findall(rf"<{tag}\b[^>]*>", text) if f'role="{role}"' not in found]
            assert bare == [], f"<{tag}> needs role={role}"

    def test_every_icon_of_the_vocabulary_is_in_the_sprite(self) -> None:
        wanted = {status.icon for states in vocabulary().values() for status in states.values()}
        assert wanted - icon_names() == set()


class TestPatternPage:
    @pytest.mark.parametrize("name", [name for name in COMPONENTS if name != "ui.html"])
    def test_every_component_is_shown(self, name: str) -> None:
        pages = "".join(path.read_text() for path in [*(TEMPLATES / "dev").glob("*.html"), TEMPLATES / "layout" / "app.html"])
        layout = "".join(path.read_text() for path in (TEMPLATES / "components").glob("*.html") if path.name not in {name, "ui.html"})
        macros = re.findall(r"{% macro ([a-z]\w*)\(", (TEMPLATES / "components" / name).read_text())
        used = [macro for macro in macros if f"ui.{macro}(" in pages]
        inner = [macro for macro in macros if re.search(rf"\b{macro}\(", layout)]
        assert used or inner, f"{name}: none of {macros} is shown on /dev/patterns"

    def test_every_public_macro_is_offered_under_ui(self) -> None:
        module = templates().get_template("components/ui.html").module
        offered = {name for name in vars(module) if not name.startswith("_")}
        named = set(re.findall(r"\bui\.([a-z_]+)\(", "".join(path.read_text() for path in FILES)))
        assert named <= offered, f"not in components/ui.html: {named - offered}"

    def test_has_no_style_attribute_and_every_script_has_the_nonce(self, patterns: BeautifulSoup) -> None:
        assert patterns.select("[style]") == []
        assert {bool(script.get("nonce")) for script in patterns.select("script")} == {True}

    def test_every_element_with_htmx_attributes_carries_the_nonce(self, patterns: BeautifulSoup) -> None:
        driven = [tag for tag in patterns.find_all(True) if any(name.startswith("hx-") for name in tag.attrs)]
        assert len(driven) > 5
        assert [tag.name for tag in driven if not tag.get("hx-nonce")] == []

    def test_every_posting_form_carries_the_token(self, patterns: BeautifulSoup) -> None:
        forms = patterns.select("form[method=post]")
        assert len(forms) > 5
        assert [form.get("action") for form in forms if form.select_one("input[name=csrf_token]") is None] == []

    def test_labels_belong_to_controls_and_ids_are_unique(self, patterns: BeautifulSoup) -> None:
        ids = [tag["id"] for tag in patterns.select("[id]")]
        assert {name for name in ids if ids.count(name) > 1} == set()
        assert [label["for"] for label in patterns.select("label[for]") if label["for"] not in ids] == []

    def test_described_fields_point_at_what_describes_them(self, patterns: BeautifulSoup) -> None:
        ids = {tag["id"] for tag in patterns.select("[id]")}
        pointed = {name for tag in patterns.select("[aria-describedby]") for name in str(tag["aria-describedby"]).split()}
        assert pointed <= ids

    def test_phone_tables_keep_their_roles(self, patterns: BeautifulSoup) -> None:
        for table in patterns.select("table.tbl--list, table.stmt"):
            assert table.get("role") == "table"
            assert {row.get("role") for row in table.select("tr")} == {"row"}
            assert {cell.get("role") for cell in table.select("td")} == {"cell"}


class TestVendored:
    def test_files_are_the_ones_whose_hashes_were_recorded(self) -> None:
        lines = (STATIC / "vendor" / "HASHES").read_text().splitlines()
        recorded = {name: digest for digest, name in (line.split() for line in lines)}
        actual = {name: hashlib.sha256((STATIC / name).read_bytes()).hexdigest() for name in recorded}
        assert actual == recorded

    def test_every_vendored_file_is_recorded_and_licensed(self) -> None:
        recorded = {line.split()[1] for line in (STATIC / "vendor" / "HASHES").read_text().splitlines()}
        for folder in ("vendor", "fonts", "icons"):
            names = {f"{folder}/{path.name}" for path in (STATIC / folder).iterdir() if path.name != "HASHES"}
            assert names <= recorded
            assert any("LICENSE" in name for name in names)

    def test_the_tools_of_the_tests_are_recorded_as_well(self) -> None:
        tools = Path(__file__).parent.parent / "vendor"
        recorded = {name: digest for digest, name in (line.split() for line in (tools / "HASHES").read_text().splitlines())}
        actual = {str(path.relative_to(tools)): hashlib.sha256(path.read_bytes()).hexdigest() for path in tools.glob("*/*")}
        assert actual == recorded

    def test_addresses_change_with_the_content(self) -> None:
        digest = hashlib.sha256((STATIC / "js/ui.js").read_bytes()).hexdigest()
        assert static_url("js/ui.js") == f"/static/js/ui.js?v={digest[:8]}"

    def test_the_script_neither_evaluates_nor_stores(self) -> None:
        script = (STATIC / "js" / "ui.js").read_text()
        for word in (
            "eval(",
            "new Function",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "localStorage",
            "sessionStorage",
            "document.write",
        ):
            assert word not in script
