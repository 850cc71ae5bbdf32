"""The simulated provider's own API under /v1: a bare ASGI application, because this is the path that has to be fast."""

import asyncio
import hashlib
from collections.abc import Callable
from urllib.parse import parse_qs, unquote

import msgspec
from litestar.types import Receive, Scope, Send

from app.psp.simulator import operations, payments, reports, transfers, views
from app.psp.simulator.domain import (
    BEFORE,
    Account,
    Fault,
    Operation,
    OperationStatus,
    Payment,
    PaymentStatus,
    Refusal,
    Transfer,
    TransferStatus,
    behaviour,
)
from app.psp.simulator.operations import OperationRequest
from app.psp.simulator.payments import PaymentRequest
from app.psp.simulator.scenario import FaultRule
from app.psp.simulator.store import Answer
from app.psp.simulator.world import World

MAX_BODY = 1 << 16
KEY_LIFE = 86_400.0
FAULT_SECONDS = 30.0
CUTS = frozenset({Fault.LOST_ANSWER, Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.TIMEOUT_BEFORE, Fault.TIMEOUT_AFTER})

_payment_request = msgspec.json.Decoder(PaymentRequest)
_transfer_request = msgspec.json.Decoder(transfers.TransferRequest)
_operation_request = msgspec.json.Decoder(OperationRequest)
_encode = msgspec.json.Encoder().encode

Reply = tuple[int, bytes]
Operate = Callable[..., Operation]
VERBS: dict[str, Operate] = {"capture": operations.capture, "void": operations.void, "refund": operations.refund}


class Call(msgspec.Struct, kw_only=True):
    """One request, read."""

    account: Account
    method: str
    path: list[str]
    query: str
    operation: str
    key: str | None
    body: bytes


class Api:
    """Answers the merchants' servers."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate, meet the scenario's faults, do what is asked, answer."""
        try:
            call = await self._read(scope, receive)
        except Refusal as refusal:
            await _answer(send, refusal.status, _encode(views.error(refusal)))
            return
        rule = self._fault(call)
        if self.world.scenario(call.account.name).latency_seconds:
            await asyncio.sleep(self.world.scenario(call.account.name).latency_seconds)
        if rule is None:
            await _answer(send, *self._serve(call, None))
        else:
            await self._go_wrong(call, rule, scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> Call:
        headers = dict(scope["headers"])
        token = headers.get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ")
        account = self.world.store.by_key.get(token)
        if account is None:
            raise Refusal(401, "key_unknown", "This secret key is not known.")
        path = scope["path"].strip("/").split("/")
        method = str(scope.get("method"))
        body = b""
        while method == "POST":
            message = await receive()
            body += message.get("body", b"")  # type: ignore[operator]
            if len(body) > MAX_BODY:
                raise Refusal(413, "too_large", "The request is too large.")
            if not message.get("more_body"):
                break
        key = headers.get(b"idempotency-key")
        return Call(
            account=account,
            method=method,
            path=path[1:] if path[0] == "v1" else path,
            query=scope["query_string"].decode("latin-1"),
            operation=_operation(method, path[1:] if path[0] == "v1" else path),
            key=None if key is None else key.decode("latin-1"),
            body=body,
        )

    def _fault(self, call: Call) -> FaultRule | None:
        rule = self.world.of(call.account.name).draw(call.operation)
        if rule is not None or call.operation != "authorise":
            return rule
        # The fault of a magic token meets the first request of its key only: what is asked again is answered.
        mark = (call.account.name, call.key or "")
        if mark in self.world.faulted or b'"tok_' not in call.body:
            return None
        try:
            fault = behaviour(_payment_request.decode(call.body).token or "").fault
        except (msgspec.DecodeError, Refusal):
            return None
        if fault is None:
            return None
        self.world.faulted.add(mark)
        return FaultRule(fault=fault, seconds=2.0 if fault is Fault.SLOW else FAULT_SECONDS)

    def _serve(self, call: Call, fault: FaultRule | None) -> Reply:
        """Do what is asked, once per idempotency key, and write it to the journal before anybody hears of it."""
        try:
            reply = self._get(call) if call.method == "GET" else self._once(call, fault)
        except Refusal as refusal:
            reply = refusal.status, _encode(views.error(refusal))
        except msgspec.DecodeError as problem:
            reply = 422, _encode(views.error(Refusal(422, "malformed", str(problem))))
        self.world.store.commit()
        return reply

    def _once(self, call: Call, fault: FaultRule | None) -> Reply:
        if call.key is None:
            return self._post(call, fault)
        mark = (call.account.name, call.key)
        if mark in self.world.running:
            raise Refusal(409, "key_in_progress", "A request with this key is still running.")
        fingerprint = hashlib.blake2b("/".join(call.path).encode() + b"\n" + call.body, digest_size=16).hexdigest()
        known = self.world.store.answers.get(mark)
        now = self.world.clock.now()
        if known is not None and now - known.created_at < KEY_LIFE:
            if known.fingerprint != fingerprint:
                raise Refusal(400, "key_reused", "This key was used for another request.")
            return known.status, known.body.encode()
        status, body = self._post(call, fault)
        self.world.store.save(
            Answer(
                account=call.account.name,
                key=call.key,
                fingerprint=fingerprint,
                status=status,
                body=body.decode(),
                created_at=now,
            )
        )
        return status, body

    def _post(self, call: Call, fault: FaultRule | None) -> Reply:
        kind = fault.fault if fault else None
        subject: Payment | Operation | Transfer
        if call.operation == "authorise":
            subject = payments.create(self.world, call.account, _payment_request.decode(call.body), fault=kind)
            refused = subject.status is PaymentStatus.DECLINED
        elif call.operation == "payout":
            subject = transfers.send(self.world, call.account, _transfer_request.decode(call.body), fault=kind)
            refused = subject.status is TransferStatus.REFUSED
        elif call.operation in VERBS:
            request = _operation_request.decode(call.body)
            payment_id = request.payment if call.operation == "refund" else call.path[1]
            payment = operations.account_of(self.world, call.account, payment_id or "")
            subject = VERBS[call.operation](self.world, payment, request, fault=kind)
            refused = subject.status is OperationStatus.FAILED
        else:
            raise Refusal(404, "not_found", "There is no such address.")
        return 402 if refused else 201, _encode(views.view(self.world, subject))

    def _get(self, call: Call) -> Reply:
        match call.path:
            case ["account"]:
                return 200, _encode({"object": "account", "name": call.account.name})
            case ["balance"]:
                since = parse_qs(call.query).get("since", ["1970-01-01"])[0]
                return 200, _encode({"data": reports.owed(self.world, call.account.name, reports.day_of(since))})
            case ["payments" | "operations", object_id]:
                return 200, _encode(views.view(self.world, self._object(call.account, object_id)))
            case ["payments" | "operations"]:
                reference = unquote(call.query.removeprefix("reference="))
                found = self.world.store.found(call.account.name, reference)
                return 200, _encode({"data": [views.view(self.world, subject) for subject in found]})
            case ["payouts"]:
                order = self.world.store.by_order.get((call.account.name, unquote(call.query.removeprefix("end_to_end_id="))))
                return 200, _encode({"data": [views.view(self.world, order)] if order else []})
            case ["reports", kind]:
                since = parse_qs(call.query).get("since", ["1970-01-01"])[0]
                names = reports.offered(self.world, call.account.name, kind, reports.day_of(since))
                return 200, _encode({"data": [{"name": name} for name in names]})
            case ["reports", _, name]:
                return 200, reports.report(self.world, call.account.name, unquote(name)).encode()
            case ["events"]:
                events = [event for event in self.world.store.events.values() if event.account == call.account.name]
                return 200, _encode({"data": [msgspec.Raw(event.body.encode()) for event in events[-100:]]})
            case _:
                raise Refusal(404, "not_found", "There is no such address.")

    def _object(self, account: Account, object_id: str) -> Payment | Operation:
        subject = self.world.store.payments.get(object_id) or self.world.store.operations.get(object_id)
        if subject is None or subject.account != account.name:
            raise Refusal(404, "not_found", "There is no such object.")
        return subject

    async def _go_wrong(self, call: Call, rule: FaultRule, scope: Scope, receive: Receive, send: Send) -> None:
        if rule.fault is Fault.SLOW:
            await self._slow(call, rule, send)
            return
        reply = (500, b"{}") if rule.fault in BEFORE else self._serve(call, rule)
        if rule.fault in CUTS:
            await self._cut(rule, scope["client"], receive)  # type: ignore[arg-type]
            return
        match rule.fault:
            case Fault.RATE_LIMIT:
                body = _encode(views.error(Refusal(429, "rate_limited", "Too many requests.")))
                await _answer(send, 429, body, (b"retry-after", b"1"))
            case Fault.INVALID:
                await _answer(send, 422, _encode(views.error(Refusal(422, "invalid", "The scenario refuses this."))))
            case Fault.ERROR_BEFORE | Fault.ERROR_AFTER:
                await _answer(send, 500, _encode(views.error(Refusal(500, "internal", "Something broke."))))
            case Fault.DRIP:
                await _drip(send, *reply, rule.seconds)
            case Fault.MALFORMED:
                await _answer(send, reply[0], b"<html>It works!</html>")
            case _:
                await _answer(send, *reply)

    async def _cut(self, rule: FaultRule, client: tuple[str, int], receive: Receive) -> None:
        if rule.fault in (Fault.TIMEOUT_BEFORE, Fault.TIMEOUT_AFTER):
            await _silence(receive, rule.seconds)
        if rule.fault in (Fault.RESET_BEFORE, Fault.RESET_AFTER):
            self.world.wire.reset(client)
        else:
            self.world.wire.cut(client)
        await _silence(receive, 1.0)  # until the server has noticed that the connection is gone

    async def _slow(self, call: Call, rule: FaultRule, send: Send) -> None:
        mark = (call.account.name, call.key or "")
        first = mark not in self.world.running
        self.world.running.add(mark)
        try:
            if first:
                await asyncio.sleep(rule.seconds)
        finally:
            if first:
                self.world.running.discard(mark)
        await _answer(send, *self._serve(call, None))


def _operation(method: str, path: list[str]) -> str:
    if method == "GET":
        return "lookup"
    match path:
        case ["payments"]:
            return "authorise"
        case ["payments", _, "captures"]:
            return "capture"
        case ["payments", _, "voids"]:
            return "void"
        case ["refunds"]:
            return "refund"
        case ["payouts"]:
            return "payout"
        case _:
            return "unknown"


async def _answer(send: Send, status: int, body: bytes, *extra: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _silence(receive: Receive, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return


async def _drip(send: Send, status: int, body: bytes, seconds: float) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for i in range(len(body)):
        await asyncio.sleep(seconds / len(body))
        await send({"type": "http.response.body", "body": body[i : i + 1], "more_body": i < len(body) - 1})
