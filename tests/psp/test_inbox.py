"""The webhook inbox: verified, stored once, answered at once; and what is refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
import pytest_asyncio
from litestar import Litestar
from psycopg import Connection as Sql
from standardwebhooks import Webhook

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.core.ids import ConnectionId, PspEventId, new_id, parse_id, public_id
from app.core.state import IllegalTransition
from app.psp import api, pages, queries, service
from app.psp.domain import EventKind, EventNotFound
from app.web import limits
from tests.support.factories.tenancy import make_tenant
from tests.support.served import served
from tests.support.simulator import Simulator
from tests.support.toy import create_toy_app

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VALUES = {"api_base_url": "http://127.0.0.1:9", "account": "halden", "secret_key": "sk_sim_0123456789abcdef", "webhook_secret": SECRET}


@pytest.fixture(scope="module")
def app(urls: Urls) -> Litestar:
    return create_toy_app(*api.ROUTES, *pages.ROUTES)


@pytest_asyncio.fixture
async def actor(database: object) -> Actor:
    limits.forget_leases()
    return (await make_tenant()).actor()


@pytest_asyncio.fixture
async def connection_id(actor: Actor) -> ConnectionId:
    async with unit_of_work(actor.merchant) as session:
        row = await service.add_connection(session, actor, psp="simulated", name="Main", values=VALUES)
    return ConnectionId(row.id)


@pytest_asyncio.fixture
async def client(app: Litestar) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app, raise_app_exceptions=False), base_url="http://countinghouse.test"
    ) as opened:
        yield opened


def message(event_id: str = "evt_1", **more: object) -> bytes:
    data = {"id": "ch_1", "object": "payment", "status": "captured", "reference": "att_1", "amount": 1250, "currency": "EUR", **more}
    return json.dumps({"id": event_id, "type": "payment.captured", "created_at": "2026-11-21T08:00:00+00:00", "data": data}).encode()


def signed(raw: bytes, *, event_id: str = "evt_1", secret: str = SECRET, age: timedelta = timedelta(0)) -> dict[str, str]:
    moment = datetime.now(UTC) - age
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(event_id, moment, raw.decode()),
    }


def address(connection_id: ConnectionId) -> str:
    return f"/webhooks/{public_id('con', connection_id)}"


class TestReceiveWebhook:
    async def test_it_is_stored_once_and_announced_once(
        self, client: httpx2.AsyncClient, connection_id: ConnectionId, superuser: Sql
    ) -> None:
        raw = message()
        answers = await asyncio.gather(*(client.post(address(connection_id), content=raw, headers=signed(raw)) for _ in range(8)))
        assert [answer.status_code for answer in answers] == [200] * 8
        rows = superuser.execute("select kind, our_reference, amount_minor, currency, status from psp_event").fetchall()
        assert rows == [("payment.captured", "att_1", 1250, "EUR", "received")]
        told = superuser.execute("select payload from outbox where topic = 'psp.event_received'").fetchall()
        assert [payload["our_reference"] for (payload,) in told] == ["att_1"]

    async def test_a_wrong_signature_stores_nothing_but_a_counter(
        self, client: httpx2.AsyncClient, actor: Actor, connection_id: ConnectionId, superuser: Sql
    ) -> None:
        raw = message()
        wrong = [
            signed(raw, secret="whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            signed(message("evt_2")),
            signed(raw, age=timedelta(minutes=6)),
            {},
            {**signed(raw), "webhook-signature": "v1,###"},
        ]
        for headers in wrong:
            answer = await client.post(address(connection_id), content=raw, headers=headers)
            assert answer.status_code == 400, headers
            assert SECRET not in answer.text
        assert superuser.execute("select count(*) from psp_event").fetchone() == (0,)
        assert superuser.execute("select count(*) from outbox where topic like 'psp.%'").fetchone() == (0,)
        async with unit_of_work(actor.merchant) as session:
            await service.write_tallies(session, merchant_id=actor.merchant, connection_id=connection_id)
        assert superuser.execute("select sum(bad_signatures)::int from psp_health").fetchone() == (len(wrong),)

    async def test_an_unknown_connection_is_not_found(self, client: httpx2.AsyncClient, actor: Actor) -> None:
        raw = message()
        for path in (address(ConnectionId(new_id())), "/webhooks/con_nonsense", "/webhooks/pay_0"):
            assert (await client.post(path, content=raw, headers=signed(raw))).status_code == 404, path

    async def test_a_message_that_cannot_be_read_is_refused_though_signed(
        self, client: httpx2.AsyncClient, connection_id: ConnectionId
    ) -> None:
        no_currency = message().replace(b'"EUR"', b'"XXQ"')
        for raw in (b"", b"{}", b"not json", b'{"id": 1}', no_currency):
            assert (await client.post(address(connection_id), content=raw, headers=signed(raw))).status_code == 400, raw

    async def test_more_than_a_mebibyte_is_refused(self, client: httpx2.AsyncClient, connection_id: ConnectionId) -> None:
        raw = message(note="x" * (1 << 20))
        assert (await client.post(address(connection_id), content=raw, headers=signed(raw))).status_code == 413

    async def test_what_looks_like_a_card_number_is_taken_out(
        self, client: httpx2.AsyncClient, connection_id: ConnectionId, superuser: Sql
    ) -> None:
        raw = message(note="4242 4242 4242 4242")
        assert (await client.post(address(connection_id), content=raw, headers=signed(raw))).status_code == 200
        (body,) = superuser.execute("select body from psp_event").fetchone() or ("",)
        assert "evt_1" in body
        assert "4242 4242" not in body

    async def test_an_event_of_a_kind_we_do_not_know_is_kept(
        self, client: httpx2.AsyncClient, connection_id: ConnectionId, superuser: Sql
    ) -> None:
        raw = message().replace(b"payment.captured", b"payment.sparkled")
        assert (await client.post(address(connection_id), content=raw, headers=signed(raw))).status_code == 200
        assert superuser.execute("select kind from psp_event").fetchone() == ("other",)


class TestDeciding:
    async def stored(self, client: httpx2.AsyncClient, actor: Actor, connection_id: ConnectionId) -> PspEventId:
        raw = message()
        await client.post(address(connection_id), content=raw, headers=signed(raw))
        async with unit_of_work(actor.merchant) as session:
            (row,) = await queries.events_of(session, merchant_id=actor.merchant, references=["att_1", "att_2"])
        return PspEventId(parse_id("pev", row.id))

    async def test_applied_once_stays_applied(self, client: httpx2.AsyncClient, actor: Actor, connection_id: ConnectionId) -> None:
        event_id = await self.stored(client, actor, connection_id)
        async with unit_of_work(actor.merchant) as session:
            event, by = await queries.received_event(session, merchant_id=actor.merchant, event_id=event_id)
            assert (event.kind, event.our_reference, by) == (EventKind.PAYMENT_CAPTURED, "att_1", connection_id)
            await service.mark_failed(session, merchant_id=actor.merchant, event_id=event_id, reason="The PSP could not be asked.")
        async with unit_of_work(actor.merchant) as session:
            await service.retry_event(session, actor, event_id=event_id)
            await service.mark_applied(session, merchant_id=actor.merchant, event_id=event_id)
            await service.mark_ignored(session, merchant_id=actor.merchant, event_id=event_id, reason="late")
        async with unit_of_work(actor.merchant) as session:
            row = await queries.psp_event(session, merchant_id=actor.merchant, event_id=event_id)
            assert (row.status, row.attempts, row.error) == ("applied", 2, None)
            with pytest.raises(IllegalTransition):
                await service.retry_event(session, actor, event_id=event_id)

    async def test_another_merchant_finds_nothing(self, client: httpx2.AsyncClient, actor: Actor, connection_id: ConnectionId) -> None:
        event_id = await self.stored(client, actor, connection_id)
        stranger = (await make_tenant()).actor()
        async with unit_of_work(stranger.merchant) as session:
            assert await queries.events_of(session, merchant_id=stranger.merchant, references=["att_1"]) == []
            for merchant_id in (stranger.merchant, actor.merchant):
                with pytest.raises(EventNotFound):
                    await queries.psp_event(session, merchant_id=merchant_id, event_id=event_id)


async def test_a_hundred_events_duplicated_and_shuffled_are_stored_once_each(
    app: Litestar, actor: Actor, simulator: Simulator, superuser: Sql
) -> None:
    account = await asyncio.to_thread(simulator.account)
    async with unit_of_work(actor.merchant) as session:
        row = await service.add_connection(session, actor, psp="simulated", name="Sim", values=account.settings)
    async with served(app) as url, httpx2.AsyncClient(base_url=simulator.url, trust_env=False, timeout=30) as provider:
        await provider.post("/_accounts", json={"name": account.name, "webhook_url": f"{url}{address(ConnectionId(row.id))}"})
        await asyncio.to_thread(account.scenario, seed=11, webhooks={"duplicate": 1.0, "shuffle": True, "paused": True})
        for number in range(100):
            body = {"amount": 1000 + number, "currency": "EUR", "reference": f"att_{number}", "token": "tok_visa"}
            await provider.post("/v1/payments", json=body, headers={"authorization": f"Bearer {account.secret_key}"})
        accepted = (await provider.post("/_webhooks/deliver")).json()["accepted"]
    assert accepted == 200
    assert superuser.execute("select count(*), count(distinct our_reference) from psp_event").fetchone() == (100, 100)
    assert superuser.execute("select count(*) from outbox where topic = 'psp.event_received'").fetchone() == (100,)
