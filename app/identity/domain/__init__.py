"""People and how they prove who they are: the pure rules of passwords, codes and waiting."""

import re
import secrets
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

import pyotp

from app.core.errors import AppError, Conflict, Invalid, NotFound
from app.core.events import Event
from app.identity.domain.passwords import (
    MAX_PASSWORD,
    MIN_PASSWORD,
    PasswordUnfit,
    check_password,
)

__all__ = ["MAX_PASSWORD", "MIN_PASSWORD", "PasswordUnfit", "check_password"]

ISSUER = "Countinghouse"
STEP_SECONDS = 30
USED_PASSWORDS = 4
"""So many last passwords, the present one among them, are not taken again."""
RECOVERY_CODES = 10
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")


class PersonStatus(StrEnum):
    ACTIVE = "active"
    UNUSED = "unused"
    DISABLED = "disabled"


class Factor(StrEnum):
    TOTP = "totp"
    PASSKEY = "passkey"
    RECOVERY_CODE = "recovery_code"
    PROVIDER = "provider"
    MERCHANTS_PROVIDER = "merchants_provider"


class Theme(StrEnum):
    AUTO = "auto"
    LIGHT = "light"
    DARK = "dark"


class Density(StrEnum):
    COMPACT = "compact"
    COMFORTABLE = "comfortable"


class PersonNotFound(NotFound):
    """There is no person with this address here."""

    code = "person_not_found"
    title = "There is no such person"


class PersonExists(Conflict):
    """Somebody with this e-mail address is here already."""

    code = "person_exists"
    title = "This e-mail address is taken"


class SignInRefused(Invalid):
    """The e-mail address or the password is wrong; which of them is not said."""

    code = "sign_in_refused"
    title = "That did not work"


class AccountUnused(Invalid):
    """Nobody signed in with this account for a long time, so it is shut; an owner or admin of the team lets its person in again."""

    code = "account_unused"
    title = "This account was not used for a long time"


class CodeRefused(Invalid):
    """The code is wrong, too old, or was used already."""

    code = "code_refused"
    title = "That code was not accepted"


class TooManyTries(AppError):
    """Too many wrong tries; the next one is possible after a pause that grows and ends by itself."""

    status = 429
    code = "too_many_tries"
    title = "Too many tries"


class AlreadyEnrolled(Conflict):
    """A second factor is set up already."""

    code = "already_enrolled"
    title = "The second factor is set up already"


class ResetLinkInvalid(Invalid):
    """The link for a new password was used already, has expired, or was never sent."""

    code = "reset_link_invalid"
    title = "This link does not work any more"


class PasswordResetAsked(Event, frozen=True, kw_only=True):
    """Somebody asked for a new password for an e-mail address, whether or not there is such a person."""

    topic: ClassVar[str] = "person.password_reset_asked"
    email: str
    address: str
    user_agent: str


class PasswordRefused(Event, frozen=True, kw_only=True):
    """A wrong password was entered for an e-mail address, whether or not there is such a person."""

    topic: ClassVar[str] = "person.password_refused"
    email: str
    address: str
    user_agent: str


def normalised(email: str) -> str:
    """The e-mail address as it is compared: without surrounding space, without regard to case."""
    return email.strip().casefold()


def check_email(email: str) -> str:
    """The address as written, if it can be one."""
    email = email.strip()
    if len(email) > 254 or not _EMAIL.fullmatch(email):
        raise Invalid("Enter an e-mail address like name@example.com.", fields={"email": "Enter an e-mail address like name@example.com."})
    return email


def throttle_pause(failures: int) -> timedelta:
    """How long the next try must wait: nothing for four, then doubling seconds, half an hour from the tenth on."""
    if failures < 5:
        return timedelta(0)
    return timedelta(minutes=30) if failures >= 10 else timedelta(seconds=2 ** (failures - 3))


def new_totp_secret() -> str:
    """A new secret for an authenticator app: 160 random bits in base 32."""
    return pyotp.random_base32(32)


def totp_address(secret: str, *, email: str) -> str:
    """What the QR code holds for the authenticator app."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def totp_step(secret: str, code: str, at: datetime) -> int | None:
    """The time step whose code this is, allowing one step of clock drift either way; none when the code is wrong.

    Whether the step is still unused is for the database to say: the same code must not work twice.
    """
    digits = re.sub(r"\s", "", code)
    if not re.fullmatch(r"[0-9]{6}", digits):
        return None
    current, totp = int(at.timestamp()) // STEP_SECONDS, pyotp.TOTP(secret)
    found = None
    for step in (current - 1, current, current + 1):
        if secrets.compare_digest(totp.generate_otp(step), digits):
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Ten codes of 118 random bits each, for the day the phone is lost."""
    return ["-".join("".join(secrets.choice(_ALPHABET) for _ in range(6)) for _ in range(4)) for _ in range(RECOVERY_CODES)]


def recovery_code_text(code: str) -> str:
    """A recovery code as it is compared: however it was typed."""
    return re.sub(r"[^a-z0-9]", "", code.lower())


def initials(name: str) -> str:
    """One or two letters that stand for a name."""
    words = [word for word in name.split() if word[:1].isalnum()]
    return ("".join(word[0] for word in (words[:1] + words[-1:] if len(words) > 1 else words)) or "?").upper()
