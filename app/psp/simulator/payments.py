"""Taking a payment at the simulated provider: by token, by hosted page, after a challenge, after a review."""

import msgspec

from app.core.money import CURRENCIES
from app.psp.simulator.domain import (
    AMOUNTS,
    CARDS,
    CHALLENGE_CODE,
    DECLINES,
    Account,
    Behaviour,
    Fault,
    Payment,
    PaymentStatus,
    Refusal,
    behaviour,
    card_for,
)
from app.psp.simulator.world import World

MAX_TRIES = 3
MINUTE = 60.0
DAY = 86_400.0


class PaymentRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a merchant sends to take a payment."""

    amount: int
    currency: str
    reference: str
    token: str | None = None
    capture: bool = False
    hosted: bool = False
    return_url: str | None = None
    description: str | None = None
    metadata: dict[str, str] = {}


def create(world: World, account: Account, request: PaymentRequest, *, fault: Fault | None = None) -> Payment:
    """Take a payment, or open the hosted page for it."""
    _check(request)
    payment = Payment(
        id=world.store.next_id("ch"),
        account=account.name,
        reference=request.reference,
        amount=request.amount + 1 if fault is Fault.WRONG_AMOUNT else request.amount,
        asked_amount=request.amount,
        currency=request.currency,
        capture=request.capture,
        status=PaymentStatus.REQUIRES_ACTION,
        created_at=world.clock.now(),
        return_url=request.return_url,
        hosted=request.hosted,
        description=request.description,
        metadata=request.metadata,
    )
    if request.token is not None:
        _charge(world, payment, behaviour(request.token), refused=fault is Fault.REFUSE)
    if payment.status is PaymentStatus.REQUIRES_ACTION:
        _await(world, payment, world.scenario(account.name).session_minutes * MINUTE)
    world.store.save(payment)
    return payment


def pay_by_card(world: World, payment: Payment, number: str) -> None:
    """The buyer typed a test card into the hosted page."""
    _must_be(payment, PaymentStatus.REQUIRES_ACTION)
    digits = "".join(c for c in number if c.isdigit())
    token = CARDS.get(digits)
    if token is None:
        raise Refusal(422, "incorrect_number", "This is not one of the test cards.")
    payment.tries += 1
    _charge(world, payment, behaviour(token))
    payment.card = card_for(digits, token)
    if payment.status is PaymentStatus.DECLINED and payment.tries < MAX_TRIES:
        # As real payment pages do: the buyer may try another card, so the payment is not lost yet.
        payment.status = PaymentStatus.REQUIRES_ACTION
        payment.card = None
    elif payment.status is PaymentStatus.DECLINED:
        world.publish("payment.declined", payment)
    world.store.save(payment)


def answer_challenge(world: World, payment: Payment, *, code: str) -> None:
    """The buyer answered the bank's question; the right code goes on with the payment."""
    _must_be(payment, PaymentStatus.REQUIRES_ACTION)
    if code != CHALLENGE_CODE:
        payment.tries += 1
        world.store.save(payment)
        if payment.tries < MAX_TRIES:
            raise Refusal(422, "challenge_failed", "That is not the code.")
        reject_challenge(world, payment)
        return
    if payment.decline is not None:
        payment.status = PaymentStatus.DECLINED
        world.publish("payment.declined", payment)
    else:
        _authorise(world, payment)
    world.store.save(payment)


def reject_challenge(world: World, payment: Payment) -> None:
    """The bank did not recognise the buyer."""
    _end(world, payment, PaymentStatus.DECLINED, "challenge_failed", "payment.declined")


def cancel_by_buyer(world: World, payment: Payment) -> None:
    """The buyer left the hosted page."""
    _end(world, payment, PaymentStatus.DECLINED, "cancelled_by_buyer", "payment.declined")


def decide_review(world: World, payment: Payment, *, approve: bool) -> None:
    """Somebody at the provider looked at a payment that was held."""
    _must_be(payment, PaymentStatus.REVIEW)
    if approve:
        _authorise(world, payment)
        world.store.save(payment)
    else:
        _end(world, payment, PaymentStatus.DECLINED, "suspected_fraud", "payment.declined")


def later(world: World, payment: Payment) -> None:
    """Time has passed: what was processing is taken, what waited for too long expires."""
    if payment.status is PaymentStatus.PROCESSING:
        _authorise(world, payment)
        world.store.save(payment)
    elif payment.status is PaymentStatus.REQUIRES_ACTION:
        _end(world, payment, PaymentStatus.EXPIRED, "session_timed_out", "payment.expired")
    elif payment.status is PaymentStatus.AUTHORIZED:
        payment.status = PaymentStatus.EXPIRED
        world.publish("payment.expired", payment)
        world.store.save(payment)


def fee(world: World, account: str, amount: int) -> int:
    """What the provider keeps of a captured amount."""
    scenario = world.scenario(account)
    return min(amount, (amount * scenario.fee_basis_points + 5_000) // 10_000 + scenario.fee_fixed_minor)


def _check(request: PaymentRequest) -> None:
    if not 0 < request.amount < 10**12:
        raise Refusal(422, "amount_invalid", "The amount must be a positive number of minor units.")
    if request.currency not in CURRENCIES:
        raise Refusal(422, "currency_invalid", "The currency must be an ISO 4217 code in capital letters.")
    if not request.reference or len(request.reference) > 200:
        raise Refusal(422, "reference_invalid", "A reference of at most 200 characters is needed.")
    if request.hosted == (request.token is not None):
        raise Refusal(422, "method_invalid", "Send either a token or hosted, not both.")
    if request.return_url is not None and not request.return_url.startswith(("https://", "http://")):
        raise Refusal(422, "return_url_invalid", "The return address must be an http address.")
    if request.hosted and request.return_url is None:
        raise Refusal(422, "return_url_invalid", "A hosted payment needs a return address.")


def _charge(world: World, payment: Payment, what: Behaviour, *, refused: bool = False) -> None:
    payment.card = what.card
    payment.capture_fails = what.capture_fails
    code = what.decline or AMOUNTS.get(payment.amount) or ("generic_decline" if refused else None)
    payment.decline = DECLINES[code] if code else None
    if what.challenge:
        payment.status = PaymentStatus.REQUIRES_ACTION
    elif code is not None:
        payment.status = PaymentStatus.DECLINED
        if not payment.hosted:
            world.publish("payment.declined", payment)
    elif what.review:
        payment.status = PaymentStatus.REVIEW
        world.publish("payment.review", payment)
    elif what.processing:
        payment.status = PaymentStatus.PROCESSING
        _await(world, payment, world.scenario(payment.account).settle_seconds)
    else:
        _authorise(world, payment)


def _await(world: World, payment: Payment, seconds: float) -> None:
    payment.due_at = world.clock.now() + seconds
    world.at(payment.due_at, payment.id)


def _authorise(world: World, payment: Payment) -> None:
    payment.decline = None
    if payment.capture:
        payment.status = PaymentStatus.CAPTURED
        payment.amount_captured = payment.amount
        payment.fee = fee(world, payment.account, payment.amount)
        world.publish("payment.captured", payment)
    else:
        payment.status = PaymentStatus.AUTHORIZED
        _await(world, payment, world.scenario(payment.account).authorisation_days * DAY)
        world.publish("payment.authorized", payment)


def _end(world: World, payment: Payment, status: PaymentStatus, code: str, event: str) -> None:
    _must_be(payment, PaymentStatus.REQUIRES_ACTION, PaymentStatus.REVIEW)
    payment.status = status
    payment.decline = DECLINES[code]
    world.publish(event, payment)
    world.store.save(payment)


def _must_be(payment: Payment, *statuses: PaymentStatus) -> None:
    if payment.status not in statuses:
        raise Refusal(409, "not_allowed", f"The payment is {payment.status}; this cannot be done now.")
