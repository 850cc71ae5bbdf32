"""A shop with two connections, for tests of which of them takes a payment."""

import msgspec
import pytest_asyncio

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import ConnectionId, new_id
from app.psp.service import connections
from app.routing import queries, service
from app.routing.domain import Conditions, RoutingVersionId, Rule, RuleKey, Rules, Share, VersionStatus
from app.routing.models import RoutingVersion
from tests.payments.conftest import api, books
from tests.support.console import app, call_api, open_as, owner, psp, shop, stranger
from tests.support.factories.bank_accounts import somebody
from tests.support.shop import Shop, add_connection

__all__ = ["api", "app", "books", "call_api", "open_as", "owner", "psp", "shop", "stranger"]


class Router(msgspec.Struct, kw_only=True):
    """A shop, its second connection, and what two people do to its rules."""

    shop: Shop
    second: ConnectionId
    approver: Actor

    @property
    def first(self) -> ConnectionId:
        """The connection that takes everything without rules."""
        return self.shop.connection_id

    def rule(self, name: str = "High value", *, to: ConnectionId | None = None, **said: object) -> Rule:
        """A rule to one connection, the second one unless said."""
        split = said.pop("split", None) or (Share(connection=to or self.second, percent=100),)
        fallback = said.pop("fallback", ())
        return Rule(key=RuleKey(new_id()), name=name, conditions=Conditions(**said), split=split, fallback=fallback)  # type: ignore[arg-type]

    async def draft(self, *rules: Rule) -> RoutingVersion:
        """A draft with these rules before “Everything else”."""
        async with unit_of_work(self.shop.merchant_id) as session:
            version = await service.start_draft(session, self.shop.actor)
        for rule in rules:
            await self.add(rule)
        return version

    async def add(self, rule: Rule) -> None:
        """Another rule for the draft."""
        async with unit_of_work(self.shop.merchant_id) as session:
            await service.add_rule(session, self.shop.actor, rule=rule)

    async def rules(self, version: RoutingVersion | None = None) -> Rules:
        """The rules of a version, or of the draft."""
        async with unit_of_work(self.shop.merchant_id) as session:
            of = version or await queries.version_in(session, self.shop.actor, *queries.OPEN)
            assert of is not None
            return await queries.rules(session, self.shop.actor, version_id=RoutingVersionId(of.id))

    async def request(self) -> RoutingVersion:
        """Ask for the draft to become live."""
        async with unit_of_work(self.shop.merchant_id) as session:
            return await service.request_publish(session, self.shop.actor, reason="Cheaper")

    async def publish(self, *rules: Rule) -> RoutingVersion:
        """Rules that are live, by two people."""
        await self.draft(*rules)
        asked = await self.request()
        return await self.approve(asked)

    async def approve(self, asked: RoutingVersion) -> RoutingVersion:
        """The second person agrees."""
        async with unit_of_work(self.shop.merchant_id) as session:
            version_id = RoutingVersionId(asked.id)
            return await service.publish(session, self.approver, version_id=version_id, digest=asked.digest or "")

    async def live(self) -> RoutingVersion | None:
        """The live version."""
        async with unit_of_work(self.shop.merchant_id) as session:
            return await queries.version_in(session, self.shop.actor, VersionStatus.LIVE)

    async def switch_off(self, connection_id: ConnectionId) -> None:
        """No payments on a connection any more."""
        async with unit_of_work(self.shop.merchant_id) as session:
            await connections.disable_connection(session, self.shop.actor, connection_id=connection_id)


@pytest_asyncio.fixture
async def router(shop: Shop) -> Router:
    """Two connections and nobody's rules yet."""
    return Router(shop=shop, second=await add_connection(shop.actor, name="Second"), approver=somebody(shop.actor, "Approver"))
