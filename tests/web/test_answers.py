"""What every answer carries, whatever became of the request: headers, problems in three forms, and no commit behind a success."""

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.core.settings import settings
from app.web.context import CSRF_HEADER
from tests.support.factories.api_access import make_key
from tests.support.factories.tenancy import Tenant
from tests.support.headers import wrong_with
from tests.support.web import Browser, text_of

OpenBrowser = Callable[..., Browser]
JSON = {"accept": "application/json"}
EVERYWHERE = [
    "/sign-in",
    "/nope",
    "/team",
    "/healthz",
    "/readyz",
    "/v1/nope",
    "/static/css/countinghouse.css",
    "/static/nope.css",
    "/webhooks/nope",
]


class TestHeaders:
    @pytest.mark.parametrize("path", EVERYWHERE)
    async def test_on_every_kind_of_answer(self, browser: Browser, path: str) -> None:
        """The browser of the tests asks this of every answer it gets; here of each kind by name."""
        assert wrong_with((await browser.get(path)).headers, path=path) == []

    async def test_on_a_failure_inside(self, browser: Browser) -> None:
        await browser.get("/sign-in")
        answer = await browser.post("/toys/break")
        assert answer.status_code == 500
        assert wrong_with(answer.headers, path="/toys/break") == []

    async def test_the_check_itself_finds_what_is_missing(self, browser: Browser) -> None:
        headers = dict((await browser.get("/sign-in")).headers)
        for name in ("strict-transport-security", "x-frame-options", "content-security-policy", "cache-control", "permissions-policy"):
            assert wrong_with({key: value for key, value in headers.items() if key != name}, path="/sign-in")
        assert wrong_with(headers | {"set-cookie": "session=abc; Path=/; SameSite=Lax"}, path="/sign-in") == ["session is not HttpOnly"]

    async def test_each_page_has_a_nonce_of_its_own_that_its_scripts_carry(self, browser: Browser) -> None:
        nonces = set()
        for _ in range(3):
            page = await browser.get("/sign-in")
            nonce = re.findall(r"'nonce-([^']+)'", page.headers["content-security-policy"])[0]
            assert set(re.findall(r'<script[^>]*nonce="([^"]+)"', page.text)) == {nonce}
            assert "require-trusted-types-for 'script'" in page.headers["content-security-policy"]
            nonces.add(nonce)
        assert len(nonces) == 3

    async def test_pages_are_not_kept_and_static_files_are(self, owner: Browser) -> None:
        assert (await owner.get("/team")).headers["cache-control"] == "no-store"
        assert "immutable" in (await owner.get("/static/css/countinghouse.css")).headers["cache-control"]

    async def test_a_page_says_its_type_once(self, owner: Browser) -> None:
        assert (await owner.get("/team")).headers["content-type"] == "text/html; charset=utf-8"

    @pytest.mark.parametrize(
        ("sent", "kept"),
        [("req-12345678", True), ("short", False), ("x" * 65, False), ("line\tfeed-in-it", False), ("<script>alert", False)],
    )
    async def test_a_request_id_is_kept_when_it_is_one(self, browser: Browser, sent: str, kept: bool) -> None:
        answer = await browser.get("/healthz", headers={"x-request-id": sent})
        assert (answer.headers["x-request-id"] == sent) is kept

    async def test_head_is_answered_like_get(self, browser: Browser) -> None:
        assert (await browser.client.head("/sign-in")).status_code == 200


class TestProblems:
    async def test_a_page_for_people(self, owner: Browser) -> None:
        answer = await owner.get("/nope")
        assert answer.status_code == 404
        assert "There is nothing here" in text_of(answer)
        assert answer.headers["x-request-id"] in answer.text

    async def test_a_fragment_for_htmx(self, owner: Browser) -> None:
        answer = await owner.get("/nope", headers={"hx-request": "true", "hx-request-type": "partial"})
        assert answer.status_code == 404
        assert "<html" not in answer.text
        assert 'id="problem"' in answer.text

    @pytest.mark.parametrize("path", ["/nope", "/v1/nope"])
    async def test_problem_json_for_programs(self, browser: Browser, path: str) -> None:
        answer = await browser.get(path, headers=JSON)
        assert answer.headers["content-type"].startswith("application/problem+json")
        body = answer.json()
        assert {"type", "title", "status", "detail", "code", "request_id"} <= body.keys()
        assert (body["status"], body["code"], body["request_id"]) == (404, "not_found", answer.headers["x-request-id"])

    async def test_nothing_of_the_inside_is_told(self, browser: Browser) -> None:
        await browser.get("/sign-in")
        for headers in ({}, JSON):
            answer = await browser.post("/toys/break", headers=headers)
            assert answer.status_code == 500
            assert not any(word in answer.text for word in ("hunter2", "select", "RuntimeError", "Traceback", "toy.py"))
            assert answer.headers["x-request-id"] in answer.text

    @pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "TRACE"])
    async def test_a_wrong_method_is_told_the_right_ones(self, browser: Browser, method: str) -> None:
        answer = await browser.client.request(method, "/sign-in")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, POST"

    async def test_a_failing_commit_is_a_failure(self, browser: Browser) -> None:
        await browser.get("/sign-in")
        answer = await browser.post("/toys/fail-at-commit", headers=JSON)
        assert answer.status_code == 500, "the handler had said 201"
        assert "made" not in answer.text

    async def test_a_redirecting_post_is_committed_before_it_is_answered(self, owner: Browser, superuser: psycopg.Connection) -> None:
        assert (await owner.post("/toys/write")).status_code == 303
        assert superuser.execute("select used from rate_limit where key = 'toy'").fetchone() == (1,)


class TestApiBodies:
    async def send(
        self, browser: Browser, tenant: Tenant, body: bytes, content_type: str = "application/json"
    ) -> tuple[int, dict[str, object]]:
        _, key = await make_key(tenant.id)
        headers = {"authorization": f"Bearer {key}", "content-type": content_type}
        answer = await browser.client.post("/v1/toys", content=body, headers=headers)
        return answer.status_code, answer.json()

    async def test_a_good_one(self, browser: Browser, tenant: Tenant) -> None:
        assert await self.send(browser, tenant, b'{"reference": "A1", "amount": 5}') == (201, {"reference": "A1"})

    @pytest.mark.parametrize("body", [b"{", b'{"reference": "A1", "amount": 5', b"\xff\xfe", b'"text'])
    async def test_malformed(self, browser: Browser, tenant: Tenant, body: bytes) -> None:
        status, problem = await self.send(browser, tenant, body)
        assert (status, problem["code"]) == (400, "bad_request"), problem

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            (b'{"reference": "A1", "amount": 0}', "amount"),
            (b'{"reference": "", "amount": 5}', "reference"),
            (b'{"amount": 5}', "reference"),
            (b'{"reference": 5, "amount": 5}', "reference"),
        ],
    )
    async def test_invalid_names_the_field(self, browser: Browser, tenant: Tenant, body: bytes, field: str) -> None:
        status, problem = await self.send(browser, tenant, body)
        assert (status, problem["code"]) == (422, "invalid")
        assert field in str(problem["fields"])

    async def test_too_large(self, browser: Browser, tenant: Tenant) -> None:
        status, problem = await self.send(browser, tenant, b'{"reference": "' + b"x" * 1_100_000 + b'"}')
        assert (status, problem["code"]) == (413, "body_too_large")

    async def test_too_large_for_a_form(self, owner: Browser) -> None:
        answer = await owner.post("/preferences/theme", {"theme": "x" * 1_100_000})
        assert answer.status_code == 413


class TestReadiness:
    async def test_it_says_why_not(self, browser: Browser) -> None:
        """The tests' own server forgoes durable commits for speed: exactly what a real one must not do."""
        answer = await browser.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["problems"] == ["fsync is off; commits could be lost.", "full_page_writes is off; commits could be lost."]

    async def test_it_says_yes(self, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
        from app.web import health

        asked = health.call

        async def durable(statement: object, values: object) -> object:
            row = await asked(statement, values)  # type: ignore[arg-type]
            return type("Row", (), row._asdict() | {"fsync": "on", "full_page_writes": "on"})

        monkeypatch.setattr(health, "call", durable)
        assert (await browser.get("/readyz")).json() == {"ready": True, "problems": []}

    async def test_an_old_database_is_refused(self, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
        from app.web import health

        monkeypatch.setattr(health, "newest_migration", lambda: "9999")
        assert any("9999" in problem for problem in (await browser.get("/readyz")).json()["problems"])

    def test_it_asks_for_the_newest_migration(self) -> None:
        from app.web import health

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parents[2] / "migrations"))
        assert health.newest_migration() == ScriptDirectory.from_config(config).get_current_head()

    async def test_the_process_lives_without_a_database(self, browser: Browser) -> None:
        assert (await browser.get("/healthz")).json() == {"status": "ok"}


class TestOddRequests:
    @pytest.mark.parametrize("path", ["/%E6%97%A5", "/%F0%9F%98%80", "/caf%C3%A9?q=%E6%97%A5"])
    async def test_any_letters_may_stand_in_the_address_one_goes_on_to(self, owner: Browser, path: str) -> None:
        answer = await owner.get(f"/sign-in?next={path}")
        assert (answer.status_code, answer.headers["location"].isascii()) == (303, True)
        hard = await owner.get("/sign-in?next=/a%2520b%3Fq%3D%2526", headers={"hx-request": "true"})
        assert hard.headers["hx-redirect"] == "/a%20b?q=%26", "what is encoded already stays as it is"

    @pytest.mark.parametrize("charset", ["bogus", "utf-16"])
    async def test_a_form_in_an_encoding_that_cannot_be_read_is_refused(self, owner: Browser, charset: str) -> None:
        part = f'--x\r\nContent-Disposition: form-data; name="next"\r\nContent-Type: text/plain; charset={charset}\r\n\r\nabc\r\n--x--\r\n'
        headers = {"content-type": "multipart/form-data; boundary=x", CSRF_HEADER: owner.token}
        answer = await owner.client.post("/sign-in", content=part.encode(), headers=headers)
        assert answer.status_code == 400

    @pytest.mark.parametrize("asked", ["until=9999-12-31", "since=0001-01-01", "since=9999-12-31&until=9999-12-31"])
    async def test_the_first_and_the_last_day_there_are_can_be_asked_for(self, owner: Browser, asked: str) -> None:
        assert (await owner.get(f"/audit?{asked}")).status_code == 200


class TestAddresses:
    def test_forwarded_headers_count_only_from_our_proxies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import msgspec
        from litestar.testing import RequestFactory

        from app.web import addresses

        def seen(peer: str, *lines: str, proxies: str = "10.0.0.0/8") -> str:
            monkeypatch.setattr(addresses, "settings", lambda: msgspec.structs.replace(settings(), trusted_proxies=proxies))
            request = RequestFactory().get("/")
            request.scope["headers"] = [(b"x-forwarded-for", line.encode()) for line in lines]
            request.scope["client"] = (peer, 1)
            return addresses.client_address(request)

        assert seen("203.0.113.9", "1.2.3.4", proxies="") == "203.0.113.9"
        assert seen("203.0.113.9", "1.2.3.4") == "203.0.113.9"
        assert seen("10.0.0.1", "1.2.3.4") == "1.2.3.4"
        assert seen("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.7") == "1.2.3.4", "what stands left of it may be invented"
        assert seen("10.0.0.1", "nonsense") == "10.0.0.1"
        assert seen("10.0.0.1", "6.6.6.6", "1.2.3.4") == "1.2.3.4", "a proxy may write a line of its own below the caller's"
        assert seen("10.0.0.1", "6.6.6.6", "1.2.3.4, 10.0.0.7", "10.0.0.8") == "1.2.3.4"

    def test_one_ipv6_customer_is_one_address(self) -> None:
        from app.web.addresses import limit_key

        assert limit_key("2001:db8:1:2:3::4") == limit_key("2001:db8:1:2:ffff::1") != limit_key("2001:db8:1:3::1")


class TestHosts:
    @pytest.mark.parametrize("host", ["countinghouse.test", "COUNTINGHOUSE.TEST:8443", "localhost:8000", "127.0.0.1", "[::1]:9000"])
    async def test_ones_own_names_are_answered_to(self, browser: Browser, host: str) -> None:
        assert (await browser.get("/sign-in", headers={"host": host})).status_code == 200

    @pytest.mark.parametrize(
        "host", ["evil.example", "countinghouse.test.evil.example", "evil@countinghouse.test", "countinghouse.test/x", "", "[::1", "a b"]
    )
    async def test_no_other_is(self, browser: Browser, host: str) -> None:
        answer = await browser.get("/sign-in", headers={"host": host} | JSON)
        assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host")

    async def test_a_forwarded_host_is_not_believed(self, browser: Browser) -> None:
        answer = await browser.get("/sign-in", headers={"x-forwarded-host": "evil.example"})
        assert "evil.example" not in answer.text

    def test_in_production_only_the_names_that_were_given(self) -> None:
        from app.web.addresses import _names

        assert _names("https://pay.example", "console.pay.example, ", "production") == {"pay.example", "console.pay.example"}


class TestOpenRedirect:
    @pytest.mark.parametrize(
        "target",
        [
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "http:evil.example",
            "/sign-out",
            " /x",
            "/a b",
            "/%0d%0aset-cookie:x",
            "evil.example",
        ],
    )
    async def test_next_stays_here(self, owner: Browser, target: str) -> None:
        answer = await owner.client.get("/sign-in", params={"next": target})
        location = answer.headers["location"]
        assert location == "/" or (location == target and target.startswith("/%"))
        assert "\r" not in location

    async def test_and_leads_where_it_should(self, owner: Browser) -> None:
        assert (await owner.get("/sign-in?next=/team%3Fx%3D1")).headers["location"] == "/team?x=1"
