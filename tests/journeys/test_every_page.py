"""Every page the application has, found in its own route table: it fits, it keeps nobody out, and the browser has nothing to complain about.

A new page is visited without a line here. Rules that depend on colours are asked again in the dark; the others need one theme only.
"""

import asyncio
from collections.abc import Iterable
from functools import cache

import pytest
from playwright.async_api import Browser

from app.core.ids import public_id
from app.reports.queries.catalogue import REPORTS
from app.web.guards import declaration_of, declared_routes
from tests.journeys import steps
from tests.journeys.window import Window
from tests.support.accessibility import COLOURS, LAYOUT
from tests.support.house import House, Resident
from tests.support.samples import NOT_AN_ID, PREFIXES, fill, parameters
from tests.support.web import whole_app

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WIDE, PHONE, SMALLEST, HEIGHT = 1440, 390, 320, 900
PARTS = 4
"""In so many tests the pages are visited: one alone would take minutes, and says late what is wrong."""
SAMPLES = {
    "key_id": "select id from api_key where merchant_id = %s",
    "client_id": "select id from api_client where merchant_id = %s",
    "connection_id": "select id from psp_connection where merchant_id = %s",
    "seller_id": "select id from seller where merchant_id = %s",
    "member_id": "select id from membership where merchant_id = %s and role <> 'owner'",
    "role_id": "select id from merchant_role where merchant_id = %s",
    "item_id": "select id from approval where merchant_id = %s and status = 'pending'",
    "order_id": "select distinct on (status) id from sales_order where merchant_id = %s",
    "payment_id": "select distinct on (status) id from payment where merchant_id = %s",
    "attempt_id": "select id from payment_attempt where merchant_id = %s",
    "bank_account_id": "select distinct on (status) id from bank_account where merchant_id = %s",
    "payout_id": "select distinct on (status) id from payout where merchant_id = %s",
    "batch_id": "select id from payout_batch where merchant_id = %s",
    "transaction_id": "select max(id) from ledger.txn where merchant_id = %s group by kind",
    "account_id": "select max(id) from ledger.account where merchant_id = %s group by code",
    "source_id": "select id from recon_source where merchant_id = %s and side = 'psp'",
    "file_id": "select id from recon_file where merchant_id = %s and lines > 0",
    "arrival_id": "select id from recon_arrival where merchant_id = %s",
    "run_id": "select id from recon_run where merchant_id = %s",
    "break_id": "select id from recon_break where merchant_id = %s and kind = 'amount'",
    "sso_id": "select id from sso_provider where merchant_id = %s",
    "version_id": "select id from routing_version where merchant_id = %s order by number",
    "rule_id": (
        "select r.rule_key from routing_rule r join routing_version v on v.merchant_id = r.merchant_id and v.id = r.version_id"
        " where r.merchant_id = %s and v.status = 'draft' order by r.position"
    ),
    "entry_id": "select id from audit_entry where merchant_id = %s and before is not null",
}
"""Objects to look at: one of every state, so that every badge, notice and empty place is seen."""
NUMBERED = {"transaction_id": "txn", "account_id": "acc"}
VARIANTS = (
    "/payments?q=zzzz",
    "/payments?state=failed",
    "/orders?q=zzzz",
    "/wallets?q=zzzz",
    "/sellers?q=zzzz",
    "/payouts?q=zzzz",
    "/payouts/calendar?code=FED&month=2026-07",
    "/audit?q=zzzz",
    "/approvals?kind=write_off",
    "/team/roles/new?copy=support",
    "/no-such-page",
)
"""Lists that find nothing, and an address that leads nowhere."""
BY_PROOF = {
    *("payments:return", "passwords:reset_form", "invitations:show"),
    *("admissions:begin", "admissions:finish", "admissions:farewell", "admissions:confirm_form"),
    *("providers:begin", "providers:connect", "providers:finish", "providers:farewell", "providers:signed_out"),
}
"""Opened with a key in the address, or only on the way to and from a sign-in provider; journeys of their own come by."""


@cache
def pages() -> list[tuple[str, str, str]]:
    """What a browser can open: (path, name, audience) of every GET route that is no API and no file."""
    found = []
    for method, path, handler in declared_routes(whole_app()):
        guard = declaration_of(handler)
        if (
            method == "GET"
            and guard is not None
            and not path.startswith(("/v1/", "/static/", "/webhooks/", "/.well-known/"))
            and handler.name not in BY_PROOF
        ):
            found.append((path, str(handler.name), guard.audience))
    return found


def addresses(house: House, person: Resident) -> tuple[list[str], list[str]]:
    """The addresses of all pages for somebody signed in, filled with this merchant's own objects: one of each page, and objects in further states."""
    values = {name: _samples(house, person, name) for name in SAMPLES}
    values |= {name: [value] for name, value in NOT_AN_ID.items()} | {"name": list(REPORTS)}
    first, further = [], list[str]()
    for path, _, audience in pages():
        if audience in {"public", "password_proven", "operator"} and not path.startswith("/dev/"):
            continue
        names = parameters(path)
        assert set(names) <= values.keys(), f"{path}: add a sample of {set(names) - values.keys()}"
        # objects are seen in the first and the last of their states; what all states look like is shown by the patterns page
        last = max((len(values[name]) for name in names), default=1) - 1
        chosen = sorted({0, last})
        found = [fill(path, {name: values[name][min(i, len(values[name]) - 1)] for name in names}) for i in chosen]
        first.append(found[0])
        further += found[1:]
    return first, [*further, *VARIANTS]


def _samples(house: House, person: Resident, name: str) -> list[str]:
    rows = house.query(SAMPLES[name], house.merchant_id(person))
    assert rows, f"the demo has no {name}"
    if name in NUMBERED:
        return [f"{NUMBERED[name]}_{row[0]}" for row in rows][:4]
    ids = [public_id(PREFIXES[name], row[0]) for row in rows]  # type: ignore[arg-type]
    return ids if name in {"payment_id", "order_id", "payout_id", "bank_account_id"} else ids[:1]


async def look_at(window: Window, paths: Iterable[str], *, width: int, dark: bool = True) -> dict[str, list[str]]:
    """Visit pages one after the other: on a desk all rules in the light and those of colours in the dark, on a phone those of the layout.

    What stands around every page is looked at once, with the first.
    """
    page, wrong = window.page, dict[str, list[str]]()
    for nth, path in enumerate(paths):
        response = await page.goto(path)
        assert response is not None, path
        if response.status not in {200, 404, 409}:
            wrong[path] = [f"status {response.status}"]
            continue
        found = await window.look(only=LAYOUT if width == PHONE else (), frame=nth == 0)
        if width == PHONE:
            await page.set_viewport_size({"width": SMALLEST, "height": HEIGHT})
            found += [f"at {SMALLEST}: {text}" for text in await window.too_wide()]
            await page.set_viewport_size({"width": width, "height": HEIGHT})
        elif dark:
            await page.emulate_media(color_scheme="dark")
            found += [f"dark: {text}" for text in await window.look(only=COLOURS, frame=nth == 0)]
            await page.emulate_media(color_scheme="light")
        if found:
            wrong[path] = found
    return wrong


def told(wrong: dict[str, list[str]]) -> str:
    """What is wrong, a line each."""
    return "\n".join(f"{path}: {text}" for path, texts in wrong.items() for text in texts)


async def html_only(window: Window, paths: list[str]) -> list[str]:
    """Leave out what is a file or no page: exports are downloads, health checks are for machines."""
    kept = []
    for path in paths:
        answer = await window.context.request.get(path, max_redirects=0)
        if answer.status // 100 != 3 and answer.headers.get("content-type", "").startswith("text/html"):
            kept.append(path)
    return kept


async def visit_every_page(chrome: Browser, house: House, *, width: int, part: int) -> str:
    """What is wrong with a part of the pages of somebody signed in: each page in both themes on a desk, objects in further states in the light."""
    ines = house.people[0]
    async with Window.opened(chrome, house, viewport={"width": width, "height": HEIGHT}, color_scheme="light") as window:
        await window.sign_in(ines)
        await window.will_look()
        first, further = [await html_only(window, paths[part::PARTS]) for paths in addresses(house, ines)]
        assert len(first) > 50 // PARTS
        beside = await window.beside()
        looks = [look_at(tab, first[half::2], width=width) for half, tab in enumerate((window, beside))]
        wrong = await asyncio.gather(*looks)
        if width == WIDE:
            looks = [look_at(tab, further[half::2], width=width, dark=False) for half, tab in enumerate((window, beside))]
            wrong += await asyncio.gather(*looks)
        return "\n".join(filter(None, map(told, wrong)))


IN_DOUBT = "select merchant_id, id from payment where status = 'conflicted'"
NOTHING_THERE = ("/operator/queue?merchant=zzzz", "/operator/jobs?job=zzzz")
"""Lists of the console that find nothing."""


async def visit_the_console(chrome: Browser, house: House, *, width: int) -> str:
    """What is wrong with the pages of those who run the platform: without a visit, and during one, with something to look at."""
    mara = next(person for person in house.people if person.role == "operator")
    merchant, payment = house.query(IN_DOUBT)[0]
    values = {"merchant_id": public_id("mer", merchant), "payment_id": public_id("pay", payment)}  # type: ignore[arg-type]
    paths = [fill(path, values) for path, _, audience in pages() if audience == "operator" and not path.endswith("/check")]
    house.query("update operator_visit set closed_at = now() where closed_at is null")
    async with Window.opened(chrome, house, viewport={"width": width, "height": HEIGHT}, color_scheme="light") as window:
        page = window.page
        await window.sign_in(mara, at="/operator")
        await window.will_look()
        wrong = await look_at(window, ["/operator"], width=width)
        await page.get_by_label("Reason").fill("Looking at every page of the console")
        await page.get_by_role("button", name="Open the visit").click()
        await page.get_by_role("button", name="End the visit").wait_for()
        await page.goto("/operator/queue")
        chosen = await page.locator("#queue-rows input[name=item]").evaluate_all("boxes => boxes.map(box => 'item=' + box.value).join('&')")
        assert chosen.count("item=") >= 3, "the demo has something waiting"
        paths.append(f"/operator/queue/check?{chosen}")
        beside = await window.beside()
        looks = [look_at(tab, paths[half::2], width=width) for half, tab in enumerate((window, beside))]
        wrong |= {path: texts for found in await asyncio.gather(*looks) for path, texts in found.items()}
        if width == WIDE:
            wrong |= await look_at(window, NOTHING_THERE, width=width, dark=False)
        return told(wrong)


async def visit_the_way_in(chrome: Browser, house: House, *, width: int) -> str:
    """What is wrong with the pages before the sign-in."""
    before = {
        path
        for path, _, audience in pages()
        if audience in {"public", "password_proven"} and not path.startswith(("/dev/", "/healthz", "/readyz"))
    }
    nobody, enrolled = {"/sign-in", "/sign-in/sso", "/forgot"}, {"/sign-in/second-factor", "/sign-in/recovery"}
    assert before == nobody | enrolled | {"/sign-in/enrol"}
    newcomer = house.add_person(f"early-{width}@newcomers.example", opens=f"Early {width}")
    wrong: dict[str, list[str]] = {}
    for person, paths in ((None, nobody), (house.people[1], enrolled), (newcomer, {"/sign-in/enrol"})):
        async with Window.opened(chrome, house, viewport={"width": width, "height": HEIGHT}) as window:
            if person:
                await window.prove_password(person)
                await window.page.get_by_label("6-digit code").wait_for()
            wrong |= await look_at(window, sorted(paths), width=width)
    return told(wrong)


class TestEveryPage:
    @pytest.mark.parametrize("part", range(PARTS))
    async def test_it_fits_and_keeps_nobody_out(self, chrome: Browser, house: House, part: int) -> None:
        assert await visit_every_page(chrome, house, width=WIDE, part=part) == ""

    async def test_so_do_the_pages_of_those_who_run_the_platform(self, chrome: Browser, house: House) -> None:
        assert await visit_the_console(chrome, house, width=WIDE) == ""

    async def test_so_do_the_pages_before_the_sign_in(self, chrome: Browser, house: House) -> None:
        assert await visit_the_way_in(chrome, house, width=WIDE) == ""


class TestEveryPageOnAPhone:
    """A class of its own, so that another test process can look at the same time."""

    @pytest.mark.parametrize("part", range(PARTS))
    async def test_it_fits_and_keeps_nobody_out(self, chrome: Browser, house: House, part: int) -> None:
        assert await visit_every_page(chrome, house, width=PHONE, part=part) == ""

    async def test_so_do_the_pages_of_those_who_run_the_platform(self, chrome: Browser, house: House) -> None:
        assert await visit_the_console(chrome, house, width=PHONE) == ""

    async def test_so_do_the_pages_before_the_sign_in(self, chrome: Browser, house: House) -> None:
        assert await visit_the_way_in(chrome, house, width=PHONE) == ""

    async def test_so_do_the_pages_of_a_merchant_without_anything(self, chrome: Browser, house: House) -> None:
        """Every list has something to say when it is empty."""
        async with Window.opened(chrome, house, viewport={"width": PHONE, "height": HEIGHT}) as window:
            nina = house.add_person("empty@newcomers.example", opens="Empty House")
            await steps.enrol(window, nina)
            lists = [path for path, _, audience in pages() if not parameters(path) and audience == "permission" and path.count("/") == 1]
            assert len(lists) > 10
            assert told(await look_at(window, await html_only(window, lists), width=PHONE)) == ""
