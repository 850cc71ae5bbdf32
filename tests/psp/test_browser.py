"""The buyer's pages in a real browser: without JavaScript, in both themes, on a phone."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support import chromium
from tests.support.accessibility import violations
from tests.support.simulator import SimulatedAccount

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium.find(), args=["--no-sandbox"])
        yield opened
        opened.close()


class Shop(BaseHTTPRequestHandler):
    """Where the buyer goes back to."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"back in the shop")

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def back() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/back"
        server.shutdown()


def hosted(account: SimulatedAccount, *, back: str = "http://127.0.0.1:1/back") -> Any:
    body = {"amount": 19_800, "currency": "EUR", "reference": "att_1", "hosted": True, "return_url": back, "capture": True}
    headers = {"authorization": f"Bearer {account.secret_key}"}
    request = urllib.request.Request(f"{account.simulator.url}/v1/payments", data=json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.loads(answer.read())


def page_for(browser: Browser, *, scheme: Any = "light", width: int = 1280, script: bool = True) -> Page:
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, java_script_enabled=script, reduced_motion="reduce"
    )
    return context.new_page()


@pytest.mark.parametrize("script", [True, False])
def test_a_buyer_pays_with_a_challenge(browser: Browser, account: SimulatedAccount, back: str, script: bool) -> None:
    page = page_for(browser, script=script)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(hosted(account, back=back)["next_action"]["url"])
    page.get_by_label("Card number").fill("4000 0025 0000 3155")
    page.get_by_role("button", name="Pay €198.00").click()
    page.get_by_label("Code").fill("123456")
    page.get_by_role("button", name="Confirm €198.00").click()
    page.wait_for_url(f"{back}**")
    assert "back in the shop" in page.content()
    assert [text for text in complaints if "Content Security Policy" in text] == []
    assert account.charges("att_1")["payments"][0]["status"] == "captured"
    page.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_nobody_is_kept_out(browser: Browser, account: SimulatedAccount, width: int, scheme: str) -> None:
    page = page_for(browser, scheme=scheme, width=width)
    payment = hosted(account)
    page.goto(payment["next_action"]["url"])
    assert violations(page) == []
    page.get_by_label("Card number").fill("4000 0000 0000 9995")
    page.get_by_role("button", name="Pay €198.00").click()
    page.get_by_role("alert").wait_for()
    assert violations(page) == []
    page.get_by_label("Card number").fill("4000 0025 0000 3155")
    page.get_by_role("button", name="Pay €198.00").click()
    page.get_by_label("Code").wait_for()
    assert violations(page) == []
    page.goto(f"{account.simulator.url}/")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.context.close()
