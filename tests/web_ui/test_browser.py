"""The interface in a real browser: nothing breaks the content policy, everything works with keys, on a phone and without scripts."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright

from tests.support import chromium
from tests.support.accessibility import COLOURS, LAYOUT, violations
from tests.web_ui.house import serving, tiny_house

pytestmark = pytest.mark.browser
WIDE, PHONE, SMALLEST = 1440, 390, 320


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(tiny_house()) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium.find(), args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page with everything its console complained about."""

    def __init__(self, browser: Browser, address: str, *, width: int = WIDE, scripts: bool = True) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=scripts, base_url=address)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: ConsoleMessage) -> None:
        # the browser notes every 4xx answer; a refused form is one on purpose
        if message.type in {"error", "warning"} and "status of 422" not in message.text:
            self.complaints.append(message.text)


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    visit = Visit(browser, address)
    yield visit
    visit.context.close()
    assert visit.complaints == []


class TestPatternPage:
    @pytest.mark.parametrize("width", [WIDE, PHONE, SMALLEST])
    def test_fits_every_width_in_every_theme_without_a_complaint(self, browser: Browser, address: str, width: int) -> None:
        visit, too_wide = Visit(browser, address, width=width), []
        for query in ("", "?theme=dark&test", "?density=comfortable"):
            visit.page.goto(f"/dev/patterns{query}")
            if visit.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                too_wide.append(query)
        visit.context.close()
        assert too_wide == []
        assert visit.complaints == []

    @pytest.mark.parametrize(
        ("width", "query", "only"),
        [(WIDE, "", []), (WIDE, "?theme=dark", COLOURS), (PHONE, "", LAYOUT), (SMALLEST, "?theme=dark&test", LAYOUT + COLOURS)],
        ids=["wide", "dark", "phone", "smallest dark"],
    )
    def test_keeps_nobody_out(self, browser: Browser, address: str, width: int, query: str, only: list[str]) -> None:
        """All rules once; those that colours and widths change, in the dark and on phones."""
        visit = Visit(browser, address, width=width)
        visit.page.goto(f"/dev/patterns{query}")
        found = violations(visit.page, only=only)
        visit.context.close()
        assert found == []

    @pytest.mark.parametrize(
        ("where", "worse"),
        [
            ("the text", "text => { text.style.color = '#ccc' }"),
            ("what it stands in", "text => { text.parentElement.style.background = '#444' }"),
            ("only its strength", "text => { text.parentElement.style.opacity = '0.2' }"),
        ],
    )
    def test_one_of_many_texts_that_nobody_can_read_is_found(self, visit: Visit, where: str, worse: str) -> None:
        """Texts that are painted alike are asked about together; the last one is found when it is not, in whatever way."""
        page = visit.page
        page.goto("/dev/patterns")
        many = page.locator("#main tr:not(.bal) td:not(:empty)").filter(has_not=page.locator("*"), visible=True)
        assert many.count() > 10
        last = many.last
        assert violations(page, only=["color-contrast"]) == []
        last.evaluate(worse)
        assert violations(page, only=["color-contrast"]) != [], where

    def test_an_injected_htmx_attribute_does_nothing(self, visit: Visit) -> None:
        visit.page.goto("/dev/patterns")
        asked: list[str] = []
        visit.page.on("request", lambda request: asked.append(request.url))
        visit.page.evaluate(
            """() => { const d = document.createElement("div"); d.setAttribute("hx-get", "/dev/patterns/dialog"); d.setAttribute("hx-trigger", "load");
            document.querySelector("#main").append(d); htmx.process(d) }"""
        )
        visit.page.locator(".ph").get_by_role("link", name="Refund").click()
        visit.page.locator("#modal dialog[open]").wait_for()
        assert len([url for url in asked if url.endswith("/dialog")]) == 1
        assert any("hx-csp" in text for text in visit.complaints), "the extension says that it blocked the element"
        visit.complaints.clear()


class TestDialog:
    def test_opens_refuses_and_leads_on(self, visit: Visit) -> None:
        page = visit.page
        page.goto("/dev/patterns")
        page.locator(".ph").get_by_role("link", name="Refund").click()
        dialog = page.locator("#modal dialog[open]")
        dialog.wait_for()
        assert page.evaluate("document.activeElement.id") == "d-amount"
        page.locator("#modal dialog").evaluate("d => Promise.all(d.getAnimations().map(a => a.finished))")
        assert violations(page) == []
        go = dialog.get_by_role("button", name="Refund €250.00")
        assert go.is_disabled()
        dialog.get_by_label("Type 250.00 to confirm").fill("250.00")
        dialog.get_by_label("Amount", exact=True).fill("1.234")
        go.click()
        page.locator("#modal dialog[open] .errs").wait_for()
        assert "EUR has 2 decimals" in page.locator("#modal .errs").inner_text()
        assert page.evaluate("document.activeElement.closest('.note--bad') !== null")
        assert page.locator("#modal #d-amount").input_value() == "1.234"
        assert page.url.endswith("/dev/patterns")
        dialog.get_by_label("Amount", exact=True).fill("25")
        dialog.get_by_label("Type 250.00 to confirm").fill("250.00")
        dialog.get_by_role("button", name="Refund €250.00").click()
        page.locator(".toast", has_text="€25.00 looked at").wait_for()
        assert page.locator("#modal dialog").count() == 0

    def test_escape_closes_and_empties_it(self, visit: Visit) -> None:
        page = visit.page
        page.goto("/dev/patterns")
        page.locator(".ph").get_by_role("link", name="Refund").click()
        page.locator("#modal dialog[open]").wait_for()
        page.keyboard.press("Escape")
        page.locator("#modal dialog").wait_for(state="detached")
        page.locator(".ph").get_by_role("link", name="Refund").click()
        page.locator("#modal dialog[open]").wait_for()

    def test_a_question_is_asked_before_a_post_that_wants_one(self, visit: Visit) -> None:
        page = visit.page
        page.goto("/dev/patterns")
        posted: list[str] = []
        page.on("request", lambda request: posted.append(request.url) if request.method == "POST" else None)
        page.get_by_role("button", name="Post with a question").click()
        question = page.locator("#confirm[open]")
        assert "Void this payment?" in question.inner_text()
        question.get_by_role("button", name="Cancel").click()
        assert posted == []
        page.get_by_role("button", name="Post with a question").click()
        question.get_by_role("button", name="Continue").click()
        page.locator("#main .errs").wait_for()
        assert len(posted) == 1


class TestNavigation:
    def test_boosted_pages_move_focus_title_and_history(self, visit: Visit) -> None:
        page = visit.page
        page.goto("/dev/patterns/dialog")
        page.evaluate("window.stayed = true")
        page.locator("#main").get_by_role("link", name="Cancel").click()
        page.get_by_role("heading", name="Patterns", level=1).wait_for()
        assert page.evaluate("window.stayed") is True
        assert page.title().startswith("Patterns")
        assert page.evaluate("document.activeElement.id") == "main"
        page.go_back()
        page.get_by_role("heading", name="Refund Lena Hoffmann").wait_for()

    def test_palette_opens_filters_and_closes_by_keys(self, visit: Visit) -> None:
        page = visit.page
        page.goto("/dev/patterns")
        page.keyboard.press("Control+k")
        page.locator("#palette[open]").wait_for()
        assert page.evaluate("document.activeElement.closest('#palette') !== null")
        page.keyboard.press("Escape")
        assert page.locator("#palette[open]").count() == 0
        page.keyboard.press("?")
        page.locator("#shortcuts[open]").wait_for()

    def test_rows_are_walked_with_j_and_k_and_search_with_a_slash(self, visit: Visit) -> None:
        page = visit.page
        page.goto("/dev/patterns")
        for key in "jjk":
            page.keyboard.press(key)
        assert page.evaluate("document.activeElement.textContent") == "Lena Hoffmann"
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.matches('[data-search]')")


class TestSearch:
    def test_the_page_follows_while_typing_and_the_field_keeps_what_was_typed(self, visit: Visit) -> None:
        page = visit.page
        page.goto("/dev/patterns")
        page.keyboard.press("/")
        page.keyboard.type("no", delay=40)
        page.get_by_text("Showing 1", exact=True).wait_for()
        page.keyboard.type("wak", delay=40)
        page.wait_for_url("**/dev/patterns?q=nowak")
        assert page.locator("#sample-rows .rl").all_inner_texts() == ["Marta Nowak"]
        assert page.evaluate("document.activeElement.value") == "nowak"
        page.keyboard.type("x")
        page.get_by_text("Nothing matches", exact=True).wait_for()
        assert page.evaluate("document.activeElement.value") == "nowakx"
        page.reload()
        assert page.locator("[data-search]").input_value() == "nowakx"

    def test_what_was_typed_before_the_scripts_came_is_looked_for(self, visit: Visit) -> None:
        page, held = visit.page, list[Route]()

        def hold(route: Route) -> None:
            held.append(route)

        page.route("**/htmx.min*", hold)
        page.goto("/dev/patterns", wait_until="commit")
        page.locator("[data-search]").click()
        page.keyboard.type("no")
        held[0].continue_()
        page.get_by_text("Showing 1", exact=True).wait_for()
        assert page.evaluate("document.activeElement.value") == "no"


class TestCharts:
    def test_arrow_keys_read_values_aloud(self, visit: Visit) -> None:
        page = visit.page
        page.goto("/dev/patterns")
        page.locator(".chart-p[tabindex]").first.focus()
        page.keyboard.press("ArrowLeft")
        assert page.locator("[data-reading]").first.inner_text() == "20 Nov: €18,100.00"
        page.keyboard.press("ArrowLeft")
        assert page.locator("[data-reading]").first.inner_text() == "19 Nov: €16,400.00"

    def test_the_numbers_are_there_as_a_table(self, visit: Visit) -> None:
        page = visit.page
        page.goto("/dev/patterns")
        page.get_by_text("View as table").first.click()
        assert page.locator(".c-data[open] tbody tr").count() == 14


class TestWithoutScripts:
    def test_a_dialog_is_a_page_and_its_form_works(self, browser: Browser, address: str) -> None:
        visit = Visit(browser, address, scripts=False)
        page = visit.page
        page.goto("/dev/patterns")
        page.locator(".ph").get_by_role("link", name="Refund").click()
        assert page.url.endswith("/dev/patterns/dialog")
        page.get_by_label("Amount", exact=True).fill("x")
        page.locator("#dlg-go").click()
        assert "is not an amount" in page.locator(".errs").inner_text()
        visit.context.close()
