"""Catalogues of the documentation that are written from the code: events and states."""

from typing import Any

import msgspec

from app.cli.operations import all_errors
from app.core.events import Event, catalogue
from app.core.state import Machine, machines


def all_events() -> list[type[Event]]:
    """Every event of the house, by topic."""
    all_errors()  # imports every module of the house
    return [event for event in catalogue() if event.__module__.startswith("app.")]


def events_markdown() -> str:
    """The event catalogue: topic, when it happens, what it carries."""
    lines = [
        "# Events",
        "",
        "What the rest of the house hears of, in the past tense. An event is written into the outbox in the transaction that made it true, and",
        "may arrive twice or late: whoever listens decides by state, not by arrival. Written by `countinghouse docs`.",
        "",
        "| topic | happens when | carries |",
        "|---|---|---|",
    ]
    for event in all_events():
        fields = ", ".join(f"`{field.name}`" for field in msgspec.structs.fields(event))
        meaning = " ".join((event.__doc__ or "").split())
        lines.append(f"| `{event.topic}` | {meaning} | {fields} |")
    return "\n".join(lines) + "\n"


def states_markdown() -> str:
    """The state machines as diagrams."""
    all_errors()  # imports every module of the house
    lines = [
        "# States",
        "",
        "One table a noun, in its `domain`; the CHECK constraint, the buttons and these diagrams come from it. Written by",
        "`countinghouse docs`.",
        "",
    ]
    for machine in machines():
        lines += [f"## {machine.name.replace('_', ' ').capitalize()}", "", _ends(machine), "", "```mermaid", machine.mermaid(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _ends(machine: Machine[Any]) -> str:
    ends = ", ".join(sorted(str(state) for state in machine.terminal))
    return f"Ends in: {ends}." if ends else "Has no end."
