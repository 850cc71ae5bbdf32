"""One handler answers with a page, a part of it, or the form again; redirects work with and without htmx."""

import json
import re

import pytest
from bs4 import BeautifulSoup
from litestar import Litestar
from litestar.testing import TestClient

from app.core.actors import Actor, ActorKind
from app.core.settings import settings
from app.web.context import MerchantBadge, PersonBadge, WebContext
from app.web.navigation import NAVIGATION, navigation
from app.web.patterns import PatternsHidden
from app.web.rendering import json_markup, to_html
from tests.web_ui.house import BROWSER_HEADERS, FULL, PARTIAL, TOKEN

GOOD = {"amount": "12.50", "amount_currency": "EUR", "reason": "damaged", "csrf_token": TOKEN}


class TestShowPatternDialog:
    def test_is_a_whole_page_for_a_browser(self, client: TestClient[Litestar]) -> None:
        answer = client.get("/dev/patterns/dialog")
        assert answer.text.lstrip().startswith("<!doctype html>")
        assert '<dialog class="dlg" aria-labelledby="dlg-h"' not in answer.text
        assert "dlg--page" in answer.text

    def test_is_a_dialog_alone_for_a_part_of_the_page(self, client: TestClient[Litestar]) -> None:
        answer = client.get("/dev/patterns/dialog", headers=PARTIAL)
        assert "<html" not in answer.text
        assert BeautifulSoup(answer.text, "html.parser").select("dialog")

    def test_is_a_whole_page_for_boosted_navigation_and_history(self, client: TestClient[Litestar]) -> None:
        assert "<html" in client.get("/dev/patterns/dialog", headers=FULL).text

    @pytest.mark.parametrize("headers", [{}, PARTIAL, FULL])
    def test_is_never_stored_and_varies_by_who_asks(self, client: TestClient[Litestar], headers: dict[str, str]) -> None:
        answer = client.get("/dev/patterns/dialog", headers=headers)
        assert answer.headers["cache-control"] == "no-store"
        assert {"HX-Request", "HX-Request-Type"} <= {name.strip() for name in answer.headers["vary"].split(",")}

    def test_the_nonce_is_the_one_of_the_policy(self, client: TestClient[Litestar]) -> None:
        answer = client.get("/dev/patterns/dialog", headers=PARTIAL)
        nonces = set(re.findall(r'hx-nonce="([^"]+)"', answer.text))
        assert len(nonces) == 1
        assert f"'nonce-{nonces.pop()}'" in answer.headers["content-security-policy"]


class TestSubmitPatternForm:
    def test_leads_on_with_a_toast_that_survives(self, client: TestClient[Litestar]) -> None:
        answer = client.post("/dev/patterns/form", data=GOOD)
        assert (answer.status_code, answer.headers["location"]) == (303, "/dev/patterns")
        page = client.get("/dev/patterns")
        assert "€12.50 looked at; nothing was moved" in BeautifulSoup(page.text, "html.parser").select(".toasts")[0].text
        assert "nothing was moved" not in client.get("/dev/patterns").text

    def test_leads_htmx_on_without_leaving_the_page(self, client: TestClient[Litestar]) -> None:
        answer = client.post("/dev/patterns/form", data=GOOD, headers=PARTIAL)
        assert answer.status_code == 200
        assert json.loads(answer.headers["hx-location"])["path"] == "/dev/patterns"
        after = client.get("/dev/patterns", headers=FULL)
        assert json.loads(after.headers["hx-trigger"]) == {"toast": {"title": "€12.50 looked at; nothing was moved"}}

    def test_boosted_forms_are_redirected_like_plain_ones(self, client: TestClient[Litestar]) -> None:
        assert client.post("/dev/patterns/form", data=GOOD, headers=FULL).status_code == 303

    @pytest.mark.parametrize(("headers", "whole"), [(BROWSER_HEADERS, True), (FULL, True), (PARTIAL, False)])
    def test_comes_back_with_what_was_typed_and_what_is_wrong(
        self, client: TestClient[Litestar], headers: dict[str, str], whole: bool
    ) -> None:
        answer = client.post("/dev/patterns/form", data=GOOD | {"amount": "12.505", "reason": "other"}, headers=headers)
        page = BeautifulSoup(answer.text, "html.parser")
        assert answer.status_code == 422
        assert ("<html" in answer.text) is whole
        assert answer.headers["hx-push-url"] == "false"
        amount = page.select_one("input[name=amount]")
        assert amount is not None
        assert (amount["value"], amount["aria-invalid"]) == ("12.505", "true")
        assert page.select("select[name=reason] option[selected]")[0]["value"] == "other"
        assert "EUR has 2 decimals" in page.select(f"#{str(amount['aria-describedby']).split()[0]}")[0].text
        assert page.select(".errs a")[0]["href"] == f"#{amount['id']}"

    def test_keeps_the_idempotency_key_of_the_form(self, client: TestClient[Litestar]) -> None:
        answer = client.post("/dev/patterns/form", data=GOOD | {"amount": "x", "idempotency_key": "the-same-key"}, headers=PARTIAL)
        assert BeautifulSoup(answer.text, "html.parser").select("[name=idempotency_key]")[0]["value"] == "the-same-key"

    def test_a_forged_toast_cookie_stays_text(self, client: TestClient[Litestar]) -> None:
        client.cookies.set("ch_toast", "PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==")
        assert "<script>alert(1)" not in client.get("/dev/patterns").text
        client.cookies.set("ch_toast", "%%%not-base64%%%")
        assert client.get("/dev/patterns").status_code == 200

    def test_two_fresh_forms_never_share_a_key(self, client: TestClient[Litestar]) -> None:
        keys = {
            BeautifulSoup(client.get("/dev/patterns/dialog").text, "html.parser").select("[name=idempotency_key]")[0]["value"]
            for _ in range(3)
        }
        assert len(keys) == 3


class TestShowPatterns:
    def test_is_hidden_in_production(self, client: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COUNTINGHOUSE_ENVIRONMENT", "production")
        settings.cache_clear()
        try:
            for path in ("/dev/patterns", "/dev/patterns/dialog"):
                with pytest.raises(PatternsHidden):
                    client.get(path)
        finally:
            settings.cache_clear()

    def test_theme_and_density_are_set_by_the_server(self, client: TestClient[Litestar]) -> None:
        root = BeautifulSoup(client.get("/dev/patterns?theme=dark&density=comfortable").text, "html.parser").select("html")[0]
        assert root["data-theme"] == "dark"
        assert "comfortable" in root["class"]
        assert "data-theme" not in BeautifulSoup(client.get("/dev/patterns").text, "html.parser").select("html")[0].attrs

    def test_test_mode_is_on_every_page_of_a_sandbox(self, client: TestClient[Litestar]) -> None:
        assert "Test mode." in client.get("/dev/patterns?test").text
        assert "Test mode." not in client.get("/dev/patterns").text


class TestStaticRoute:
    def test_files_may_be_kept_for_a_year(self, client: TestClient[Litestar]) -> None:
        answer = client.get("/static/css/countinghouse.css")
        assert answer.status_code == 200
        assert "max-age=31536000" in answer.headers["cache-control"]
        assert answer.headers["content-type"].startswith("text/css")

    @pytest.mark.parametrize("path", ["/static/../pyproject.toml", "/static/%2e%2e/pyproject.toml", "/static/none.css"])
    def test_serves_nothing_else(self, client: TestClient[Litestar], path: str) -> None:
        assert client.get(path).status_code == 404


def web_of(*permissions: str) -> WebContext:
    """A context of somebody with these permissions."""
    merchant = MerchantBadge(id="mer_1", name="Halden", initials="H", is_sandbox=False, counterpart=None, role="Owner")
    actor = Actor(kind=ActorKind.USER, name="Ines", permissions=frozenset(permissions))
    person = PersonBadge(name="Ines", email="i@halden.example", initials="I")
    return WebContext(
        request_id="r", nonce="n", csrf_token="t", path="/payments", actor=actor, person=person, merchant=merchant, merchants=[merchant]
    )


class TestNavigation:
    def test_shows_only_what_exists_and_may_be_entered(self) -> None:
        shown = navigation(web_of("payments.read", "orders.read"), {"/payments", "/ledger", "/security"})
        assert [entry.path for group in shown for entry in group.entries] == ["/payments", "/security"]

    def test_two_key_shortcuts_are_unique(self) -> None:
        keys = [entry.key for group in NAVIGATION for entry in group.entries if entry.key]
        assert len(keys) == len(set(keys))

    def test_marks_the_page_shown_and_offers_its_keys(self) -> None:
        class Page:
            problem = type("Problem", (), {"status": 404, "code": "x", "title": "Nothing", "detail": "d", "request_id": "r"})

        html = to_html("errors/problem.html", Page, web_of("payments.read", "orders.read"), paths=frozenset({"/payments", "/orders"}))
        links = {a["href"]: a for a in BeautifulSoup(html, "html.parser").select(".side-nav a")}
        assert set(links) == {"/payments", "/orders"}
        assert links["/payments"]["aria-current"] == "page"
        assert links["/payments"]["data-go"] == "p"
        assert "aria-current" not in links["/orders"].attrs


class TestJsonMarkup:
    def test_what_a_provider_sent_stays_text(self) -> None:
        markup = json_markup({"</pre><script>": ["<b>", 1, None, {"a": {}}]})
        assert "<script>" not in markup
        assert "<b>" not in markup
        plain = BeautifulSoup(markup, "html.parser").text
        assert json.loads(plain) == {"</pre><script>": ["<b>", 1, None, {"a": {}}]}
