"""What the simulated provider knows: payments, the operations on them, accounts, events, and what its test cards do.

Its words are deliberately not ours: an adapter has to translate them, as with any provider.
"""

from enum import StrEnum

import msgspec


class PaymentStatus(StrEnum):
    """Where a payment stands at the simulated provider."""

    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    REVIEW = "review"
    AUTHORIZED = "authorized"
    PARTIALLY_CAPTURED = "partially_captured"
    CAPTURED = "captured"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"
    DECLINED = "declined"
    EXPIRED = "expired"


class OperationStatus(StrEnum):
    """Where a capture, void or refund stands."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Fault(StrEnum):
    """The ways in which a call can go wrong."""

    REFUSE = "refuse"  # a decline with a code
    INVALID = "invalid"  # 422, nothing done
    RATE_LIMIT = "rate_limit"  # 429 with Retry-After, nothing done
    ERROR_BEFORE = "error_before"  # 500, nothing done
    ERROR_AFTER = "error_after"  # done, then 500
    LOST_ANSWER = "lost_answer"  # done, then the connection is closed without an answer
    RESET_BEFORE = "reset_before"  # the connection is reset, nothing done
    RESET_AFTER = "reset_after"  # done, then the connection is reset
    TIMEOUT_BEFORE = "timeout_before"  # nothing done, never answers
    TIMEOUT_AFTER = "timeout_after"  # done, never answers
    SLOW = "slow"  # waits, then does it and answers
    DRIP = "drip"  # done, then the answer comes byte by byte
    MALFORMED = "malformed"  # done, then an answer that is not JSON
    WRONG_AMOUNT = "wrong_amount"  # done for another amount than asked


BEFORE = frozenset({Fault.INVALID, Fault.RATE_LIMIT, Fault.ERROR_BEFORE, Fault.RESET_BEFORE, Fault.TIMEOUT_BEFORE})


class Account(msgspec.Struct, kw_only=True):
    """A merchant's account at the simulated provider; several keys are valid while they are being rotated."""

    name: str
    secret_keys: list[str]
    webhook_secret: str
    webhook_urls: list[str] = []


class Card(msgspec.Struct, frozen=True):
    """What the provider tells about a card: never its number."""

    brand: str
    last4: str
    expiry: str
    fingerprint: str
    country: str


class Decline(msgspec.Struct, frozen=True):
    """Why the issuer or the provider said no."""

    code: str
    network_code: str
    message: str


class Payment(msgspec.Struct, kw_only=True):
    """A charge: authorised, then captured, given back or cancelled."""

    id: str
    account: str
    reference: str
    amount: int
    currency: str
    capture: bool
    status: PaymentStatus
    created_at: float
    due_at: float | None = None
    amount_captured: int = 0
    amount_refunded: int = 0
    amount_cancelled: int = 0
    asked_amount: int = 0
    capture_fails: str | None = None
    card: Card | None = None
    decline: Decline | None = None
    fee: int = 0
    return_url: str | None = None
    hosted: bool = False
    tries: int = 0
    description: str | None = None
    metadata: dict[str, str] = {}


class Operation(msgspec.Struct, kw_only=True):
    """A capture, void or refund of a payment."""

    id: str
    kind: str
    account: str
    payment: str
    reference: str
    amount: int
    currency: str
    status: OperationStatus
    created_at: float
    due_at: float | None = None
    fails_with: str | None = None
    fee: int = 0
    final: bool = False


class TransferStatus(StrEnum):
    """Where an order to a bank account stands."""

    ACCEPTED = "accepted"
    IN_TRANSIT = "in_transit"
    PAID = "paid"
    REFUSED = "refused"
    RETURNED = "returned"


class Transfer(msgspec.Struct, kw_only=True):
    """Money sent to a bank account; its reference is the sender's end-to-end id, and one id is one order for ever."""

    id: str
    account: str
    reference: str
    amount: int
    currency: str
    creditor: str
    number: str
    routing: str
    status: TransferStatus
    created_at: float
    ends_as: TransferStatus = TransferStatus.PAID
    code: str | None = None
    due_at: float | None = None
    paid_at: float | None = None
    returned_at: float | None = None


class Event(msgspec.Struct, kw_only=True):
    """Something that happened, to be told to the merchant's webhook address."""

    id: str
    account: str
    type: str
    object_id: str
    created_at: float
    body: str
    tries: int = 0
    delivered: bool = False


class Refusal(Exception):
    """The provider will not do this: an HTTP status, a code and a sentence."""

    def __init__(self, status: int, code: str, message: str, *, decline: Decline | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.decline = decline


DECLINES: dict[str, Decline] = {
    code: Decline(code, network, message)
    for code, network, message in (
        ("insufficient_funds", "51", "Insufficient funds."),
        ("generic_decline", "05", "The card was declined."),
        ("do_not_honor", "05", "The issuer does not honour this card."),
        ("lost_card", "41", "The card was reported lost."),
        ("stolen_card", "43", "The card was reported stolen."),
        ("pick_up_card", "04", "The card must be retained."),
        ("expired_card", "54", "The card has expired."),
        ("restricted_card", "62", "The card is restricted."),
        ("no_such_account", "14", "There is no such card account."),
        ("too_many_tries", "65", "The card was used too often."),
        ("try_again_later", "19", "The issuer asks to try again later."),
        ("issuer_unavailable", "91", "The issuer cannot be reached."),
        ("processing_error", "96", "The payment could not be processed."),
        ("suspected_fraud", "59", "The payment looks like fraud."),
        ("stop_payment", "R0", "The cardholder stopped this payment."),
        ("incorrect_cvc", "82", "The security code is wrong."),
        ("incorrect_number", "14", "The card number is wrong."),
        ("challenge_failed", "1A", "The buyer could not be authenticated."),
        ("cancelled_by_buyer", "", "The buyer left the payment page."),
        ("session_timed_out", "", "The payment page was open for too long."),
    )
}

# 100.51 and the like: the cents are the response code of the card network.
AMOUNTS: dict[int, str] = {
    10_000 + int(decline.network_code): decline.code for decline in reversed(DECLINES.values()) if decline.network_code.isdecimal()
}

BRANDS: dict[str, Card] = {
    "visa": Card("visa", "4242", "08/2031", "fp_visa_4242", "DE"),
    "mastercard": Card("mastercard", "4444", "11/2030", "fp_mc_4444", "FR"),
    "amex": Card("amex", "0005", "02/2032", "fp_amex_0005", "US"),
}


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """What a test token or test card does."""

    card: Card
    decline: str | None = None
    challenge: bool = False
    review: bool = False
    processing: bool = False
    capture_fails: str | None = None
    fault: Fault | None = None


# What follows the brand in a token: tok_visa_lost_card, tok_mastercard_timeout …
FAULT_SUFFIXES: dict[str, Fault] = {
    "timeout": Fault.TIMEOUT_BEFORE,
    "timeout_after_success": Fault.TIMEOUT_AFTER,
    "unknown_after_success": Fault.LOST_ANSWER,
    "slow": Fault.SLOW,
    "drip": Fault.DRIP,
    "error500_before": Fault.ERROR_BEFORE,
    "error500_after": Fault.ERROR_AFTER,
    "reset": Fault.RESET_BEFORE,
    "reset_after": Fault.RESET_AFTER,
    "rate_limited": Fault.RATE_LIMIT,
    "invalid": Fault.INVALID,
    "malformed": Fault.MALFORMED,
    "wrong_amount": Fault.WRONG_AMOUNT,
}


def behaviour(token: str) -> Behaviour:
    """Read a test token; an unknown one is refused."""
    word, _, rest = token.partition("_")
    brand, _, suffix = rest.partition("_")
    if word != "tok" or brand not in BRANDS:
        raise Refusal(422, "token_unknown", f"There is no token {token[:80]!r}.")
    card = BRANDS[brand]
    code = suffix.removeprefix("declined_") if suffix != "declined" else "generic_decline"
    if code in DECLINES:
        return Behaviour(card=card, decline=code)
    if suffix in FAULT_SUFFIXES:
        return Behaviour(card=card, fault=FAULT_SUFFIXES[suffix])
    match suffix:
        case "":
            return Behaviour(card=card)
        case "3ds_required":
            return Behaviour(card=card, challenge=True)
        case "3ds_then_declined":
            return Behaviour(card=card, challenge=True, decline="insufficient_funds")
        case "review":
            return Behaviour(card=card, review=True)
        case "processing":
            return Behaviour(card=card, processing=True)
        case "capture_fails":
            return Behaviour(card=card, capture_fails="expired_card")
        case _:
            raise Refusal(422, "token_unknown", f"There is no token {token[:80]!r}.")


# Test cards of the hosted page; any expiry in the future and any security code do.
CARDS: dict[str, str] = {
    "4242424242424242": "tok_visa",
    "5555555555554444": "tok_mastercard",
    "378282246310005": "tok_amex",
    "4000002500003155": "tok_visa_3ds_required",
    "4000008400001629": "tok_visa_3ds_then_declined",
    "4000000000009995": "tok_visa_insufficient_funds",
    "4000000000000002": "tok_visa_declined",
    "4000000000009987": "tok_visa_lost_card",
    "4000000000009979": "tok_visa_stolen_card",
    "4000000000000069": "tok_visa_expired_card",
    "4000000000000127": "tok_visa_incorrect_cvc",
    "4100000000000019": "tok_visa_suspected_fraud",
    "4000000000009235": "tok_visa_review",
    "4000000000000341": "tok_visa_capture_fails",
}
CHALLENGE_CODE = "123456"


def card_for(number: str, token: str) -> Card:
    """The summary kept of a test card: its last four digits, not the brand's usual ones."""
    base = behaviour(token).card
    return Card(base.brand, number[-4:], base.expiry, f"fp_{base.brand}_{number[-4:]}", base.country)
