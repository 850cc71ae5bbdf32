"""The levers of the simulator over HTTP: accounts, scenarios, clock, webhooks, and what was really charged."""

import base64
import secrets

import msgspec
from litestar import Request, delete, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException

from app.psp.simulator import payments, transfers, views
from app.psp.simulator.domain import Account, Payment, PaymentStatus, TransferStatus
from app.psp.simulator.scenario import Dice, Scenario
from app.psp.simulator.world import EVERYBODY, World

Req = Request[object, object, State]
Json = dict[str, object]
NOT_CHARGED = (PaymentStatus.DECLINED, PaymentStatus.EXPIRED, PaymentStatus.REQUIRES_ACTION, PaymentStatus.PROCESSING)


class AccountRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An account to open, or what to change about one."""

    name: str
    secret_key: str | None = None
    webhook_secret: str | None = None
    webhook_url: str | None = None


class ClockRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How far to move the provider's clock."""

    advance_seconds: float


class RedeliverRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An event to send again, and how often."""

    event: str
    copies: int = 1


class ReviewRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What was decided about a payment that was held."""

    approve: bool


class TransferControl(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What shall become of an order to a bank account."""

    become: TransferStatus


def open_account(world: World, wanted: AccountRequest) -> Account:
    """Open an account, or add a key or a webhook address to it; older keys stay valid, as during a rotation."""
    account = world.store.accounts.get(wanted.name)
    if account is None:
        account = Account(
            name=wanted.name,
            secret_keys=[wanted.secret_key or f"sk_sim_{secrets.token_hex(20)}"],
            webhook_secret=wanted.webhook_secret or f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}",
        )
    elif wanted.secret_key and wanted.secret_key not in account.secret_keys:
        account.secret_keys.append(wanted.secret_key)
    account.webhook_secret = wanted.webhook_secret or account.webhook_secret
    if wanted.webhook_url is not None:
        account.webhook_urls = [wanted.webhook_url] if wanted.webhook_url else []
    world.store.save(account)
    world.store.commit()
    return account


def set_scenario(world: World, account: str, scenario: Scenario) -> None:
    """Put a scenario in play, with fresh dice."""
    world.dice[account] = Dice(scenario)


def _world(request: Req) -> World:
    world: World = request.app.state.world
    return world


@get("/healthz")
async def health() -> Json:
    """Say that the simulator is up."""
    return {"status": "ok"}


@post("/_accounts")
async def post_account(request: Req, data: AccountRequest) -> Account:
    """Open or change an account and show its keys."""
    return open_account(_world(request), data)


@get("/_scenario")
async def get_scenario(request: Req, account: str = EVERYBODY) -> Scenario:
    """Show the scenario that applies."""
    return _world(request).scenario(account)


@post("/_scenario")
async def post_scenario(request: Req, data: Scenario, account: str = EVERYBODY) -> Scenario:
    """Put a scenario in play."""
    set_scenario(_world(request), account, data)
    return data


@delete("/_scenario", status_code=200)
async def delete_scenario(request: Req, account: str = EVERYBODY) -> Json:
    """Go back to a provider that works."""
    world = _world(request)
    world.dice.pop(account, None)
    world.dice.setdefault(EVERYBODY, Dice(Scenario()))
    return {"status": "cleared"}


@post("/_clock")
async def post_clock(request: Req, data: ClockRequest) -> Json:
    """Move the provider's clock; what becomes due happens at once."""
    _world(request).clock.offset += data.advance_seconds
    request.app.state.courier.settle()
    return {"now": _world(request).clock.now()}


@get("/_charges")
async def get_charges(request: Req, reference: str = "", account: str = "") -> Json:
    """List what was really charged, so that a test can say “exactly once”."""
    world = _world(request)
    subjects: list[Payment] = [
        payment for payment in world.store.payments.values() if reference in ("", payment.reference) and account in ("", payment.account)
    ]
    charged = [payment for payment in subjects if payment.status not in NOT_CHARGED]
    shown = [views.view(world, payment) for payment in subjects[-1000:]]
    return {"count": len(charged), "amount": sum(payment.amount for payment in charged), "payments": shown}


@get("/_operations")
async def get_operations(request: Req, reference: str = "", account: str = "") -> Json:
    """List captures, voids and refunds that were really done."""
    world = _world(request)
    subjects = [
        operation
        for operation in world.store.operations.values()
        if reference in ("", operation.reference) and account in ("", operation.account)
    ]
    return {"count": len(subjects), "operations": [views.view(world, operation) for operation in subjects[-1000:]]}


@get("/_payouts")
async def get_payouts(request: Req, account: str = "", reference: str = "") -> Json:
    """List the orders to bank accounts that were really taken, so that a test can say “exactly once”."""
    world = _world(request)
    found = [
        transfer
        for transfer in world.store.transfers.values()
        if account in ("", transfer.account) and reference in ("", transfer.reference)
    ]
    return {
        "count": len(found),
        "amount": sum(transfer.amount for transfer in found),
        "payouts": [views.view(world, transfer) for transfer in found[-1000:]],
    }


@post("/_payouts/{reference:str}")
async def post_payout(request: Req, reference: str, data: TransferControl) -> Json:
    """Bring an order to a state, as its bank would."""
    world = _world(request)
    for transfer in world.store.transfers.values():
        if transfer.reference == reference:
            transfers.move(world, transfer, data.become)
            world.store.commit()
            return views.view(world, transfer)
    raise NotFoundException("There is no such order.")


@post("/_webhooks/deliver")
async def deliver(request: Req) -> Json:
    """Send every webhook that waits, now."""
    accepted = await request.app.state.courier.deliver(force=True)
    return {"accepted": accepted, "waiting": len(request.app.state.courier.waiting)}


@post("/_webhooks/redeliver")
async def redeliver(request: Req, data: RedeliverRequest) -> Json:
    """Send one event again."""
    event = _world(request).store.events.get(data.event)
    if event is None:
        raise NotFoundException("There is no such event.")
    _world(request).outbox.extend([event] * data.copies)
    return {"accepted": await request.app.state.courier.deliver(force=True)}


@post("/_payments/{payment_id:str}/review")
async def review(request: Req, payment_id: str, data: ReviewRequest) -> Json:
    """Decide about a payment that was held."""
    world = _world(request)
    payment = world.store.payments.get(payment_id)
    if payment is None:
        raise NotFoundException("There is no such payment.")
    payments.decide_review(world, payment, approve=data.approve)
    world.store.commit()
    return views.view(world, payment)


ROUTES = [
    health,
    post_account,
    get_scenario,
    post_scenario,
    delete_scenario,
    post_clock,
    get_charges,
    get_operations,
    get_payouts,
    post_payout,
    deliver,
    redeliver,
    review,
]
