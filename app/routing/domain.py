"""Which connection takes a payment: rules in an order, versions of them, and what makes a set of rules sound. Pure.

What a rule does to a payment is not said here but in migrations/sql/routing.sql, once for choosing, trying and replaying.
"""

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, NewType
from uuid import UUID

import msgspec

from app.core.errors import Conflict, Forbidden, Invalid, NotFound
from app.core.events import Event
from app.core.ids import ConnectionId, SellerId
from app.core.money import Money
from app.core.state import Machine

RoutingVersionId = NewType("RoutingVersionId", UUID)
RuleKey = NewType("RuleKey", UUID)

MOST_RULES = 50
MOST_NAMED = 10
"""How many connections one rule names."""
ELSE = "Everything else"


class CaptureMode(StrEnum):
    """When the money is taken; the words are those of payments."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


class VersionStatus(StrEnum):
    """Where a version of the rules stands."""

    DRAFT = "draft"
    PENDING = "pending"
    LIVE = "live"
    RETIRED = "retired"
    DISCARDED = "discarded"


V = VersionStatus

VERSION = Machine(
    "routing_version",
    states=VersionStatus,
    initial=V.DRAFT,
    transitions={
        "request": ((V.DRAFT,), V.PENDING),
        "edit": ((V.DRAFT, V.PENDING), V.DRAFT),
        "withdraw": ((V.PENDING,), V.DRAFT),
        "reject": ((V.PENDING,), V.DRAFT),
        "publish": ((V.PENDING,), V.LIVE),
        "retire": ((V.LIVE,), V.RETIRED),
        "discard": ((V.DRAFT, V.PENDING), V.DISCARDED),
    },
)


class RoutingVersionNotFound(NotFound):
    """There is no such version of the rules."""

    code = "routing_version_not_found"
    title = "There is no such version of the rules"


class RuleNotFound(NotFound):
    """The draft has no such rule; perhaps somebody took it out."""

    code = "routing_rule_not_found"
    title = "There is no such rule in the draft"


class NoDraft(Conflict):
    """There is no draft to change; start one from the live version or an older one."""

    code = "routing_no_draft"
    title = "There is no draft"


class DraftExists(Conflict):
    """There is a draft already; publish or discard it first."""

    code = "routing_draft_exists"
    title = "There is a draft already"


class NothingToRoute(Conflict):
    """Rules choose between connections; connect a provider first."""

    code = "routing_needs_connection"
    title = "There is no connection to route to"


class NothingDiffers(Conflict):
    """The draft says what the live version says; there is nothing to publish."""

    code = "routing_nothing_differs"
    title = "The draft does not differ from the live version"


class RoutingIsStale(Conflict):
    """The draft is not what was shown; look again, then decide."""

    code = "routing_is_stale"
    title = "These are not the rules you were shown"


class RoutingNeedsSecondPerson(Forbidden):
    """Whoever changed the draft or asked to publish it does not approve it."""

    code = "routing_needs_second_person"
    title = "Somebody else has to approve the rules"


class RoutingReasonMissing(Invalid):
    """Whoever asked has to learn why it was refused."""

    code = "routing_reason_missing"
    title = "Refusing rules needs a reason"


class RuleInvalid(Invalid):
    """The rule cannot be followed as it is."""

    code = "routing_rule_invalid"
    title = "This rule cannot be followed"


class RoutingPublished(Event, frozen=True, kw_only=True):
    """A version of the rules became the live one: from now on it chooses the connections of new payments."""

    topic: ClassVar[str] = "routing.published"
    version: int
    replaced: int | None


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a split: so many of a hundred payments go to this connection."""

    connection: ConnectionId
    percent: int


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be true of a payment; what is not said does not matter."""

    currencies: tuple[str, ...] = ()
    at_least: Money | None = None
    below: Money | None = None
    capture: CaptureMode | None = None
    seller: SellerId | None = None

    @property
    def is_always(self) -> bool:
        """Whether every payment meets them."""
        return self == Conditions()


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Payments that meet the conditions go to one connection, or to several by percent; then the fallback list, in its order."""

    key: RuleKey
    name: str
    conditions: Conditions = Conditions()
    split: tuple[Share, ...]
    fallback: tuple[ConnectionId, ...] = ()

    @property
    def connections(self) -> tuple[ConnectionId, ...]:
        """Every connection that it names, first those of the split."""
        return (*(share.connection for share in self.split), *self.fallback)


Rules = tuple[Rule, ...]


def checked(rule: Rule) -> Rule:
    """The rule, if it can be followed; otherwise everything that is wrong with it, field by field."""
    problems = _problems_of_conditions(rule.conditions) | _problems_of_target(rule)
    if not rule.name or len(rule.name) > 60:
        problems["name"] = "Give it a name of at most 60 characters."
    if problems:
        raise RuleInvalid("Check the rule.", fields=problems)
    return rule


def _problems_of_conditions(conditions: Conditions) -> dict[str, str]:
    problems: dict[str, str] = {}
    at_least, below = conditions.at_least, conditions.below
    if at_least is not None and at_least.is_negative:
        problems["at_least"] = "Enter zero or more."
    if below is not None and not below.is_positive:
        problems["below"] = "Enter more than zero."
    if at_least is not None and below is not None:
        if at_least.currency != below.currency:
            problems["below"] = "Use the same currency for both amounts."
        elif at_least.minor >= below.minor:
            problems["below"] = "Enter more than the amount it starts at."
    amounts = {amount.currency for amount in (at_least, below) if amount is not None}
    if conditions.currencies and not amounts <= set(conditions.currencies):
        problems["currencies"] = f"Amounts hold in their own currency only: add {' and '.join(sorted(amounts))}, or choose no currency."
    return problems


def _problems_of_target(rule: Rule) -> dict[str, str]:
    problems: dict[str, str] = {}
    if not rule.split:
        problems["share"] = "Choose a connection that takes the payments: give it a share."
    elif any(not 1 <= share.percent <= 100 for share in rule.split):
        problems["share"] = "A share is from 1 to 100 percent."
    elif (together := sum(share.percent for share in rule.split)) != 100:
        problems["share"] = f"The shares are {together}% together; make them 100%."
    if len(set(rule.connections)) < len(rule.connections):
        problems["fallback"] = "Name each connection once: it takes a share, or comes after the others."
    elif len(rule.connections) > MOST_NAMED:
        problems["fallback"] = f"Name at most {MOST_NAMED} connections."
    return problems


def first_rules(connection: ConnectionId, key: RuleKey) -> Rules:
    """What a merchant without rules starts from: one connection takes everything."""
    return (Rule(key=key, name=ELSE, split=(Share(connection=connection, percent=100),)),)


def with_rule(rules: Rules, rule: Rule) -> Rules:
    """The rules with a new one before “Everything else”."""
    if len(rules) >= MOST_RULES:
        raise RuleInvalid(f"There are {MOST_RULES} rules already. Take one out first.")
    return (*rules[:-1], _limiting(checked(rule)), rules[-1])


def with_changed(rules: Rules, rule: Rule) -> Rules:
    """The rules with one said differently; the last one keeps taking everything else."""
    place = place_of(rules, rule.key)
    if place == len(rules) - 1:
        rule = msgspec.structs.replace(rule, name=ELSE, conditions=Conditions())
    else:
        _limiting(rule)
    return (*rules[:place], checked(rule), *rules[place + 1 :])


def without(rules: Rules, key: RuleKey) -> Rules:
    """The rules without one; the last one stays, since every payment needs one that takes it."""
    place = place_of(rules, key)
    if place == len(rules) - 1:
        raise RuleInvalid("“Everything else” stays: a payment that no other rule takes needs it.")
    return (*rules[:place], *rules[place + 1 :])


def moved(rules: Rules, key: RuleKey, by: int) -> Rules:
    """The rules with one a step up or down; it stays where it is at the ends, and the last rule always."""
    place, last = place_of(rules, key), len(rules) - 1
    other = place + by
    if place == last or not 0 <= other < last:
        return rules
    order = list(rules)
    order[place], order[other] = order[other], order[place]
    return tuple(order)


def _limiting(rule: Rule) -> Rule:
    if rule.conditions.is_always:
        problem = "Say which payments it is for: set a condition. Without one it would take everything from the rules below."
        raise RuleInvalid("Check the rule.", fields={"currencies": problem})
    return rule


def place_of(rules: Rules, key: RuleKey) -> int:
    """Where a rule stands."""
    for place, rule in enumerate(rules):
        if rule.key == key:
            return place
    raise RuleNotFound()


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A connection in its turn: taken, skipped with the state it was in, or not needed any more."""

    connection: str
    name: str
    result: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Why a payment went where it went, as it was decided when it began."""

    version: int
    rule: str
    turns: list[Turn]

    @property
    def skipped(self) -> list[Turn]:
        """Whose turn it was, but who took no payments."""
        return [one for one in self.turns if one.result not in ("taken", "not_needed")]

    @property
    def taken(self) -> str:
        """Who took it."""
        return next((one.name for one in self.turns if one.result == "taken"), "–")


class Change(StrEnum):
    """What a draft does to a rule of the live version."""

    NEW = "new"
    CHANGED = "changed"
    MOVED = "moved"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from the live version: by rule, and the rules that are gone."""

    changes: dict[RuleKey, Change]
    removed: tuple[Rule, ...]

    @property
    def count(self) -> int:
        """How many rules differ."""
        return len(self.changes) + len(self.removed)


def difference(live: Rules, draft: Rules) -> Difference:
    """Mark what a draft changes. A rule is moved when it stands in another order to those that both have, and those that moved least stay."""
    before = {rule.key: rule for rule in live}
    here = {rule.key for rule in draft}
    changes = {rule.key: Change.NEW for rule in draft if rule.key not in before}
    changes |= {rule.key: Change.CHANGED for rule in draft if rule.key in before and rule != before[rule.key]}
    order = {rule.key: place for place, rule in enumerate(live)}
    shared = [rule.key for rule in draft if rule.key in before]
    still = _longest_rise([order[key] for key in shared])
    changes |= {key: Change.MOVED for key in shared if order[key] not in still and key not in changes}
    return Difference(changes=changes, removed=tuple(rule for rule in live if rule.key not in here))


def _longest_rise(places: Sequence[int]) -> set[int]:
    """The most places that stand in rising order: these did not move."""
    best: list[tuple[int, ...]] = [()]
    for place in places:
        fitting = [run for run in best if not run or run[-1] < place]
        longest = max(fitting, key=_length)
        best.append((*longest, place))
    longest = max(best, key=_length)
    return set(longest)


def _length(run: tuple[int, ...]) -> int:
    return len(run)


def digest_of(version: RoutingVersionId, replaces: int | None, rules: Rules) -> str:
    """The hash of what an approver is shown: these rules, of this version, instead of that one."""
    return hashlib.sha256(msgspec.json.encode((version, replaces, rules), order="sorted")).hexdigest()


def in_words(rules: Rules) -> list[object]:
    """The rules as the audit trail keeps them."""
    kept: list[object] = msgspec.to_builtins(rules)
    return kept
