"""What crosses the edge about rules of approval."""

from typing import Annotated

import msgspec

from app.approvals.domain import AboveLimit, Act
from app.core.money import Money


class RuleRow(msgspec.Struct, frozen=True, kw_only=True):
    start: Money
    approvers: int


class ApprovalRulesPage(msgspec.Struct, frozen=True, kw_only=True):
    rules: list[RuleRow]
    write_offs: list[RuleRow]
    permission: str
    permissions: list[tuple[str, str]]
    above_limit: AboveLimit
    currencies: list[str]
    may_change: bool


class RuleForm(msgspec.Struct, frozen=True, kw_only=True):
    start: Money
    approvers: Annotated[int, msgspec.Meta(ge=0, le=5)]
    act: Act = Act.REFUND


class ApprovalPolicyForm(msgspec.Struct, frozen=True, kw_only=True):
    permission: Annotated[str, msgspec.Meta(max_length=60)]
    above_limit: AboveLimit
