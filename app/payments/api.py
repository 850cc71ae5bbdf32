"""JSON routes of payments. Every call that moves money takes an ``Idempotency-Key``."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import idempotency
from app.core.actors import Actor
from app.core.ids import OrderId, PaymentId, path_id
from app.orders import queries as orders
from app.orders.domain import OrderNotFound
from app.payments import flows, queries
from app.payments.cancellation import flows as cancellation
from app.payments.domain import PaymentNotFound
from app.payments.schemas import CaptureRequest, PaymentRequest, PaymentRoutingView, PaymentView, RefundRequest, VoidRequest, split_of
from app.web.context import HttpRequest
from app.web.guards import requires

IDEMPOTENCY_KEY = "idempotency-key"


async def _fingerprint(request: HttpRequest) -> bytes:
    return idempotency.fingerprint(request.method, request.url.path, await request.body())


def _answer(answered: flows.Answered) -> Response[bytes]:
    headers = {"Idempotent-Replayed": "true"} if answered.replayed else {}
    return Response(answered.body, status_code=answered.status, media_type="application/json", headers=headers)


def _payment_id(text: str) -> PaymentId:
    return PaymentId(path_id("pay", text, otherwise=PaymentNotFound(queries.MISSING)))


@post("/v1/payments", name="payments:api_create", guards=[requires("payments.create")])
async def create_payment(request: HttpRequest, data: JSONBody[PaymentRequest], actor: NamedDependency[Actor]) -> Response[bytes]:
    """Collect an order. 201: decided, or the buyer must act; 202: the PSP has not answered yet, and the payment goes on by itself."""
    answered = await flows.pay(
        actor,
        order_id=data.order_id(),
        connection_id=data.connection_id(),
        token=data.token,
        capture_mode=data.capture,
        return_url=data.return_url,
        key=request.headers.get(IDEMPOTENCY_KEY, ""),
        request=await _fingerprint(request),
    )
    return _answer(answered)


@post("/v1/payments/{payment_id:str}/capture", name="payments:api_capture", guards=[requires("payments.capture")])
async def capture_payment(
    request: HttpRequest, payment_id: FromPath[str], data: JSONBody[CaptureRequest], actor: NamedDependency[Actor]
) -> Response[bytes]:
    """Take an authorised amount, or a part of it."""
    answered = await flows.capture(
        actor,
        payment_id=_payment_id(payment_id),
        amount=data.amount,
        is_final=data.final,
        split=split_of(data.split),
        reason=data.reason,
        key=request.headers.get(IDEMPOTENCY_KEY, ""),
        request=await _fingerprint(request),
    )
    return _answer(answered)


@post("/v1/payments/{payment_id:str}/void", name="payments:api_void", guards=[requires("payments.void")])
async def void_payment(
    request: HttpRequest, payment_id: FromPath[str], data: JSONBody[VoidRequest], actor: NamedDependency[Actor]
) -> Response[bytes]:
    """Release what is authorised and not captured."""
    key, request_hash = request.headers.get(IDEMPOTENCY_KEY, ""), await _fingerprint(request)
    return _answer(await flows.void(actor, payment_id=_payment_id(payment_id), reason=data.reason, key=key, request=request_hash))


@post("/v1/payments/{payment_id:str}/refunds", name="payments:api_refund", guards=[requires("payments.refund")])
async def refund_payment(
    request: HttpRequest, payment_id: FromPath[str], data: JSONBody[RefundRequest], actor: NamedDependency[Actor]
) -> Response[bytes]:
    """Give a captured amount back to the buyer, or a part of it."""
    answered = await flows.refund(
        actor,
        payment_id=_payment_id(payment_id),
        amount=data.amount,
        split=split_of(data.split),
        reason=data.reason,
        keep_fee=data.keep_fee,
        key=request.headers.get(IDEMPOTENCY_KEY, ""),
        request=await _fingerprint(request),
    )
    return _answer(answered)


@get("/v1/payments/{payment_id:str}", name="payments:api_detail", guards=[requires("payments.read")])
async def get_payment(payment_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> PaymentView:
    """One payment as it stands now."""
    return await queries.payment_view(session, merchant_id=actor.merchant, payment_id=_payment_id(payment_id))


@get("/v1/payments/{payment_id:str}/routing", name="payments:api_routing", guards=[requires("payments.read")])
async def get_routing(
    payment_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> PaymentRoutingView:
    """Why the payment went where it went: by which rule, and whose turn it was; no rule when none was live or the connection was asked for."""
    return await queries.routing_view(session, merchant_id=actor.merchant, payment_id=_payment_id(payment_id))


@post("/v1/orders/{order_id:str}/cancel", name="orders:api_cancel", status_code=200, guards=[requires("orders.write")])
async def cancel_order(
    request: HttpRequest, order_id: FromPath[str], data: JSONBody[VoidRequest], actor: NamedDependency[Actor]
) -> Response[bytes]:
    """Cancel an order: what is authorised is released, what was captured is refunded."""
    found = OrderId(path_id("ord", order_id, otherwise=OrderNotFound(orders.MISSING)))
    key, asked = request.headers.get(IDEMPOTENCY_KEY, ""), await _fingerprint(request)
    done = await cancellation.cancel_once(actor, order_id=found, reason=data.reason, key=key, request=asked)
    headers = {"Idempotent-Replayed": "true"} if done.replayed else {}
    return Response(done.answer.body, status_code=done.answer.status, media_type="application/json", headers=headers)


ROUTES = [cancel_order, create_payment, capture_payment, void_payment, refund_payment, get_payment, get_routing]
