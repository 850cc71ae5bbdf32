"""What people post about routing: a rule, which way it goes, why a draft should become live."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from app.core.ids import ConnectionId, MalformedId, SellerId, parse_id
from app.core.money import Money
from app.routing.domain import CaptureMode, Conditions, Rule, RuleInvalid, RuleKey, RuleNotFound, Share


class RuleForm(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that every rule has; shares and turns are named by connection."""

    name: Annotated[str, msgspec.Meta(max_length=60)] = ""
    currencies: list[Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]] = []
    at_least: Money | None = None
    below: Money | None = None
    capture: str = ""
    seller: str = ""


class MoveForm(msgspec.Struct, frozen=True, kw_only=True):
    """Which way a rule goes."""

    by: Annotated[int, msgspec.Meta(ge=-1, le=1)]


class RequestForm(msgspec.Struct, frozen=True, kw_only=True):
    """Why the draft should become live."""

    reason: Annotated[str, msgspec.Meta(max_length=300)] = ""


def rule_key_of(text: str) -> RuleKey:
    """The rule in an address."""
    try:
        return RuleKey(parse_id("rul", text))
    except MalformedId:
        raise RuleNotFound() from None


def rule_of(key: RuleKey, form: RuleForm, posted: Mapping[str, Sequence[str]]) -> Rule:
    """The rule that a form describes; what it says about connections is read from the fields named by them."""
    capture = CaptureMode(form.capture) if form.capture in set(CaptureMode) else None
    conditions = Conditions(
        currencies=tuple(sorted(set(form.currencies))),
        at_least=form.at_least,
        below=form.below,
        capture=capture,
        seller=SellerId(parse_id("sel", form.seller)) if form.seller else None,
    )
    shares = [Share(connection=one, percent=percent) for one, percent in _numbers("share", posted) if percent]
    turns = sorted(((turn, one) for one, turn in _numbers("turn", posted) if turn), key=lambda pair: pair[0])
    if len({turn for turn, _ in turns}) < len(turns):
        raise RuleInvalid("Check the rule.", fields={"fallback": "Two connections have the same turn."})
    return Rule(key=key, name=form.name, conditions=conditions, split=tuple(shares), fallback=tuple(one for _, one in turns))


def _numbers(field: str, posted: Mapping[str, Sequence[str]]) -> list[tuple[ConnectionId, int]]:
    found = []
    for name, texts in posted.items():
        if not name.startswith(f"{field}_con_"):
            continue
        text = texts[-1].strip() if texts else ""
        if text and (not text.isascii() or not text.isdigit() or len(text) > 3):
            problem = {"share" if field == "share" else "fallback": "Enter whole numbers from 1 to 100."}
            raise RuleInvalid("Check the rule.", fields=problem)
        found.append((ConnectionId(parse_id("con", name.removeprefix(f"{field}_"))), int(text or 0)))
    return found
