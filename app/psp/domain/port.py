"""The port every payment service provider is plugged into.

Pure: no network, no database. An adapter translates a provider's own words into the words of this module, so that
payments never has to know which provider it talks to.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import BinaryIO, Protocol, runtime_checkable

import msgspec

from app.core import errors
from app.core.money import Money


class Outcome(StrEnum):
    """What became of one call to a provider: five answers, not two."""

    SUCCEEDED = "succeeded"
    PENDING = "pending"
    DECLINED = "declined"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


class Operation(StrEnum):
    """The verbs a provider understands."""

    AUTHORISE = "authorise"
    START_REDIRECT = "start_redirect"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"
    LOOKUP = "lookup"


class Capability(StrEnum):
    """What a provider can do; a missing one means its button is not shown."""

    AUTHORISE = "authorise"
    REDIRECT = "redirect"
    MANUAL_CAPTURE = "manual_capture"
    PARTIAL_CAPTURE = "partial_capture"
    MULTIPLE_CAPTURES = "multiple_captures"
    VOID = "void"
    REFUND = "refund"
    PARTIAL_REFUND = "partial_refund"
    LOOKUP = "lookup"
    WEBHOOKS = "webhooks"
    REPORTS = "reports"
    BALANCE = "balance"


class ReportKind(StrEnum):
    """What a provider offers to be fetched: what it settled, or the statement of the account it pays to."""

    SETTLEMENT = "settlement"
    STATEMENT = "statement"


class ProviderStatus(StrEnum):
    """Where the payment stands in the provider's own books, in one vocabulary for all of them."""

    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    IN_REVIEW = "in_review"
    AUTHORISED = "authorised"
    PARTIALLY_CAPTURED = "partially_captured"
    CAPTURED = "captured"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    VOIDED = "voided"
    FAILED = "failed"
    EXPIRED = "expired"


class EventKind(StrEnum):
    """What a provider's webhook reports, in one vocabulary for all of them."""

    PAYMENT_ACTION = "payment.requires_action"
    PAYMENT_REVIEW = "payment.in_review"
    PAYMENT_AUTHORISED = "payment.authorised"
    PAYMENT_CAPTURED = "payment.captured"
    PAYMENT_FAILED = "payment.failed"
    PAYMENT_EXPIRED = "payment.expired"
    PAYMENT_VOIDED = "payment.voided"
    CAPTURE_SUCCEEDED = "capture.succeeded"
    CAPTURE_FAILED = "capture.failed"
    REFUND_SUCCEEDED = "refund.succeeded"
    REFUND_FAILED = "refund.failed"
    PAYOUT = "payout.updated"
    OTHER = "other"


class Category(StrEnum):
    """What kind of no it was: decides who has to do something about it."""

    SOFT = "soft"
    HARD = "hard"
    TECHNICAL = "technical"
    NEEDS_CUSTOMER = "needs_customer"
    FRAUD = "fraud"
    CONFIGURATION = "configuration"


# Our unified codes, by category. Adapters map a provider's codes to these; the raw code stays in the evidence.
CODES: dict[Category, str] = {
    Category.SOFT: "insufficient_funds velocity_exceeded try_again_later",
    Category.HARD: "do_not_honor generic_decline lost_card stolen_card pick_up_card expired_card restricted_card"
    " invalid_account stop_payment currency_not_supported",
    Category.FRAUD: "fraud_suspected",
    Category.NEEDS_CUSTOMER: "incorrect_number incorrect_cvc authentication_required authentication_failed buyer_cancelled session_expired",
    Category.TECHNICAL: "processing_error issuer_unavailable connection_refused connect_timeout name_not_resolved"
    " tls_failed rate_limited read_timeout deadline_exceeded connection_lost server_error malformed_answer in_progress too_large",
    Category.CONFIGURATION: "address_refused credentials_refused invalid_request idempotency_key_reused not_found"
    " amount_too_large not_allowed_now",
}
CATEGORIES: dict[str, Category] = {code: category for category, codes in CODES.items() for code in codes.split()}


class MethodSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What may be kept about the buyer's means of payment: never its number."""

    kind: str = "card"
    brand: str | None = None
    last4: str | None = None
    expiry: str | None = None
    fingerprint: str | None = None
    country: str | None = None


class Instruction(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a provider is asked to do, under a reference and an idempotency key that were stored before. A capture that ``is_final`` is the last
    one: what it leaves of the authorised amount is released to the buyer.
    """

    amount: Money
    reference: str
    idempotency_key: str
    token: str | None = None
    return_url: str | None = None
    capture: bool = False
    is_final: bool = False
    original: str | None = None
    description: str | None = None
    metadata: dict[str, str] = {}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider answered, translated; the evidence is redacted and safe to store."""

    outcome: Outcome
    provider_reference: str | None = None
    code: str | None = None
    network_code: str | None = None
    message: str | None = None
    redirect_url: str | None = None
    status: ProviderStatus | None = None
    amount: Money | None = None
    fee: Money | None = None
    method: MethodSummary | None = None
    retry_after: int | None = None
    evidence: dict[str, str] = {}
    latency_ms: int = 0

    @property
    def category(self) -> Category | None:
        """Say what kind of failure this is, or nothing when it is none."""
        if self.outcome in (Outcome.SUCCEEDED, Outcome.PENDING):
            return None
        fallback = Category.HARD if self.outcome is Outcome.DECLINED else Category.TECHNICAL
        return CATEGORIES.get(self.code or "", fallback)

    @property
    def retryable(self) -> bool:
        """Say whether the same request may be sent again without a person: never when it may have happened."""
        if self.outcome is Outcome.NOT_SENT:
            return self.category is Category.TECHNICAL
        return self.outcome is Outcome.DECLINED and self.category in (Category.SOFT, Category.TECHNICAL)

    @property
    def is_technical_failure(self) -> bool:
        """Say whether this counts against the provider's health: an issuer's no never does."""
        if self.outcome is Outcome.UNKNOWN:
            return True
        return self.outcome is Outcome.NOT_SENT and self.category is Category.TECHNICAL


class PspEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a provider told us by webhook."""

    provider_event_id: str
    kind: EventKind
    provider_reference: str
    our_reference: str | None
    amount: Money | None
    occurred_at: datetime
    payload: dict[str, str]


class ReportList(msgspec.Struct, frozen=True, kw_only=True):
    """The names of the reports a provider offers, oldest first; a name stands for the same report for ever."""

    outcome: Outcome
    names: tuple[str, ...] = ()
    code: str | None = None
    latency_ms: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of fetching one report: its bytes are where they were asked to be written when it succeeded, and nowhere otherwise."""

    outcome: Outcome
    code: str | None = None
    latency_ms: int = 0


@runtime_checkable
class ReportingAdapter(Protocol):
    """An adapter whose provider lets its reports be fetched; as honest about failures as any other call."""

    async def list_reports(self, kind: ReportKind, *, since: date) -> ReportList:
        """Ask which reports of finished days there are, from a day on."""

    async def fetch_report(self, kind: ReportKind, name: str, *, into: BinaryIO, most_bytes: int) -> Report:
        """Fetch one report, written as it comes; one with more bytes than may be is given up."""


class Owed(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider owes in one batch of its settlement, fees and refunds deducted: the open one that today's business goes into, or one
    that is closed and on its way to the bank or there.
    """

    batch: str
    amount: Money
    is_open: bool = False


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says it owes: every open batch, and the closed ones from the day on that was asked for; its reserve is not in it."""

    outcome: Outcome
    owed: tuple[Owed, ...] = ()
    code: str | None = None
    latency_ms: int = 0


@runtime_checkable
class BalanceAdapter(Protocol):
    """An adapter whose provider can be asked what it owes."""

    async def balance(self, *, since: date) -> Balance:
        """Ask what is owed: every open batch, and those that were closed on a day or later."""


class PspAdapter(Protocol):
    """How the house talks to any provider; an adapter keeps no state and never raises for the provider's misbehaviour."""

    @property
    def name(self) -> str: ...
    @property
    def capabilities(self) -> frozenset[Capability]: ...

    async def authorise(self, instruction: Instruction) -> Result:
        """Ask to reserve (or, with `capture`, to take) the amount on a tokenised method."""

    async def start_redirect(self, instruction: Instruction) -> Result:
        """Open the provider's hosted payment page; pending, with the address to send the buyer to."""

    async def capture(self, instruction: Instruction) -> Result:
        """Take an authorised amount, or a part of it; the final one releases the rest."""

    async def void(self, instruction: Instruction) -> Result:
        """Release what is authorised and not captured."""

    async def refund(self, instruction: Instruction) -> Result:
        """Give back a captured amount, or a part of it."""

    async def lookup(self, reference: str) -> Result:
        """Ask what became of our reference; not_sent means the provider certainly has no such operation."""

    async def ping(self) -> Result:
        """Make one harmless call that proves the address and the credentials."""

    def verify_webhook(self, raw: bytes, headers: Mapping[str, str]) -> list[PspEvent]:
        """Check the signature over the raw body and read its events; raises SignatureRejected."""

    async def fetch_event_object(self, event: PspEvent) -> Result:
        """Fetch the present state of what an event is about, for money is never believed from a webhook."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection needs to know; each provider's subclass generates its settings form."""

    api_base_url: str


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a connection's settings form."""

    name: str
    title: str
    description: str
    is_secret: bool
    is_required: bool


def settings_of(config: type[Config]) -> list[Setting]:
    """The settings form of a provider, read from its Config struct."""
    return [_setting(field) for field in msgspec.structs.fields(config)]


def is_secret(config: type[Config], name: str) -> bool:
    """Whether a setting is a credential: sealed, and never shown again."""
    return any(setting.name == name and setting.is_secret for setting in settings_of(config))


def _setting(field: msgspec.structs.FieldInfo) -> Setting:
    metas = [meta for meta in getattr(field.type, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]
    meta = metas[0] if metas else msgspec.Meta()
    return Setting(
        name=field.name,
        title=meta.title or field.name.replace("_", " ").capitalize(),
        description=meta.description or "",
        is_secret=bool((meta.extra or {}).get("secret")),
        is_required=field.required,
    )


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider declares itself: everything the console shows and the factory of its adapter."""

    name: str
    title: str
    monogram: str
    methods: tuple[str, ...]
    capabilities: frozenset[Capability]
    webhook_kinds: tuple[str, ...]
    config: type[Config]
    adapter: Callable[[Config], PspAdapter]


class ReportsNotOffered(errors.Conflict):
    code = "reports_not_offered"
    title = "This provider's reports cannot be fetched"


class SignatureRejected(errors.Invalid):
    code = "signature_rejected"
    title = "The signature does not match"
    status = 400
