"""What crosses the edge about approvals of every kind."""

from typing import Annotated, Literal
from urllib.parse import urlencode

import msgspec

from app.approvals.domain import Waiting
from app.core.money import Money
from app.core.paging import Page


class InboxPage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that waits for others, with what came of the last decision about several."""

    waiting: Page[Waiting]
    kinds: list[tuple[str, str, int]]
    kind: str
    results: list[tuple[str, str, bool, str]] = []
    may_ask: bool = False

    def href(self, *, after: str | None = None) -> str:
        """This list from another place on."""
        text = urlencode({name: value for name, value in (("kind", self.kind), ("after", after)) if value})
        return f"/approvals?{text}" if text else "/approvals"

    @property
    def totals(self) -> list[Money]:
        """What waits on this page, per currency."""
        sums: dict[str, Money] = {}
        for amount in (each.amount for each in self.waiting.items if each.amount is not None):
            sums[amount.currency] = sums.get(amount.currency, Money.zero(amount.currency)) + amount
        return list(sums.values())


class RequestedPage(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asked others to agree to."""

    waiting: list[Waiting]
    may_decide: bool


class DecisionPage(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    item: Waiting


class ChosenForm(msgspec.Struct, frozen=True, kw_only=True):
    """What was ticked: kind, id and the hash of what was shown."""

    chosen: Annotated[list[str], msgspec.Meta(min_length=1, max_length=200)]


class DecisionForm(msgspec.Struct, frozen=True, kw_only=True):
    decision: Literal["approve", "reject"]
    digest: Annotated[str, msgspec.Meta(max_length=200)]
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""
