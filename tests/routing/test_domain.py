"""Rules on their own: what makes them sound, how a draft is edited, and what differs from the live version."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.ids import ConnectionId, new_id
from app.core.money import Money
from app.payments.domain import CaptureMode as OfPayments
from app.routing import domain
from app.routing.domain import (
    ELSE,
    CaptureMode,
    Change,
    Conditions,
    RoutingVersionId,
    Rule,
    RuleInvalid,
    RuleKey,
    RuleNotFound,
    Rules,
    Share,
    difference,
    digest_of,
    first_rules,
    moved,
    with_changed,
    with_rule,
    without,
)

ONE, TWO, THREE = (ConnectionId(new_id()) for _ in range(3))
EUROS = Conditions(currencies=("EUR",))


def rule(name: str = "Euros", *, conditions: Conditions = EUROS, **said: object) -> Rule:
    values = {"split": (Share(connection=ONE, percent=100),)} | said
    return Rule(key=RuleKey(new_id()), name=name, conditions=conditions, **values)  # type: ignore[arg-type]


def some(many: int) -> Rules:
    rules = first_rules(ONE, RuleKey(new_id()))
    for number in range(many):
        rules = with_rule(rules, rule(f"Rule {number}"))
    return rules


def names(rules: Rules) -> list[str]:
    return [one.name for one in rules]


def wrong(one: Rule) -> set[str]:
    with pytest.raises(RuleInvalid) as refused:
        with_rule(some(0), one)
    return set(refused.value.fields)


def test_the_capture_modes_are_those_of_payments() -> None:
    assert {mode.value for mode in CaptureMode} == {mode.value for mode in OfPayments}


class TestSoundness:
    @pytest.mark.parametrize("percents", [(99,), (50, 49), (60, 60), (0, 100), (101,), (-1, 101), ()])
    def test_shares_are_a_hundred_together(self, percents: tuple[int, ...]) -> None:
        split = tuple(Share(connection=ConnectionId(new_id()), percent=percent) for percent in percents)
        assert wrong(rule(split=split)) == {"share"}

    @given(st.lists(st.integers(1, 100), min_size=1, max_size=8))
    def test_every_split_that_is_a_hundred_together_is_sound(self, percents: list[int]) -> None:
        split = tuple(Share(connection=ConnectionId(new_id()), percent=percent) for percent in percents)
        if sum(percents) == 100:
            assert with_rule(some(0), rule(split=split))[0].split == split
        else:
            assert wrong(rule(split=split)) == {"share"}

    def test_a_connection_is_named_once(self) -> None:
        assert wrong(rule(fallback=(ONE,))) == {"fallback"}
        assert wrong(rule(fallback=(TWO, TWO))) == {"fallback"}

    def test_amounts_are_a_range_in_one_currency_that_can_be_met(self) -> None:
        ten, twenty = Money(1000, "EUR"), Money(2000, "EUR")
        with_rule(some(0), rule(conditions=Conditions(at_least=ten, below=twenty)))
        assert wrong(rule(conditions=Conditions(at_least=twenty, below=ten))) == {"below"}
        assert wrong(rule(conditions=Conditions(at_least=ten, below=ten))) == {"below"}
        assert wrong(rule(conditions=Conditions(at_least=ten, below=Money(2000, "USD")))) == {"below"}
        assert wrong(rule(conditions=Conditions(at_least=Money(-1, "EUR")))) == {"at_least"}
        assert wrong(rule(conditions=Conditions(currencies=("USD",), at_least=ten))) == {"currencies"}

    def test_a_rule_without_conditions_would_hide_those_below(self) -> None:
        assert wrong(rule(conditions=Conditions())) == {"currencies"}

    def test_a_rule_has_a_name(self) -> None:
        assert wrong(rule("")) == {"name"}
        assert wrong(rule("x" * 61)) == {"name"}

    def test_there_are_at_most_fifty(self) -> None:
        rules = some(domain.MOST_RULES - 1)
        with pytest.raises(RuleInvalid, match="rules already"):
            with_rule(rules, rule())


class TestEditing:
    def test_a_new_rule_stands_before_everything_else(self) -> None:
        assert names(some(2)) == ["Rule 0", "Rule 1", ELSE]

    def test_everything_else_keeps_its_name_and_takes_everything(self) -> None:
        rules = some(1)
        changed = Rule(key=rules[-1].key, name="Other", conditions=EUROS, split=(Share(connection=TWO, percent=100),))
        last = with_changed(rules, changed)[-1]
        assert (last.name, last.conditions, last.connections) == (ELSE, Conditions(), (TWO,))
        with pytest.raises(RuleInvalid):
            without(rules, rules[-1].key)

    def test_a_rule_that_is_not_there_is_not_found(self) -> None:
        with pytest.raises(RuleNotFound):
            without(some(1), RuleKey(new_id()))
        with pytest.raises(RuleNotFound):
            with_changed(some(1), rule())

    @given(st.integers(0, 6), st.lists(st.tuples(st.integers(0, 6), st.sampled_from([-1, 1])), max_size=20))
    def test_however_rules_are_moved_none_is_lost_and_the_last_stays(self, many: int, moves: list[tuple[int, int]]) -> None:
        rules = start = some(many)
        for place, by in moves:
            before = names(rules)
            rules = moved(rules, start[place % len(start)].key, by)
            assert sum(a != b for a, b in zip(before, names(rules), strict=True)) in (0, 2)
        assert sorted(names(rules)) == sorted(names(start))
        assert rules[-1].name == ELSE


class TestDifference:
    def test_nothing_differs_from_itself(self) -> None:
        rules = some(3)
        assert difference(rules, rules).count == 0

    def test_new_changed_moved_and_removed_are_told_apart(self) -> None:
        live = some(4)
        draft = moved(live, live[0].key, 1)
        draft = with_changed(draft, Rule(key=live[2].key, name="Other", conditions=EUROS, split=(Share(connection=TWO, percent=100),)))
        draft = without(draft, live[3].key)
        draft = with_rule(draft, fresh := rule("Fresh"))
        found = difference(live, draft)
        assert found.changes[fresh.key] is Change.NEW
        assert found.changes[live[2].key] is Change.CHANGED
        assert [name for name, change in found.changes.items() if change is Change.MOVED] in ([live[0].key], [live[1].key])
        assert names(found.removed) == ["Rule 3"]

    @given(st.permutations(range(6)))
    def test_taking_the_moved_ones_out_leaves_the_live_order(self, order: list[int]) -> None:
        live = some(6)
        draft = (*(live[place] for place in order), live[-1])
        changes = difference(live, draft).changes
        assert set(changes.values()) <= {Change.MOVED}
        stayed = [one.key for one in draft if one.key not in changes]
        assert stayed == [one.key for one in live if one.key not in changes]


class TestDigest:
    def test_it_tells_rules_orders_versions_and_what_is_replaced_apart(self) -> None:
        version, other, rules = RoutingVersionId(new_id()), RoutingVersionId(new_id()), some(2)
        said = with_changed(
            rules, Rule(key=rules[0].key, name=rules[0].name, conditions=EUROS, split=(Share(connection=TWO, percent=100),))
        )
        digests = [
            digest_of(version, 1, rules),
            digest_of(version, 2, rules),
            digest_of(version, None, rules),
            digest_of(other, 1, rules),
            digest_of(version, 1, moved(rules, rules[0].key, 1)),
            digest_of(version, 1, said),
        ]
        assert len(set(digests)) == len(digests)
        assert digest_of(version, 1, rules) == digests[0]
