"""A state machine per noun, written once as a table.

The same table refuses a wrong step, yields the CHECK constraint of the column, the diagram in the docs and the buttons on the page.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Generic, TypeVar

from app.core.errors import Conflict


class IllegalTransition(Conflict):
    """The object is in a state in which this cannot happen."""

    code = "illegal_transition"
    title = "This cannot be done in the present state"


S = TypeVar("S", bound=StrEnum)

_machines: list["Machine[Any]"] = []


class Machine(Generic[S]):
    """States of one noun and what leads from one to the next.

    ``transitions`` maps an event to ``(from states, to state)``.
    """

    def __init__(self, name: str, *, states: type[S], initial: S, transitions: Mapping[str, tuple[tuple[S, ...], S]]) -> None:
        self.name = name
        self.states = states
        self.initial = initial
        self.transitions = dict(transitions)
        reachable = {initial} | {to for _, to in self.transitions.values()}
        _machines.append(self)
        missing = [s.value for s in states if s not in reachable]
        if missing:
            raise ValueError(f"{name}: no way leads to {', '.join(missing)}")

    def can(self, state: S, event: str) -> bool:
        """Whether the event may happen in this state."""
        return event in self.transitions and state in self.transitions[event][0]

    def next(self, state: S, event: str) -> S:
        """The state after the event; an event that does not fit is refused with the states it needs."""
        if not self.can(state, event):
            needed = ", ".join(s.value for s in self.transitions[event][0])
            raise IllegalTransition(f"The {self.name} is {state.value}; “{event}” needs it to be {needed}.", state=state.value, event=event)
        return self.transitions[event][1]

    def events(self, state: S) -> list[str]:
        """What may happen next."""
        return [event for event, (origins, _) in self.transitions.items() if state in origins]

    @property
    def terminal(self) -> frozenset[S]:
        """The states that nothing leads out of."""
        return frozenset(s for s in self.states if not self.events(s))

    def check_sql(self, column: str) -> str:
        """The CHECK that the column holds one of the states."""
        return f"{column} in ({', '.join(repr(s.value) for s in self.states)})"

    def mermaid(self) -> str:
        """The diagram for the docs."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.initial.value}"]
        for event, (origins, to) in self.transitions.items():
            lines += [f"    {origin.value} --> {to.value}: {event}" for origin in origins]
        return "\n".join(lines)


def machines() -> list["Machine[Any]"]:
    """Every machine that is loaded and belongs to the house, by name, for the diagrams in the docs."""
    return sorted((machine for machine in _machines if machine.states.__module__.startswith("app.")), key=lambda machine: machine.name)
