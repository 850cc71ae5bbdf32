"""The simulator's own page: accounts, switches, recent charges and events; everything works without JavaScript."""

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.response import Redirect

from app.psp.simulator import payments
from app.psp.simulator.controls import AccountRequest, open_account, set_scenario
from app.psp.simulator.domain import Fault, PaymentStatus
from app.psp.simulator.rendering import page, see
from app.psp.simulator.scenario import FaultRule, Scenario, WebhookRule
from app.psp.simulator.world import EVERYBODY, World

Req = Request[object, object, State]
RECENT = 25
OPERATIONS = ("*", "authorise", "capture", "void", "refund", "lookup")


def _world(request: Req) -> World:
    world: World = request.app.state.world
    return world


@get("/")
async def show_console(request: Req) -> Response[bytes]:
    """Show the state of the simulated provider."""
    world = _world(request)
    return page(
        "console.html",
        accounts=list(world.store.accounts.values()),
        scenario=world.scenario(EVERYBODY),
        offset=world.clock.offset,
        payments=list(world.store.payments.values())[: -RECENT - 1 : -1],
        events=list(world.store.events.values())[: -RECENT - 1 : -1],
        faults=list(Fault),
        operations=OPERATIONS,
        review=PaymentStatus.REVIEW,
    )


@post("/console/account")
async def save_account(request: Req) -> Redirect:
    """Open an account or set its webhook address."""
    form = await request.form()
    name = str(form.get("name", "")).strip()
    if name:
        url = form.get("webhook_url")
        open_account(_world(request), AccountRequest(name=name, webhook_url=None if url is None else str(url).strip()))
    return see("/")


@post("/console/scenario")
async def save_scenario(request: Req) -> Redirect:
    """Put the switches of the form in play for all accounts."""
    form = await request.form()
    fault, count = str(form.get("fault", "")), str(form.get("count", ""))
    faults = []
    if fault:
        faults.append(
            FaultRule(
                operation=str(form.get("operation", "*")),
                fault=Fault(fault),
                count=int(count) if count.isdecimal() else None,
            )
        )
    webhooks = WebhookRule(
        paused="paused" in form,
        shuffle="shuffle" in form,
        duplicate=1.0 if "duplicate" in form else 0.0,
        drop=1.0 if "drop" in form else 0.0,
    )
    set_scenario(
        _world(request),
        EVERYBODY,
        Scenario(
            faults=faults,
            webhooks=webhooks,
            async_captures="async_captures" in form,
            async_refunds="async_refunds" in form,
        ),
    )
    return see("/")


@post("/console/clock")
async def move_clock(request: Req) -> Redirect:
    """Move the provider's clock by whole hours."""
    form = await request.form()
    try:
        hours = msgspec.convert(form.get("hours"), int, strict=False)
    except msgspec.ValidationError:
        return see("/")
    _world(request).clock.offset += hours * 3600
    request.app.state.courier.settle()
    return see("/")


@post("/console/review/{payment_id:str}")
async def decide(request: Req, payment_id: str) -> Redirect:
    """Approve or reject a payment that was held."""
    world = _world(request)
    form = await request.form()
    payment = world.store.payments.get(payment_id)
    if payment is not None and payment.status is PaymentStatus.REVIEW:
        payments.decide_review(world, payment, approve=form.get("answer") == "approve")
        world.store.commit()
    return see("/")


ROUTES = [show_console, save_account, save_scenario, move_clock, decide]
