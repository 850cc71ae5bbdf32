"""Pure translation between the simulated bank's JSON and the words of the port."""

import msgspec

from app.core.errors import Invalid
from app.core.logs import redact
from app.core.money import Money
from app.core.outbound import Answer
from app.payouts.domain.port import BankAnswer, BankOrder, BankWord

WORDS: dict[str, BankWord] = {
    "accepted": BankWord.ACCEPTED,
    "in_transit": BankWord.IN_TRANSIT,
    "paid": BankWord.PAID,
    "refused": BankWord.REFUSED,
    "returned": BankWord.RETURNED,
}
# Errors that say the bank will never carry this order out; every other error leaves it open what happened.
FINAL = frozenset({"reference_invalid", "amount_invalid", "account_invalid", "malformed", "invalid"})


class _Failure(msgspec.Struct):
    code: str
    message: str = ""


class _Order(msgspec.Struct):
    id: str
    status: str
    reference: str
    amount: int
    currency: str
    failure: _Failure | None = None


class _List(msgspec.Struct):
    data: list[_Order]


class _Error(msgspec.Struct):
    error: _Failure


_order = msgspec.json.Decoder(_Order)
_list = msgspec.json.Decoder(_List)
_error = msgspec.json.Decoder(_Error)


def request(order: BankOrder) -> dict[str, object]:
    """What to send."""
    return {
        "end_to_end_id": order.end_to_end_id,
        "amount": order.amount.minor,
        "currency": order.amount.currency,
        "creditor": order.creditor_name,
        "kind": order.account_kind,
        "number": order.number,
        "routing": order.routing,
        "bic": order.bic,
        "text": order.text,
    }


def answer(given: Answer) -> BankAnswer:
    """Read the answer to an order."""
    if given.failure is not None:
        return _unclear(given, str(given.failure))
    if given.status in (200, 201, 402):
        try:
            return _read(given, _order.decode(given.body))
        except (msgspec.MsgspecError, Invalid):
            return _unclear(given, "malformed_answer")
    try:
        error = _error.decode(given.body).error
    except msgspec.MsgspecError:
        error = _Failure("server_error" if given.status >= 500 else "malformed_answer")
    if given.status == 422 and error.code in FINAL:
        return BankAnswer(
            word=BankWord.REFUSED,
            code=error.code,
            message=error.message or None,
            evidence=_evidence(given),
            latency_ms=given.latency_ms,
        )
    return _unclear(given, error.code)


def found(given: Answer) -> BankAnswer:
    """Read the answer to a question: an empty list means that the bank never got the order."""
    if given.failure is not None or given.status != 200:
        return _unclear(given, str(given.failure or "server_error"))
    try:
        orders = _list.decode(given.body).data
        if not orders:
            return BankAnswer(word=BankWord.NOT_FOUND, code="not_found", evidence=_evidence(given), latency_ms=given.latency_ms)
        return _read(given, orders[0])
    except (msgspec.MsgspecError, Invalid):
        return _unclear(given, "malformed_answer")


def _read(given: Answer, order: _Order) -> BankAnswer:
    word = WORDS.get(order.status)
    if word is None:
        return _unclear(given, "malformed_answer")
    return BankAnswer(
        word=word,
        provider_reference=order.id,
        code=order.failure.code if order.failure else None,
        amount=Money(order.amount, order.currency),
        evidence=_evidence(given) | {"bank_status": order.status},
        latency_ms=given.latency_ms,
    )


def _unclear(given: Answer, code: str) -> BankAnswer:
    excerpt = given.body[:300].decode("utf-8", "replace")
    evidence = _evidence(given) | ({"answer": str(redact(excerpt))} if excerpt else {})
    return BankAnswer(word=BankWord.UNKNOWN, code=code, evidence=evidence, latency_ms=given.latency_ms)


def _evidence(given: Answer) -> dict[str, str]:
    pairs = {"http_status": str(given.status or ""), "failure": str(given.failure or "")}
    return {name: value for name, value in pairs.items() if value}
