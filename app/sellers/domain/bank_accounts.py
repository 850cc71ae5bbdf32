"""Sellers' bank accounts: what a number must look like, who may change where money goes, and when a change begins to count. Pure."""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, NewType
from uuid import UUID

import msgspec
import schwifty
from schwifty.exceptions import SchwiftyException
from stdnum import iban
from stdnum.exceptions import ValidationError
from stdnum.us import rtn

from app.core.errors import Conflict, Forbidden, Invalid, NotFound
from app.core.events import Event
from app.core.ids import SellerId
from app.core.state import Machine

BankAccountId = NewType("BankAccountId", UUID)

COOL_OFF = timedelta(hours=24)
"""A new account receives nothing for a day after it was approved: long enough for its owner to hear of a change and object."""


class BankAccountKind(StrEnum):
    """How an account is addressed."""

    IBAN = "iban"
    US = "us"
    UK = "uk"


class BankAccountStatus(StrEnum):
    PROPOSED = "proposed"
    ACTIVE = "active"
    REJECTED = "rejected"
    RETIRED = "retired"


B = BankAccountStatus
BANK_ACCOUNT = Machine(
    "bank account",
    states=BankAccountStatus,
    initial=B.PROPOSED,
    transitions={
        "approve": ((B.PROPOSED,), B.ACTIVE),
        "reject": ((B.PROPOSED,), B.REJECTED),
        "retire": ((B.ACTIVE,), B.RETIRED),
    },
)


class Verification(StrEnum):
    """Whether somebody made sure that the account is the seller's."""

    UNVERIFIED = "unverified"
    VERIFIED = "verified"
    FAILED = "failed"


V = Verification
VERIFICATION = Machine(
    "verification",
    states=Verification,
    initial=V.UNVERIFIED,
    transitions={
        "verify": ((V.UNVERIFIED, V.FAILED), V.VERIFIED),
        "fail": ((V.UNVERIFIED, V.VERIFIED), V.FAILED),
    },
)


class VerifiedBy(StrEnum):
    """How somebody made sure."""

    BANK_LETTER = "bank_letter"
    CALL_BACK = "call_back"
    TEST_TRANSFER = "test_transfer"
    NAME_CHECK = "name_check"


class BankAccountNotFound(NotFound):
    """The bank account does not exist, or belongs to another merchant."""

    code = "bank_account_not_found"
    title = "There is no such bank account"


class BankAccountInvalid(Invalid):
    """The number, the bank's code or the currency of the account is not right."""

    code = "bank_account_invalid"
    title = "This bank account is not valid"


class BankAccountNeedsSecondPerson(Forbidden):
    """Who proposed a bank account cannot approve it."""

    code = "bank_account_needs_second_person"
    title = "Somebody else has to approve this bank account"


class BankAccountNeedsPerson(Forbidden):
    """Bank accounts are proposed and approved by people, never by a program."""

    code = "bank_account_needs_person"
    title = "A person has to do this"


class BankAccountIsStale(Conflict):
    """The bank account is not what the approver was shown."""

    code = "bank_account_is_stale"
    title = "The bank account changed meanwhile"


class BankAccountProposalOpen(Conflict):
    """A proposal for this seller and currency waits already."""

    code = "bank_account_proposal_open"
    title = "A change of this bank account waits already"


class BankAccountEvent(Event, frozen=True):
    """Something about a seller's bank account; the number itself never travels."""

    bank_account_id: str
    seller_id: str
    currency: str
    last4: str


class BankAccountProposed(BankAccountEvent, frozen=True):
    """Somebody proposed where a seller's money shall go."""

    topic: ClassVar[str] = "seller.bank_account_proposed"


class BankAccountChanged(BankAccountEvent, frozen=True):
    """From the end of the cool-off on, a seller's money goes to this account: tell the seller, who may object until then."""

    topic: ClassVar[str] = "seller.bank_account_changed"
    usable_from: str


class BankAccountRetired(BankAccountEvent, frozen=True):
    """A seller's bank account is used no more."""

    topic: ClassVar[str] = "seller.bank_account_retired"


class BankDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A checked account number with what it tells about its bank."""

    kind: BankAccountKind
    country: str
    currency: str
    number: str
    routing: str = ""
    bic: str = ""
    bank_name: str = ""

    @property
    def last4(self) -> str:
        """What may be shown of the number."""
        return self.number[-4:]

    @property
    def canonical(self) -> str:
        """The account as one text, equal for equal accounts however they were typed."""
        return f"{self.kind}:{self.routing}:{self.number}"


def read_details(kind: BankAccountKind, *, number: str, routing: str, currency: str) -> BankDetails:
    """Check an account as typed; everything that is wrong is said at its field. ``routing`` is the BIC, the ABA number or the sort code."""
    number, routing = (re.sub(r"[\s-]", "", text).upper() for text in (number, routing))
    readers = {BankAccountKind.IBAN: _iban, BankAccountKind.US: _us, BankAccountKind.UK: _uk}
    details, problems = readers[kind](number, routing, currency)
    if problems or details is None:
        raise BankAccountInvalid("Check the bank account.", fields=problems)
    return details


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """A seller's account as payouts see it: everything but the number."""

    id: BankAccountId
    seller_id: SellerId
    currency: str
    kind: BankAccountKind
    holder_name: str
    country: str
    bic: str
    routing: str
    bank_name: str
    last4: str
    fingerprint: str
    status: BankAccountStatus
    verification: Verification
    requested_by: UUID
    decided_at: datetime | None
    usable_from: datetime | None

    @property
    def is_in_use(self) -> bool:
        """Whether the account is still the seller's, and verified."""
        return self.status is BankAccountStatus.ACTIVE and self.verification is Verification.VERIFIED


Read = tuple[BankDetails | None, dict[str, str]]


def _iban(number: str, bic: str, currency: str) -> Read:
    problems = {}
    try:
        iban.validate(number)
    except ValidationError:
        problems["number"] = "This is not a valid IBAN: a letter or digit is missing or mistyped."
    try:
        known = None if problems else schwifty.IBAN(number, allow_invalid=True).bic
        given = schwifty.BIC(bic) if bic else None
    except SchwiftyException:
        return None, problems | {"routing": "This is not a valid BIC; it has 8 or 11 letters and digits."}
    if problems:
        return None, problems
    found = given or known
    if given is not None and given.country_code != number[:2]:
        return None, {"routing": "The BIC is of a bank in another country than the IBAN."}
    names = [] if found is None else found.bank_names
    return BankDetails(
        kind=BankAccountKind.IBAN,
        country=number[:2],
        currency=currency,
        number=number,
        bic=str(found) if found else "",
        bank_name=names[0] if names else "",
    ), {}


def _us(number: str, routing: str, currency: str) -> Read:
    problems = {}
    if not re.fullmatch(r"[0-9]{4,17}", number):
        problems["number"] = "A US account number has 4 to 17 digits."
    try:
        rtn.validate(routing)
    except ValidationError:
        problems["routing"] = "This is not a valid ABA routing number: it has nine digits, the last of which checks the others."
    if currency != "USD":
        problems["currency"] = "A US account is paid in USD."
    if problems:
        return None, problems
    return BankDetails(kind=BankAccountKind.US, country="US", currency=currency, number=number, routing=routing), {}


def _uk(number: str, routing: str, currency: str) -> Read:
    problems = {}
    if not re.fullmatch(r"[0-9]{6,8}", number):
        problems["number"] = "A UK account number has 8 digits."
    if not re.fullmatch(r"[0-9]{6}", routing):
        problems["routing"] = "A sort code has six digits, like 20-00-00."
    if currency != "GBP":
        problems["currency"] = "A UK account is paid in GBP; for other currencies use its IBAN."
    if problems:
        return None, problems
    return BankDetails(kind=BankAccountKind.UK, country="GB", currency=currency, number=number.zfill(8), routing=routing), {}


def digest_of(seen: Sequence[str]) -> str:
    """What an approver was shown, as a hash; it changes with anything that was shown."""
    return hashlib.sha256(msgspec.json.encode(list(seen))).hexdigest()
