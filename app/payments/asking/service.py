"""Asking for a capture, a void or a refund in two server-side calls: look at the payment, then commit to the operation while the payment is still the same.

Python decides what the operation moves (app.payments.operations), the database guards and writes. What several requests ask for at the same moment
travels together (app.core.gathering). The plain case only: what must be refused, or a payment that moved meanwhile, leaves nothing behind, and the
caller takes the long way, which says what is wrong. Source: migrations/sql/payments_operate.sql.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg import errors as postgres
from sqlalchemy import text

from app.core import db, idempotency
from app.core.actors import Actor
from app.core.clock import now
from app.core.db import changed, known, known_from
from app.core.errors import AppError
from app.core.gathering import Gathering
from app.core.ids import AttemptId, MerchantId, PaymentId, RefundId, SellerId, new_id
from app.ledger import service as ledger
from app.ledger.domain import Posting
from app.payments.asking.domain import Ask, Seen
from app.payments.domain import Operation, OperationStatus, Share, next_ask_at
from app.payments.models import Payment, PaymentAttempt, PaymentOperation, PaymentPart
from app.payments.operations import service as operations
from app.payments.operations.service import Held, Wanted
from app.payments.postings import service as postings
from app.psp.models import Connection

_LOOK = text("select id, held from payments_look(:merchant, cast(:payments as uuid[]), cast(:refunds as uuid[]))")
_ASK = text("select * from payments_ask(:merchant, cast(:asks as json), cast(:journal as json))")

Plan = Callable[[Held], Wanted]
"""What an operation moves, given the payment."""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that was committed to: the payment's rows as they stand in the database, and the connection to call."""

    held: Held
    attempt: PaymentAttempt
    operation: PaymentOperation
    connection: Connection


async def begin_operation(
    actor: Actor, *, payment_id: PaymentId, kind: Operation, plan: Plan, key: str, request: bytes
) -> Begun | idempotency.Claim | None:
    """Claim the key and commit to the operation before the PSP hears of it. Nothing when there is anything to say against it; nothing is written then."""
    idempotency.check_key(key)
    seen = await _look(actor.merchant, (payment_id, kind))
    if seen is None:
        return None
    held = Held(
        payment=known_from(Payment, seen.payment),
        parts=[known_from(PaymentPart, part) for part in seen.parts],
        operations=[known_from(PaymentOperation, operation) for operation in seen.operations],
        funds=seen.funds,
        approval_from=seen.approval_from,
    )
    try:
        wanted = plan(held)
        ask = _ask_for(actor, held, wanted, key=key, request=request)
        row = await _ask(actor.merchant, (ask, _entries(actor, held, wanted)))
    except (AppError, postgres.SerializationFailure, postgres.IntegrityError, postgres.DataError):
        return None
    if row.claim != "new":
        return idempotency.held(key=key, claim=row.claim, status=row.status, body=row.body, resource_id=row.resource_id)
    return _begun(actor, held, wanted, ask, seen)


def _entries(actor: Actor, held: Held, wanted: Wanted) -> list[Posting]:
    """What the ledger writes before a PSP hears of the operation: the sellers' money for a refund is set aside."""
    if wanted.kind is not Operation.REFUND:
        return []
    entry = postings.refund_requested(held.payment, RefundId(wanted.operation_id), wanted.shares, postings.taken_of(wanted.taken))
    return postings.postings_of(actor, held.payment, [entry])


async def _send_looks(merchant_id: MerchantId, asked: Sequence[tuple[PaymentId, Operation]]) -> list[Seen | None]:
    refunds = [payment_id for payment_id, kind in asked if kind is Operation.REFUND]
    rows = await db.call_all(_LOOK, {"merchant": merchant_id, "payments": [payment_id for payment_id, _ in asked], "refunds": refunds})
    found = {row.id: msgspec.json.decode(row.held, type=Seen) for row in rows}
    return [found.get(payment_id) for payment_id, _ in asked]


async def _send_asks(merchant_id: MerchantId, sent: Sequence[tuple[Ask, Sequence[Posting]]]) -> list[db.Record]:
    journal = ledger.columns([entry for _, entries in sent for entry in entries])
    rows = await db.call_all(_ASK, {"merchant": merchant_id, "asks": _json([ask for ask, _ in sent]), "journal": _json(journal)})
    found = {row.attempt: row for row in rows}
    return [found[ask.attempt] for ask, _ in sent]


_look = Gathering(_send_looks)
_ask = Gathering(_send_asks)


def _ask_for(actor: Actor, held: Held, wanted: Wanted, *, key: str, request: bytes) -> Ask:
    payment, moment, attempt_id = held.payment, now(), AttemptId(new_id())
    ask = Ask(
        key=key,
        request=request.hex(),
        lease=moment + idempotency.LEASE,
        payment=PaymentId(payment.id),
        seen=payment.updated_at,
        standing=payment.status,
        connection=payment.connection_id,
        attempt=attempt_id,
        operation=wanted.operation_id,
        kind=wanted.kind,
        number=held.next_number(wanted.kind),
        amount=wanted.amount.minor,
        split=wanted.split,
        is_final=wanted.is_final,
        reason=wanted.reason,
        at=moment,
        ask=next_ask_at(0, moment),
        event=new_id(),
        details=wanted.details,
        trail=new_id(),
        before=operations.before(payment),
        after=operations.asked_for(wanted, attempt_id),
        actor_kind=actor.kind.value,
        actor_id=actor.id,
        actor_name=actor.name,
        address=actor.address,
        factor_at=actor.factor_at,
        request_id=actor.request_id,
    )
    return msgspec.structs.replace(ask, **_taken(wanted))


def _taken(wanted: Wanted) -> dict[str, list[object]]:
    """What a refund takes from the sellers' parts and from their pending funds."""
    if wanted.kind is not Operation.REFUND:
        return {}
    pending = [each for taken in postings.taken_of(wanted.taken).values() for each in taken.pending]
    return {
        "sellers": [share.seller_id for share in wanted.shares],
        "amounts": [share.amount_minor for share in wanted.shares],
        "fees": [share.fee_minor for share in wanted.shares],
        "funds": [UUID(funds) for funds, _ in pending],
        "takes": [minor for _, minor in pending],
    }


def _begun(actor: Actor, held: Held, wanted: Wanted, ask: Ask, seen: Seen) -> Begun:
    operation = _operation(actor, held.payment, wanted, ask)
    of = seen.connection
    return Begun(
        held=Held(
            payment=_reserved(held.payment, wanted, ask.at),
            parts=_parts(held.parts, wanted),
            operations=[*held.operations, operation],
        ),
        attempt=known(
            PaymentAttempt,
            merchant_id=actor.merchant,
            id=ask.attempt,
            payment_id=ask.payment,
            connection_id=ask.connection,
            operation=ask.kind.value,
            amount_minor=ask.amount,
            outcome=None,
            provider_reference=None,
            asked_times=0,
            created_at=ask.at,
            finished_at=None,
        ),
        operation=operation,
        connection=known(Connection, merchant_id=actor.merchant, id=of.id, psp=of.psp, config=of.config, credentials=of.credentials),
    )


def _reserved(payment: Payment, wanted: Wanted, moment: datetime) -> Payment:
    name = {Operation.CAPTURE: "capture_reserved_minor", Operation.REFUND: "refund_reserved_minor"}.get(wanted.kind)
    reserved = {name: getattr(payment, name) + wanted.amount.minor} if name else {}
    return changed(payment, **reserved, updated_at=moment)


def _parts(parts: Sequence[PaymentPart], wanted: Wanted) -> list[PaymentPart]:
    back = {share.seller_id: share for share in wanted.shares} if wanted.kind is Operation.REFUND else {}
    return [_refunded(part, back[SellerId(part.seller_id)]) if part.seller_id in back else part for part in parts]


def _refunded(part: PaymentPart, share: Share) -> PaymentPart:
    refunded, returned = part.refunded_minor + share.amount_minor, part.fee_returned_minor + share.fee_minor
    return changed(part, refunded_minor=refunded, fee_returned_minor=returned)


def _operation(actor: Actor, payment: Payment, wanted: Wanted, ask: Ask) -> PaymentOperation:
    return known(
        PaymentOperation,
        merchant_id=payment.merchant_id,
        id=wanted.operation_id,
        payment_id=payment.id,
        attempt_id=ask.attempt,
        kind=wanted.kind.value,
        number=ask.number,
        status=OperationStatus.SENDING,
        amount_minor=wanted.amount.minor,
        split=wanted.split,
        is_final=wanted.is_final,
        reason=wanted.reason,
        created_by=actor.name,
        created_at=ask.at,
        updated_at=ask.at,
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
