"""Machines: what the table does not name cannot happen."""

from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import Connection

from app.core.state import IllegalTransition, Machine
from app.orders.domain import ORDER
from app.payments.domain import OPERATION, PAYMENT

MACHINES: list[Machine] = [PAYMENT, OPERATION, ORDER]  # type: ignore[type-arg]


class Light(StrEnum):
    RED = "red"
    GREEN = "green"
    OFF = "off"


LIGHT = Machine(
    "light", states=Light, initial=Light.RED, transitions={"go": ((Light.RED,), Light.GREEN), "cut": ((Light.RED, Light.GREEN), Light.OFF)}
)


class TestMachine:
    @pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
    def test_every_pair_of_state_and_event_is_allowed_by_the_table_or_refused(self, machine: Machine) -> None:  # type: ignore[type-arg]
        for state in machine.states:
            for event, (origins, target) in machine.transitions.items():
                if state in origins:
                    assert machine.next(state, event) is target
                    continue
                with pytest.raises(IllegalTransition) as refused:
                    machine.next(state, event)
                assert refused.value.extra == {"state": state.value, "event": event}

    @given(st.lists(st.sampled_from(sorted(PAYMENT.transitions)), max_size=30))
    def test_no_walk_leaves_the_states_or_a_terminal_one(self, walk: list[str]) -> None:
        state = PAYMENT.initial
        for event in walk:
            before = state
            if PAYMENT.can(state, event):
                state = PAYMENT.next(state, event)
            assert state in PAYMENT.states
            assert before not in PAYMENT.terminal or state is before

    def test_the_end_is_the_end(self) -> None:
        assert LIGHT.terminal == {Light.OFF}
        assert LIGHT.events(Light.RED) == ["go", "cut"] and LIGHT.events(Light.OFF) == []

    def test_an_event_nobody_knows_is_a_mistake_of_the_program(self) -> None:
        assert not LIGHT.can(Light.RED, "explode")
        with pytest.raises(KeyError):
            LIGHT.next(Light.RED, "explode")

    def test_a_state_nothing_leads_to_is_a_mistake(self) -> None:
        with pytest.raises(ValueError, match="no way leads to off"):
            Machine("broken", states=Light, initial=Light.RED, transitions={"go": ((Light.RED,), Light.GREEN)})

    def test_the_diagram_shows_every_step(self) -> None:
        assert LIGHT.mermaid().splitlines() == [
            "stateDiagram-v2",
            "    [*] --> red",
            "    red --> green: go",
            "    red --> off: cut",
            "    green --> off: cut",
        ]

    def test_the_check_is_sql_that_holds_exactly_the_states(self, superuser: Connection) -> None:
        for word in (*Light, "blue", ""):
            row = superuser.execute(f"select {LIGHT.check_sql('c')} from (select %s::text as c) t", (str(word),)).fetchone()
            assert row == (word in set(Light),)

    @pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
    def test_the_database_holds_the_same_states(self, machine: Machine, superuser: Connection) -> None:  # type: ignore[type-arg]
        table = {"payment": "payment", "operation": "payment_operation", "order": "sales_order"}[machine.name]
        row = superuser.execute(
            "select pg_get_constraintdef(oid) from pg_constraint where conrelid = %s::regclass and conname = %s",
            (table, f"ck_{table}_status"),
        ).fetchone()
        assert row is not None
        assert set(row[0].split("'")[1::2]) == {state.value for state in machine.states}
