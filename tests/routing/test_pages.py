"""The pages of routing as people see and use them: without scripts, by two people, and what they refuse."""

import pytest
from bs4 import BeautifulSoup

from app.core.ids import ConnectionId, public_id
from app.core.money import Money
from app.routing.domain import ELSE, Share
from app.tenancy.domain import Role
from tests.routing.conftest import Router
from tests.support.console import OpenAs, soup, words
from tests.support.factories.tenancy import Tenant
from tests.support.web import Browser, text_of

PATH = "/routing"


def rules_of(page: BeautifulSoup) -> list[str]:
    return [words(row.select_one("h3")) for row in page.select("#rules > li")]


def fields(router: Router, **said: str) -> dict[str, str]:
    """The form of a rule to the second connection."""
    return {
        "name": "High value",
        "at_least": "",
        "at_least_currency": "EUR",
        "below": "",
        "below_currency": "EUR",
        "capture": "",
        "seller": "",
    } | {
        f"share_{public_id('con', router.first)}": "",
        f"turn_{public_id('con', router.first)}": "",
        f"share_{public_id('con', router.second)}": "100",
        f"turn_{public_id('con', router.second)}": "",
        **said,
    }


def con(connection_id: ConnectionId) -> str:
    return public_id("con", connection_id)


async def rule_id(owner: Browser, name: str) -> str:
    page = soup(await owner.get(PATH))
    return str(next(row["id"] for row in page.select("#rules > li") if words(row.select_one("h3")) == name))


class TestEmpty:
    async def test_it_teaches_and_starts_the_first_draft(self, router: Router, owner: Browser) -> None:
        page = await owner.get(PATH)
        assert "Every payment takes your oldest active connection" in text_of(page)
        assert f'href="{PATH}"' in page.text, "the sidebar leads here"
        started = await owner.follow(await owner.post(f"{PATH}/draft"))
        assert rules_of(soup(started)) == [ELSE]
        assert "Nothing is live yet" in text_of(started)

    async def test_without_a_connection_it_says_what_comes_first(self, open_as: OpenAs, stranger: Tenant) -> None:
        browser = await open_as(stranger)
        assert "Connect a provider first" in text_of(await browser.get(PATH))
        assert (await browser.post(f"{PATH}/draft")).status_code == 409

    async def test_pages_of_a_draft_that_is_not_there_say_so(self, router: Router, owner: Browser) -> None:
        for path in ("rules/new", "draft/publish", "draft/discard"):
            assert (await owner.get(f"{PATH}/{path}")).status_code == 409


class TestEditing:
    async def test_rules_are_added_changed_moved_and_removed_without_scripts(self, router: Router, owner: Browser) -> None:
        await owner.post(f"{PATH}/draft")
        for name, least in (("High value", "2000"), ("Very high", "9000")):
            added = await owner.post(f"{PATH}/rules", fields(router, name=name, at_least=least))
            assert added.status_code == 303, text_of(added)
        assert rules_of(soup(await owner.get(PATH))) == ["High value", "Very high", ELSE]
        await owner.post(f"{PATH}/rules/{await rule_id(owner, 'Very high')}/move", {"by": "-1"})
        assert rules_of(soup(await owner.get(PATH))) == ["Very high", "High value", ELSE]
        path = f"{PATH}/rules/{await rule_id(owner, 'High value')}"
        form = soup(await owner.get(path))
        assert form.select_one("input[name=at_least]")["value"] == "2000.00"  # type: ignore[index]
        split = {f"share_{con(router.first)}": "30", f"share_{con(router.second)}": "70", "currencies": "EUR"}
        changed = await owner.follow(await owner.post(path, fields(router, **split)))
        assert "Currency EUR" in text_of(changed) and "Second 70%" in text_of(changed) and "Simulator 30%" in text_of(changed)
        assert "Remove “Very high” from the draft?" in text_of(await owner.get(f"{PATH}/rules/{await rule_id(owner, 'Very high')}/remove"))
        await owner.post(f"{PATH}/rules/{await rule_id(owner, 'Very high')}/remove")
        assert rules_of(soup(await owner.get(PATH))) == ["High value", ELSE]

    async def test_the_fallback_list_keeps_its_order(self, router: Router, owner: Browser) -> None:
        await owner.post(f"{PATH}/draft")
        turn = {f"turn_{con(router.first)}": "1", "capture": "manual", "seller": public_id("sel", router.shop.anna)}
        page = await owner.follow(await owner.post(f"{PATH}/rules", fields(router, **turn)))
        assert "Then Simulator, when it is off" in text_of(page)
        assert "Captured later" in text_of(page) and "Anna's Antiques sells some of it" in text_of(page)

    async def test_mistakes_are_said_beside_what_was_typed(self, router: Router, owner: Browser) -> None:
        await owner.post(f"{PATH}/draft")
        for said, problem in (
            ({f"share_{con(router.second)}": "99", "at_least": "5"}, "The shares are 99% together; make them 100%."),
            ({f"share_{con(router.second)}": "many", "at_least": "5"}, "Enter whole numbers from 1 to 100."),
            ({f"turn_{con(router.second)}": "1", "at_least": "5"}, "Name each connection once"),
            ({"at_least": "5", "below": "4"}, "Enter more than the amount it starts at."),
            ({"at_least": "x"}, "is not an amount"),
            ({}, "Say which payments it is for"),
            ({"name": "", "at_least": "5"}, "Give it a name"),
        ):
            answer = await owner.post(f"{PATH}/rules", fields(router, **said))
            assert answer.status_code == 422, said
            assert problem in text_of(answer), said
            assert 'value="High value"' in answer.text or said.get("name") == ""
        assert rules_of(soup(await owner.get(PATH))) == [ELSE]

    async def test_everything_else_has_no_conditions_to_set(self, router: Router, owner: Browser) -> None:
        await owner.post(f"{PATH}/draft")
        path = f"{PATH}/rules/{await rule_id(owner, ELSE)}"
        assert 'name="currencies"' not in (await owner.get(path)).text
        assert (await owner.post(path, fields(router))).status_code == 303
        assert "Second" in words(soup(await owner.get(PATH)).select_one("#rules"))
        assert (await owner.post(f"{path}/remove")).status_code == 422

    async def test_what_changed_is_marked(self, router: Router, owner: Browser) -> None:
        await router.publish(router.rule("Dollars", currencies=("USD",)), router.rule("Yen", currencies=("JPY",)))
        await owner.post(f"{PATH}/draft")
        await owner.post(
            f"{PATH}/rules/{await rule_id(owner, 'Dollars')}", fields(router, name="Dollars", currencies="USD", capture="manual")
        )
        await owner.post(f"{PATH}/rules/{await rule_id(owner, 'Yen')}/remove")
        await owner.post(f"{PATH}/rules", fields(router, name="Fresh", at_least="7"))
        page = soup(await owner.get(PATH))
        marks = {words(row.select_one("h3")): words(row.select_one(".badge")) for row in page.select("#rules > li.rule--ch")}
        assert marks == {"Dollars": "Changed", "Fresh": "New"}
        assert "was: If Currency USD: Second" in words(page)
        assert "Yen: If Currency JPY: Second" in words(page)
        assert "changes 3 rules of live version 1" in words(page)
        assert "rule--ch" not in (await owner.get(f"{PATH}/live")).text


class TestTwoPeople:
    async def test_from_the_draft_to_live_and_back(self, router: Router, owner: Browser, open_as: OpenAs) -> None:
        await router.draft(router.rule("Dollars", currencies=("USD",)))
        assert "Replaces" in text_of(await owner.get(f"{PATH}/draft/publish"))
        waits = await owner.follow(await owner.post(f"{PATH}/draft/publish", {"reason": "Cheaper"}))
        assert "waits for a second person" in text_of(waits) and "you changed it or asked for it" in text_of(waits)
        assert "Review and decide" not in waits.text
        approver = await open_as(router.shop.tenant, Role.APPROVER)
        item = str(next(a["href"] for a in soup(await approver.get(PATH)).select("a") if "Review and decide" in words(a)))
        shown = soup(await approver.get(item))
        assert "1. Dollars" in words(shown) and "If Currency USD: Second" in words(shown) and "Cheaper" in words(shown)
        digest = shown.select_one("input[name=digest]")["value"]  # type: ignore[index]
        assert (await approver.post(item, {"decision": "reject", "digest": digest, "reason": ""})).status_code == 422
        refused = await approver.post(item, {"decision": "reject", "digest": digest, "reason": "Too dear"})
        assert refused.status_code == 303, text_of(refused)
        assert "Refused by" in text_of(await owner.get(PATH)) and "Too dear" in text_of(await owner.get(PATH))
        await owner.post(f"{PATH}/draft/publish", {"reason": "Still"})
        again = soup(await approver.get(item)).select_one("input[name=digest]")["value"]  # type: ignore[index]
        approved = await approver.follow(await approver.post(item, {"decision": "approve", "digest": again, "reason": ""}))
        assert "version 1 chooses connections from now on" in approved.text
        assert "Live version 1" in text_of(await owner.get(PATH))
        history = soup(await owner.get(f"{PATH}/versions"))
        assert "Version 1" in words(history)
        start = str(next(form["action"] for form in history.select("#version-rows form")))
        assert "Draft 2 says what version 1 said" in (await owner.follow(await owner.post(start))).text

    async def test_it_is_decided_with_the_chosen_ones_too(self, router: Router, open_as: OpenAs) -> None:
        await router.draft(router.rule("Dollars", currencies=("USD",)))
        await router.request()
        approver = await open_as(router.shop.tenant, Role.APPROVER)
        chosen = soup(await approver.get("/approvals?kind=routing")).select_one("input[name=chosen]")["value"]  # type: ignore[index]
        assert "version 1 chooses" in text_of(await approver.post("/approvals", {"chosen": chosen}))

    async def test_an_approver_reads_and_an_admin_does_not_approve(self, router: Router, open_as: OpenAs) -> None:
        await router.draft(router.rule("Dollars", currencies=("USD",)))
        asked = await router.request()
        item = f"/approvals/routing/{public_id('rtv', asked.id)}"
        approver, admin = await open_as(router.shop.tenant, Role.APPROVER), await open_as(router.shop.tenant, Role.ADMIN)
        assert (await approver.post(f"{PATH}/draft/discard")).status_code == 403
        assert (await admin.get(item)).status_code == 404
        assert (await admin.post(item, {"decision": "approve", "digest": asked.digest or "", "reason": ""})).status_code == 404

    async def test_a_withdrawn_request_and_a_discarded_draft(self, router: Router, owner: Browser) -> None:
        await router.draft(router.rule("Dollars", currencies=("USD",)))
        await router.request()
        assert "Taken back" in (await owner.follow(await owner.post(f"{PATH}/draft/withdraw"))).text
        assert "can still be read in the history" in text_of(await owner.get(f"{PATH}/draft/discard"))
        assert "No rules yet" in text_of(await owner.follow(await owner.post(f"{PATH}/draft/discard")))
        assert "Discarded" in text_of(await owner.get(f"{PATH}/versions"))

    async def test_another_merchant_finds_nothing(self, router: Router, open_as: OpenAs, stranger: Tenant) -> None:
        version = public_id("rtv", (await router.draft(rule := router.rule("Dollars", currencies=("USD",)))).id)
        browser = await open_as(stranger)
        for path in (f"versions/{version}", f"versions/{version}/try?amount=1", f"versions/{version}/replay"):
            assert (await browser.get(f"{PATH}/{path}")).status_code == 404
        assert (await browser.post(f"{PATH}/versions/{version}/draft")).status_code == 404
        assert (await browser.get(f"{PATH}/rules/{public_id('rul', rule.key)}")).status_code == 409


class TestTrying:
    @pytest.fixture
    async def version(self, router: Router) -> str:
        split = (Share(connection=router.first, percent=40), Share(connection=router.second, percent=60))
        high = router.rule("High value", at_least=Money(200_000, "EUR"), split=split)
        return public_id("rtv", (await router.draft(high, router.rule("Dollars", currencies=("USD",)))).id)

    async def test_the_trace_says_which_rule_and_why_not_the_others(self, router: Router, owner: Browser, version: str) -> None:
        page = soup(await owner.get(f"{PATH}/versions/{version}/try?amount=12&amount_currency=USD"))
        said = [words(row) for row in page.select(".trace li")]
        assert [row.partition(" ")[2] for row in said[:2]] == [
            "High value Below the amount it starts at no",
            "Dollars All conditions are met",
        ]
        assert said[2:] == ["Second", "3 Everything else not reached"]

    async def test_a_split_is_shown_with_its_shares_and_who_is_off(self, router: Router, owner: Browser, version: str) -> None:
        await router.switch_off(router.second)
        said = text_of(await owner.get(f"{PATH}/versions/{version}/try?amount=2000&amount_currency=EUR"))
        assert "Simulator 40 of 100 payments" in said
        assert "Nobody 60 of 100 payments" in said and "Second is off; the payment is refused" in said

    @pytest.mark.parametrize(
        ("query", "problem"),
        [
            ("amount=x", "is not an amount"),
            ("amount=0", "more than zero"),
            ("amount=1&seller=sel_1", "not an id"),
            ("amount=1&amount_currency=XXQ", "Choose a currency"),
        ],
    )
    async def test_what_cannot_be_tried_is_said(self, owner: Browser, version: str, query: str, problem: str) -> None:
        answer = await owner.get(f"{PATH}/versions/{version}/try?{query}")
        assert answer.status_code == 200
        assert problem in text_of(answer)

    async def test_the_replay_and_the_counts(self, router: Router, owner: Browser) -> None:
        await router.publish(router.rule("Euros", currencies=("EUR",)))
        for _ in range(3):
            await router.shop.pay()
        page = soup(await owner.get(PATH))
        assert [words(row.select_one(".rule-s")) for row in page.select("#rules > li")] == ["3 100%", "0 0%"]
        live = await router.live()
        assert live is not None
        said = text_of(await owner.get(f"{PATH}/versions/{public_id('rtv', live.id)}/replay"))
        assert "Payments looked at 3" in said and "Same connection 3" in said and "Rerouted 0" in said


class TestPaymentPage:
    async def test_it_says_why_it_went_there(self, router: Router, owner: Browser) -> None:
        await router.publish(router.rule("Euros", currencies=("EUR",), fallback=(router.first,)))
        paid = await router.shop.pay()
        page = soup(await owner.get(f"/payments/{public_id('pay', paid.payment_id)}"))
        assert (
            words(page.select_one("#payment-routing")) == "Why there : rule “Euros” of routing version 1. 1 Second 2 Simulator not needed"
        )
        await router.switch_off(router.second)
        other = await router.shop.pay()
        page = soup(await owner.get(f"/payments/{public_id('pay', other.payment_id)}"))
        assert "Went through Simulator because Second was off" in words(page.select_one("#payment-why"))
        assert "skipped: disabled" in words(page.select_one("#payment-routing"))
