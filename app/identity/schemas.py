"""What crosses the edge about people: the forms of sign-in and security, and their pages."""

from datetime import datetime
from typing import Annotated

import msgspec

from app.core import mail
from app.identity.domain import Density, Theme

Password = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Code = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class SignInForm(msgspec.Struct):
    email: Annotated[str, msgspec.Meta(min_length=1, max_length=254)]
    password: Password
    next: str = "/"


class CodeForm(msgspec.Struct):
    code: Code
    next: str = "/"


class PasswordForm(msgspec.Struct):
    current_password: Password
    password: Password
    code: Code


class ForgottenForm(msgspec.Struct):
    email: Annotated[str, msgspec.Meta(min_length=1, max_length=254)]


class ForgottenPage(msgspec.Struct, kw_only=True):
    asked: str = ""


class ResetForm(msgspec.Struct):
    password: Password


class ResetPage(msgspec.Struct, kw_only=True):
    key: str


class PasskeyForm(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]


class PasskeyPage(msgspec.Struct, kw_only=True):
    name: str


class PasskeyRow(msgspec.Struct, kw_only=True):
    id: str
    name: str
    created_at: datetime
    last_used_at: datetime | None


class EventRow(msgspec.Struct, kw_only=True):
    at: datetime
    what: str
    note: str
    device: str
    address: str


class ThemeForm(msgspec.Struct):
    theme: Theme
    next: str = "/"


class DensityForm(msgspec.Struct):
    density: Density
    next: str = "/security"


class ProviderChoice(msgspec.Struct, kw_only=True):
    key: str
    name: str


class SignInPage(msgspec.Struct, kw_only=True):
    next: str = "/"
    providers: list[ProviderChoice] = []
    connecting: bool = False
    mail: bool = msgspec.field(default_factory=mail.possible)


class SecondFactorPage(msgspec.Struct, kw_only=True):
    email: str
    app: bool = True
    passkeys: bool = False
    next: str = "/"


class EnrolPage(msgspec.Struct, kw_only=True):
    email: str
    secret: str
    qr_svg: str
    next: str = "/"


class AppPage(msgspec.Struct, kw_only=True):
    secret: str
    qr_svg: str
    sealed: str


class RecoveryCodesPage(msgspec.Struct, kw_only=True):
    codes: list[str]
    next: str


class SessionRow(msgspec.Struct, kw_only=True):
    id: str
    device: str
    address: str
    started_at: datetime
    last_seen_at: datetime
    ends_at: datetime
    complete: bool
    current: bool


class SecurityPage(msgspec.Struct, kw_only=True):
    email: str
    password_changed_at: datetime
    totp_enrolled_at: datetime | None
    passkeys: list[PasskeyRow]
    events: list[EventRow]
    codes_left: int
    density: str
    sessions: list[SessionRow]
    idle_minutes: int
    acts: bool
    absolute_hours: int


class PasswordPage(msgspec.Struct, kw_only=True):
    email: str


class IdentityRow(msgspec.Struct, kw_only=True):
    id: str
    provider: str
    email: str
    connected_at: datetime
    last_used_at: datetime | None


class ConnectionsPage(msgspec.Struct, kw_only=True):
    rows: list[IdentityRow]
    providers: list[ProviderChoice]


class ConfirmPage(msgspec.Struct, kw_only=True):
    provider: str
    email: str
    account: str


class ProviderTroublePage(msgspec.Struct, kw_only=True):
    provider: str


class SignedOutPage(msgspec.Struct, kw_only=True):
    provider: str
    url: str


class LogoutForm(msgspec.Struct):
    logout_token: Annotated[str, msgspec.Meta(min_length=1, max_length=16_384)]
