"""Taking events to the merchants' webhook addresses: signed, repeated, and as unreliable as the scenario says."""

import asyncio
import time
from datetime import UTC, datetime

import msgspec
from standardwebhooks import Webhook

from app.core import outbound
from app.psp.simulator import operations, payments, transfers
from app.psp.simulator.domain import Event
from app.psp.simulator.world import World

TICK_SECONDS = 0.02
BATCH = 200
PARALLEL = 16


class Delivery(msgspec.Struct, kw_only=True):
    """One event on its way to one address."""

    event: Event
    not_before: float


class Courier:
    """The background task of the simulator: settles what is due and delivers webhooks."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.waiting: list[Delivery] = []

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self.settle()
            await self.deliver()
            await asyncio.sleep(TICK_SECONDS)

    def settle(self) -> None:
        """Let happen what has become due at the provider."""
        for object_id in self.world.due():
            if object_id in self.world.store.operations:
                operations.later(self.world, self.world.store.operations[object_id])
            elif object_id in self.world.store.transfers:
                transfers.later(self.world, self.world.store.transfers[object_id])
            elif object_id in self.world.store.payments:
                payments.later(self.world, self.world.store.payments[object_id])
        self.world.store.commit()

    async def deliver(self, *, force: bool = False) -> int:
        """Send what is due, or with `force` everything that waits; says how many were accepted."""
        self._collect()
        now = time.monotonic()
        ready = [d for d in self.waiting if force or (d.not_before <= now and not self._paused(d.event))][:BATCH]
        if not ready:
            return 0
        chosen = {id(d) for d in ready}
        self.waiting = [d for d in self.waiting if id(d) not in chosen]
        if any(self.world.scenario(d.event.account).webhooks.shuffle for d in ready):
            self.world.of(ready[0].event.account).random.shuffle(ready)
        gate = asyncio.Semaphore(PARALLEL)
        accepted = await asyncio.gather(*(self._one(delivery, gate) for delivery in ready))
        self.world.store.commit()
        return sum(accepted)

    def _collect(self) -> None:
        for event in self.world.outbox:
            dice = self.world.of(event.account)
            rule = dice.scenario.webhooks
            if dice.chance(rule.drop):
                self._done(event)
                continue
            copies = 2 if dice.chance(rule.duplicate) else 1
            for _ in range(copies):
                self.waiting.append(Delivery(event=event, not_before=time.monotonic() + rule.delay_seconds))
        self.world.outbox.clear()

    def _paused(self, event: Event) -> bool:
        return self.world.scenario(event.account).webhooks.paused

    async def _one(self, delivery: Delivery, gate: asyncio.Semaphore) -> bool:
        event = delivery.event
        account = self.world.store.accounts[event.account]
        async with gate:
            statuses = [await self._post(url, account.webhook_secret, event) for url in account.webhook_urls]
        event.tries += 1
        if all(200 <= status < 300 for status in statuses):
            self._done(event)
            return True
        schedule = self.world.scenario(event.account).webhooks.retry_seconds
        if event.tries <= len(schedule):
            self.waiting.append(Delivery(event=event, not_before=time.monotonic() + schedule[event.tries - 1]))
        else:
            self._done(event)
        return False

    async def _post(self, url: str, secret: str, event: Event) -> int:
        moment = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": event.id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": Webhook(secret).sign(event.id, moment, event.body),
        }
        answer = await outbound.pool().call("POST", url, headers=headers, body=event.body.encode(), allow_insecure=True)
        return answer.status

    def _done(self, event: Event) -> None:
        event.delivered = True
        self.world.store.save(event)
