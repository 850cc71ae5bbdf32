"""What waits for an operator in the demo, at a merchant whose provider had a bad day: made by paying through it while it errs."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx2

from app.core.actors import Actor
from app.core.clock import travel
from app.core.ids import OrderId, PaymentId, new_id, public_id
from app.payments import flows
from app.payments.domain import CaptureMode

PAYS, ERRS, LOSES_ANSWERS = "tok_visa", "tok_visa_wrong_amount", "tok_visa_unknown_after_success"
Order = Callable[[], Awaitable[OrderId]]


async def leave_for_operators(actor: Actor, *, order: Order, test: Actor, test_order: Order, simulator_url: str) -> None:
    """A payment of another amount than asked for, a capture and a refund that the provider did not do, and in the sandbox one nobody knows."""
    async with httpx2.AsyncClient(base_url=simulator_url, timeout=10) as simulator:
        with travel(timedelta(hours=-7)):
            await _pay(actor, await order(), token=ERRS)
        with travel(timedelta(hours=-3)):
            held = await _pay(actor, await order(), token=PAYS)
            paid = await _pay(actor, await order(), token=PAYS, mode=CaptureMode.AUTOMATIC)
            faults = [{"operation": "capture", "fault": "rate_limit", "count": 1}, {"operation": "refund", "fault": "refuse", "count": 1}]
            await _play(simulator, actor, {"faults": faults})
            await flows.capture(actor, payment_id=held, key=f"demo:{new_id().hex}", request=b"demo")
            await flows.refund(actor, payment_id=paid, reason="Spilt on the way", key=f"demo:{new_id().hex}", request=b"demo")
        with travel(timedelta(minutes=-50)):
            await _play(simulator, test, {"webhooks": {"drop": 1.0}})
            await _pay(test, await test_order(), token=LOSES_ANSWERS, mode=CaptureMode.AUTOMATIC)
            # the next scenario drops nothing: what this one loses must be lost before it
            (await simulator.post("/_webhooks/deliver")).raise_for_status()
        # it answers no question for a while: the next ones find out how the payment ended
        await _play(simulator, test, {"faults": [{"operation": "lookup", "fault": "error_before", "count": 8}]})


async def _pay(actor: Actor, order_id: OrderId, *, token: str, mode: CaptureMode = CaptureMode.MANUAL) -> PaymentId:
    key = f"demo:{new_id().hex}"
    return (await flows.pay(actor, order_id=order_id, token=token, capture_mode=mode, key=key, request=b"demo")).payment_id


async def _play(simulator: httpx2.AsyncClient, actor: Actor, scenario: dict[str, object]) -> None:
    account = public_id("mer", actor.merchant)
    (await simulator.post("/_scenario", params={"account": account}, json=scenario)).raise_for_status()
