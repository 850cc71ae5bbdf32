"""What crosses the edge about API keys."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec


class KeyRow(msgspec.Struct, kw_only=True):
    id: str
    name: str
    prefix: str
    state: str
    scopes: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class KeyListPage(msgspec.Struct, kw_only=True):
    keys: list[KeyRow]
    is_sandbox: bool
    may_change: bool


class KeyForm(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    scopes: list[str] = []
    expires: Literal["30", "90", "365", "never"] = "90"


class KeyNewPage(msgspec.Struct, kw_only=True):
    scopes: list[tuple[str, str]]
    is_sandbox: bool


class KeyShownPage(msgspec.Struct, kw_only=True):
    name: str
    secret: str


class RevokeForm(msgspec.Struct):
    name: str = ""


class RevokePage(msgspec.Struct, kw_only=True):
    key: KeyRow
