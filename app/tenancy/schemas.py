"""What crosses the edge about merchants, teams and the audit trail."""

from datetime import datetime
from typing import Annotated

import msgspec

from app.core.money import Money
from app.core.paging import Page
from app.tenancy.domain import Role

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]


class MemberRow(msgspec.Struct, kw_only=True):
    id: str
    name: str
    email: str
    initials: str
    role: Role
    enrolled: bool
    since: datetime
    me: bool


class TeamPage(msgspec.Struct, kw_only=True):
    members: list[MemberRow]
    may_change: bool


class RoleOption(msgspec.Struct, frozen=True):
    value: str
    label: str
    summary: str


class MemberForm(msgspec.Struct):
    email: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
    role: Role


class RoleForm(msgspec.Struct):
    role: Role


class AddMemberPage(msgspec.Struct, kw_only=True):
    roles: list[RoleOption]
    merchant: str


class ChangeRolePage(msgspec.Struct, kw_only=True):
    member: MemberRow
    roles: list[RoleOption]


class PermissionRow(msgspec.Struct, kw_only=True):
    name: str
    meaning: str
    granted: list[bool]


class RolesPage(msgspec.Struct, kw_only=True):
    roles: list[RoleOption]
    permissions: list[PermissionRow]
    sandbox: bool


class MerchantForm(msgspec.Struct):
    name: Name
    legal_name: Annotated[str, msgspec.Meta(max_length=200)] = ""
    website: Annotated[str, msgspec.Meta(max_length=200)] = ""
    support_email: Annotated[str, msgspec.Meta(max_length=254)] = ""
    timezone: Annotated[str, msgspec.Meta(min_length=1, max_length=60)] = "UTC"


class MerchantPage(msgspec.Struct, kw_only=True):
    id: str
    name: str
    legal_name: str
    website: str
    support_email: str
    timezone: str
    timezones: list[tuple[str, str]]
    is_sandbox: bool
    since: datetime
    may_change: bool


class AuditRow(msgspec.Struct, kw_only=True):
    id: str
    at: datetime
    actor: str
    actor_kind: str
    action: str
    object_type: str
    object_id: str | None
    address: str | None
    request_id: str
    reason: str | None
    before: dict[str, object] | None
    after: dict[str, object] | None


class AuditPage(msgspec.Struct, kw_only=True):
    entries: Page[AuditRow]
    actions: list[tuple[str, str]]
    action: str
    actor: str
    q: str
    next_href: str | None
    previous_href: str | None


class FreshnessRow(msgspec.Struct, frozen=True, kw_only=True):
    """How old a second factor may be for acts under one permission."""

    permission: str
    meaning: str
    group: str
    minutes: int
    declared: int
    choices: list[tuple[int, str]]


class StepUpRulesPage(msgspec.Struct, frozen=True, kw_only=True):
    rows: list[FreshnessRow]
    limits: list[Money]
    currencies: list[str]
    may_change: bool


class MoneyLimitForm(msgspec.Struct, frozen=True):
    limit: Money
