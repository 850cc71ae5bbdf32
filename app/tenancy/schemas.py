"""What crosses the edge about merchants and teams."""

from datetime import datetime
from typing import Annotated

import msgspec

from app.core import mail
from app.core.money import Money

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]


class MemberRow(msgspec.Struct, kw_only=True):
    id: str
    name: str
    email: str
    initials: str
    role: str
    role_name: str
    enrolled: bool
    unused: bool
    since: datetime
    me: bool


class TeamPage(msgspec.Struct, kw_only=True):
    members: list[MemberRow]
    may_change: bool
    mail: bool = msgspec.field(default_factory=mail.possible)


class RoleOption(msgspec.Struct, frozen=True):
    value: str
    label: str
    summary: str


RoleText = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]


class RoleForm(msgspec.Struct):
    role: RoleText


class ChangeRolePage(msgspec.Struct, kw_only=True):
    member: MemberRow
    roles: list[RoleOption]


class PermissionRow(msgspec.Struct, kw_only=True):
    name: str
    meaning: str
    granted: list[bool]


class PermissionGroup(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    permissions: list[PermissionRow]


class RoleRow(msgspec.Struct, frozen=True, kw_only=True):
    value: str
    label: str
    summary: str
    members: int
    is_own: bool
    permissions: int


class RolesPage(msgspec.Struct, kw_only=True):
    roles: list[RoleRow]
    groups: list[PermissionGroup]
    sandbox: bool
    may_change: bool


class OwnRoleForm(msgspec.Struct, kw_only=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    summary: Annotated[str, msgspec.Meta(max_length=200)] = ""
    permissions: list[str] = []


class RoleFormPage(msgspec.Struct, frozen=True, kw_only=True):
    """The form of a role: `left_out` is what a copied role allows and the copier may not pass on."""

    action: str
    name: str
    summary: str
    held: list[str]
    groups: list[tuple[str, list[tuple[str, str]]]]
    left_out: list[str]


class LimitRow(msgspec.Struct, frozen=True, kw_only=True):
    permission: str
    meaning: str
    most: Money


class LimitForm(msgspec.Struct, frozen=True, kw_only=True):
    permission: str
    most: Money


class LimitGoneForm(msgspec.Struct, frozen=True, kw_only=True):
    permission: str
    currency: str


class MemberPage(msgspec.Struct, frozen=True, kw_only=True):
    member: MemberRow
    permissions: list[tuple[str, list[str]]]
    limits: list[LimitRow]
    limitable: list[tuple[str, str]]
    currencies: list[str]
    last_seen_at: datetime | None
    may_change: bool


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
