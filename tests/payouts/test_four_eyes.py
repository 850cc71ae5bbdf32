"""Nobody alone sends money, whichever way they come: by asking, by changing what somebody else asked for, or by waiting."""

from datetime import timedelta

import psycopg
import pytest
from psycopg import Connection

from app.api_access import service as keys
from app.api_access.service import clients
from app.core.actors import Actor, ActorKind
from app.core.db import unit_of_work
from app.core.errors import Invalid
from app.core.money import CurrencyMismatch, Money
from app.payouts.domain import PayoutId, PayoutIsStale, PayoutNeedsSecondPerson, PayoutStatus
from app.payouts.models import Payout
from app.payouts.schemas.rules import LimitsForm, ThresholdsForm
from app.payouts.schemas.schedules import ScheduleForm
from app.payouts.service import requests
from app.web.forms import parse_form
from tests.payouts.conftest import later
from tests.support.console import soup
from tests.support.factories.bank_accounts import somebody
from tests.support.factories.payouts import Till
from tests.support.web import Browser

P = PayoutStatus
SMUGGLED = """
insert into payout_approval (merchant_id, id, payout_id, requested_by, destination_by, version, digest, decision, approver_id, approver_name, reason, at)
select merchant_id, gen_random_uuid(), id, requested_by, destination_by, version, '', 'approved', %s, '', '', now() from payout
"""


async def edit(till: Till, actor: Actor, payout: Payout, amount: Money) -> Payout:
    async with unit_of_work(till.merchant_id) as session:
        return await requests.edit_payout(session, actor, payout_id=PayoutId(payout.id), amount=amount, statement_text="")


class TestEditors:
    async def test_who_changed_a_payout_cannot_approve_it(self, till: Till, superuser: Connection) -> None:
        payout = await till.request(100)
        changes, other = somebody(till.actor, "Changes it"), somebody(till.actor, "Changes it too")
        await edit(till, changes, payout, Money(90_000, "EUR"))
        await edit(till, other, payout, Money(95_000, "EUR"))
        for who in (changes, other, till.actor):
            with pytest.raises(PayoutNeedsSecondPerson):
                await till.approve(payout, actor=who)
        assert await till.status(payout) == P.PENDING_APPROVAL
        for person in (changes.id, other.id):
            with pytest.raises(psycopg.errors.CheckViolation, match="changed a payout"):
                superuser.execute(SMUGGLED, (person,))
        assert (await till.approve(payout)).status == P.SCHEDULED

    async def test_the_page_offers_it_to_nobody_who_changed_it(self, owner: Browser, till: Till) -> None:
        colleague = somebody(till.actor)
        payout = await till.request(100, actor=colleague)
        assert soup(await owner.get("/payouts/approvals")).select_one("input[name=payout]") is not None
        await edit(till, till.actor, payout, Money(90_000, "EUR"))
        assert soup(await owner.get("/payouts/approvals")).select_one("input[name=payout]") is None


class TestPrograms:
    async def test_who_knows_its_key_cannot_approve_what_it_asks_for(self, till: Till, superuser: Connection) -> None:
        maker, renews = somebody(till.actor, "Makes the key"), somebody(till.actor, "Renews it")
        async with unit_of_work(till.merchant_id) as session:
            key, _ = await keys.issue_key(session, maker, name="Shop", scopes=["payouts.request"])
        async with unit_of_work(till.merchant_id) as session:
            client, _ = await clients.add_client(session, maker, name="Shop", scopes=["payouts.request"])
            await clients.rotate_secret(session, renews, client_id=client.id, overlap=timedelta())
        for kind, program, who in (
            (ActorKind.API_KEY, key, maker),
            (ActorKind.API_CLIENT, client, maker),
            (ActorKind.API_CLIENT, client, renews),
        ):
            asks = Actor(kind=kind, id=program.id, name="Shop", merchant_id=till.merchant_id, permissions=frozenset({"payouts.request"}))
            payout = await till.request(100, actor=asks)
            with pytest.raises(PayoutNeedsSecondPerson):
                await till.approve(payout, actor=who)
            with pytest.raises(psycopg.errors.CheckViolation, match="changed a payout"):
                superuser.execute(SMUGGLED + " where id = %s", (who.id, payout.id))
            assert (await till.approve(payout)).status == P.SCHEDULED


async def test_what_expired_is_not_approved_even_before_the_clock_has_closed_it(till: Till) -> None:
    payout = await till.request()
    with later(days=7, minutes=1), pytest.raises(PayoutIsStale, match="in time"):
        await till.approve(payout)
    assert await till.status(payout) == P.PENDING_APPROVAL


class TestCurrencies:
    async def test_an_edit_in_another_currency_is_no_edit(self, till: Till) -> None:
        payout = await till.request(100)
        with pytest.raises(CurrencyMismatch):
            await edit(till, till.actor, payout, Money(90_000, "JPY"))
        assert (await till.read(payout)).amount_minor == 100

    def test_rules_and_schedules_are_in_their_own_currency(self) -> None:
        limits = parse_form({"most": ["1000"], "most_currency": ["JPY"]}, LimitsForm)
        thresholds = parse_form({"from_2": ["1000"], "from_2_currency": ["JPY"]}, ThresholdsForm)
        schedule = parse_form({"interval": ["daily"], "maximum": ["1000"], "maximum_currency": ["JPY"]}, ScheduleForm)
        for read, field in ((limits.limits, "most"), (thresholds.thresholds, "from_2"), (schedule.amounts, "maximum")):
            with pytest.raises(Invalid) as refused:
                read("EUR")
            assert field in refused.value.fields
            read("JPY")
