"""The simulated bank: orders to bank accounts, which it accepts, carries out, refuses, or gets back from the other bank."""

import msgspec

from app.core.money import CURRENCIES
from app.psp.simulator.domain import Account, Fault, Refusal, Transfer, TransferStatus
from app.psp.simulator.world import World

MAX_REFERENCE = 35
CLOSED = "AC04"
"""The ISO 20022 reason for a closed account, the usual one for an order that fails or comes back."""
_OVER = (TransferStatus.REFUSED, TransferStatus.RETURNED)


class TransferRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a merchant sends to pay a bank account."""

    end_to_end_id: str
    amount: int
    currency: str
    creditor: str
    number: str
    kind: str = "iban"
    routing: str = ""
    bic: str = ""
    text: str = ""


def send(world: World, account: Account, request: TransferRequest, *, fault: Fault | None = None) -> Transfer:
    """Take an order. The same end-to-end id again is the same order, however often it comes; with other content it is refused."""
    known = world.store.by_order.get((account.name, request.end_to_end_id))
    if known is not None:
        if (known.amount, known.currency, known.number) != (request.amount, request.currency, request.number):
            raise Refusal(409, "order_differs", "This end-to-end id belongs to another order.")
        return known
    _check(request)
    dice, now = world.of(account.name), world.clock.now()
    refused = fault is Fault.REFUSE or dice.chance(dice.scenario.payout_refused)
    returned = not refused and dice.chance(dice.scenario.payout_returned)
    transfer = Transfer(
        id=world.store.next_id("tr"),
        account=account.name,
        reference=request.end_to_end_id,
        amount=request.amount + 1 if fault is Fault.WRONG_AMOUNT else request.amount,
        currency=request.currency,
        creditor=request.creditor,
        number=request.number,
        routing=request.routing or request.bic,
        status=TransferStatus.ACCEPTED,
        created_at=now,
        ends_as=TransferStatus.RETURNED if returned else TransferStatus.PAID,
    )
    if refused:
        move(world, transfer, TransferStatus.REFUSED)
    else:
        _wait(world, transfer)
        world.publish("payout.accepted", transfer)
        world.store.save(transfer)
        if not dice.scenario.payout_seconds:
            # an instant rail: carried out before it answers
            for status in (TransferStatus.IN_TRANSIT, TransferStatus.PAID):
                move(world, transfer, status)
    return transfer


def later(world: World, transfer: Transfer) -> None:
    """The next thing happens to an order by itself."""
    if transfer.due_at is None:
        return
    steps = {
        TransferStatus.ACCEPTED: TransferStatus.IN_TRANSIT,
        TransferStatus.IN_TRANSIT: TransferStatus.PAID,
        TransferStatus.PAID: TransferStatus.RETURNED,
    }
    move(world, transfer, steps[transfer.status])


def move(world: World, transfer: Transfer, status: TransferStatus) -> None:
    """Bring an order to a state and tell its sender."""
    transfer.status, transfer.due_at = status, None
    if status in (TransferStatus.PAID, TransferStatus.RETURNED):
        transfer.paid_at = transfer.paid_at or world.clock.now()
    if status is TransferStatus.RETURNED:
        transfer.returned_at = world.clock.now()
    if status in _OVER:
        transfer.code = CLOSED
    if status is TransferStatus.IN_TRANSIT or (status is TransferStatus.PAID and transfer.ends_as is TransferStatus.RETURNED):
        _wait(world, transfer)
    world.store.save(transfer)
    world.publish(f"payout.{status}", transfer)


def _wait(world: World, transfer: Transfer) -> None:
    transfer.due_at = world.clock.now() + world.scenario(transfer.account).payout_seconds
    world.at(transfer.due_at, transfer.id)


def _check(request: TransferRequest) -> None:
    if not 0 < len(request.end_to_end_id) <= MAX_REFERENCE:
        raise Refusal(422, "reference_invalid", "An end-to-end id has 1 to 35 characters.")
    if request.amount <= 0 or request.currency not in CURRENCIES:
        raise Refusal(422, "amount_invalid", "The amount must be a positive number of minor units of a known currency.")
    if not request.number or not request.creditor:
        raise Refusal(422, "account_invalid", "An order names an account and its holder.")
