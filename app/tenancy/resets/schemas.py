"""What crosses the edge about resets of second factors."""

from datetime import datetime
from typing import Annotated

import msgspec


class ResetForm(msgspec.Struct):
    member_id: str
    reason: Annotated[str, msgspec.Meta(min_length=3, max_length=200)]


class ResetRow(msgspec.Struct, kw_only=True):
    id: str
    name: str
    status: str
    reason: str
    requested_by: str
    requested_at: datetime
    due_at: datetime | None
    may_approve: bool
    may_cancel: bool


class ResetsPage(msgspec.Struct, kw_only=True):
    resets: list[ResetRow]
    members: list[tuple[str, str]]
    mine: bool
