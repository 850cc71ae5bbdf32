"""What crosses the edge about invitations."""

from datetime import datetime
from typing import Annotated

import msgspec

from app.core import mail
from app.tenancy.schemas import Name, RoleOption, RoleText


class InvitationForm(msgspec.Struct):
    email: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
    role: RoleText


class JoinForm(msgspec.Struct):
    name: Name
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class InvitationRow(msgspec.Struct, kw_only=True):
    id: str
    email: str
    role: str
    status: str
    invited_by: str
    sent_at: datetime
    expires_at: datetime
    may_change: bool


class InvitationsPage(msgspec.Struct, kw_only=True):
    invitations: list[InvitationRow]
    may_change: bool
    mail: bool = msgspec.field(default_factory=mail.possible)


class InvitePage(msgspec.Struct, kw_only=True):
    merchant: str
    roles: list[RoleOption]


class InvitedPage(msgspec.Struct, kw_only=True):
    """What somebody sees who follows the link: ``known`` when they have an account, ``me`` when they are signed in with it."""

    key: str
    merchant: str
    role: str
    email: str
    known: bool
    me: str | None
