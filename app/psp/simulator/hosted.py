"""The provider's hosted payment page and the bank's challenge page: what the buyer sees."""

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.response import Redirect

from app.psp.simulator import payments
from app.psp.simulator.domain import CARDS, Payment, PaymentStatus, Refusal
from app.psp.simulator.rendering import back_to_shop, page, see
from app.psp.simulator.world import World

Req = Request[object, object, State]
Answer = Response[bytes] | Redirect


def _world(request: Req) -> World:
    world: World = request.app.state.world
    return world


def _payment(request: Req, payment_id: str) -> Payment:
    payment = _world(request).store.payments.get(payment_id)
    if payment is None:
        raise NotFoundException("There is no such payment page.")
    return payment


@get("/pay/{payment_id:str}")
async def show_page(request: Req, payment_id: str) -> Answer:
    """Show the payment page, or what became of the payment."""
    payment = _payment(request, payment_id)
    if payment.status is not PaymentStatus.REQUIRES_ACTION:
        return page("done.html", payment=payment)
    if payment.card is not None:
        return see(f"/challenge/{payment.id}")
    return _form(payment, None)


@post("/pay/{payment_id:str}")
async def pay(request: Req, payment_id: str) -> Answer:
    """Take the card the buyer typed."""
    payment = _payment(request, payment_id)
    form = await request.form()
    world = _world(request)
    try:
        payments.pay_by_card(world, payment, str(form.get("number", "")))
    except Refusal as refusal:
        if payment.status is not PaymentStatus.REQUIRES_ACTION:
            return page("done.html", payment=payment)
        return _form(payment, refusal.message)
    world.store.commit()
    if payment.status is not PaymentStatus.REQUIRES_ACTION:
        return back_to_shop(payment)
    if payment.card is not None:
        return see(f"/challenge/{payment.id}")
    return _form(payment, payment.decline.message if payment.decline else None)


@post("/pay/{payment_id:str}/cancel")
async def leave(request: Req, payment_id: str) -> Answer:
    """The buyer goes back to the shop without paying."""
    payment = _payment(request, payment_id)
    if payment.status is PaymentStatus.REQUIRES_ACTION:
        payments.cancel_by_buyer(_world(request), payment)
        _world(request).store.commit()
    return back_to_shop(payment)


@get("/challenge/{payment_id:str}")
async def show_challenge(request: Req, payment_id: str) -> Answer:
    """Ask the buyer to confirm the payment with their bank."""
    payment = _payment(request, payment_id)
    if payment.status is not PaymentStatus.REQUIRES_ACTION:
        return page("done.html", payment=payment)
    return page("challenge.html", leads_to=payment.return_url, payment=payment, problem=None)


@post("/challenge/{payment_id:str}")
async def answer_challenge(request: Req, payment_id: str) -> Answer:
    """Take the buyer's answer: a code, or that it was not them."""
    payment = _payment(request, payment_id)
    form = await request.form()
    world = _world(request)
    try:
        if form.get("answer") == "reject":
            payments.reject_challenge(world, payment)
        else:
            payments.answer_challenge(world, payment, code=str(form.get("code", "")).strip())
    except Refusal as refusal:
        if payment.status is not PaymentStatus.REQUIRES_ACTION:
            return page("done.html", payment=payment)
        return page("challenge.html", status=422, leads_to=payment.return_url, payment=payment, problem=refusal.message)
    world.store.commit()
    return back_to_shop(payment)


def _form(payment: Payment, problem: str | None) -> Response[bytes]:
    status = 422 if problem else 200
    cards = [(" ".join(n[i : i + 4] for i in range(0, len(n), 4)), t.partition("_")[2]) for n, t in CARDS.items()]
    return page("pay.html", status=status, leads_to=payment.return_url, payment=payment, problem=problem, cards=cards)


ROUTES = [show_page, pay, leave, show_challenge, answer_challenge]
