"""What crosses the edge about single sign-on of a merchant."""

from datetime import datetime
from typing import Annotated

import msgspec

from app.tenancy.schemas import RoleOption

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=400)]


class SsoForm(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    issuer: Line
    client_id: Line
    scopes: Line
    client_secret: Annotated[str, msgspec.Meta(max_length=400)] = ""
    secret_in_body: bool = False
    accept_mfa: bool = False
    mfa_acr: Annotated[str, msgspec.Meta(max_length=400)] = ""
    default_role: Annotated[str, msgspec.Meta(max_length=40)] = ""
    role_rules: str = ""


class DomainForm(msgspec.Struct):
    domain: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]


class EnforceForm(msgspec.Struct):
    owner: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]


class SsoDomainRow(msgspec.Struct, kw_only=True):
    id: str
    domain: str
    proven_at: datetime | None
    record_name: str
    record_text: str


class SsoRow(msgspec.Struct, kw_only=True):
    id: str
    name: str
    status: str
    issuer: str
    enforced: bool
    domains: list[str]
    unproven: int


class SsoListPage(msgspec.Struct, kw_only=True):
    rows: list[SsoRow]
    is_sandbox: bool


class SsoProviderPage(msgspec.Struct, kw_only=True):
    id: str
    name: str
    status: str
    actions: list[str]
    issuer: str
    client_id: str
    fingerprint: str
    secret_in_body: bool
    scopes: str
    accept_mfa: bool
    mfa_acr: list[str]
    default_role: str
    rules: list[tuple[str, str]]
    domains: list[SsoDomainRow]
    enforced: bool
    break_glass: str
    connected: int
    tested_at: datetime | None
    test_problem: str
    redirect_uri: str
    signed_out_uri: str
    notice_uri: str
    updated_at: datetime


class SsoFormPage(msgspec.Struct, kw_only=True):
    id: str | None
    form: SsoForm
    fingerprint: str
    roles: list[RoleOption]

    @property
    def action(self) -> str:
        """Where the form is sent."""
        return "/single-sign-on" if self.id is None else f"/single-sign-on/{self.id}/settings"


class SsoEnforcePage(msgspec.Struct, kw_only=True):
    id: str
    name: str
    domains: list[str]
    owners: list[tuple[str, str, str]]
    break_glass: str
    stays: bool


class SsoRemovePage(msgspec.Struct, kw_only=True):
    id: str
    name: str
    connected: int
