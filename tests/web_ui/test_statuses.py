"""Every state that a noun can be in has a word, a tone and a glyph."""

import importlib
import pkgutil
import sys
from enum import StrEnum

import pytest

import app
from app.core.state import Machine
from app.web.statuses import Tone, is_described, method, status, vocabulary


def machines() -> list[Machine[StrEnum]]:
    """The state machines of every feature."""
    for module in pkgutil.walk_packages(app.__path__, "app."):
        if ".domain" in module.name or module.name.endswith(".domain"):
            importlib.import_module(module.name)
    ours = [module for name, module in sorted(sys.modules.items()) if name.startswith("app.")]
    found = {id(value): value for module in ours for value in vars(module).values() if isinstance(value, Machine)}
    return sorted(found.values(), key=lambda machine: machine.name)


class TestStatus:
    def test_every_state_of_every_machine_is_described(self) -> None:
        found = [machine for machine in machines() if all(type(state).__module__.startswith("app.") for state in machine.states)]
        assert len(found) >= 5
        missing = [
            f"{machine.name}: {state.value}" for machine in found for state in machine.states if not is_described(machine.name, state)
        ]
        assert missing == [], "describe these in app/web/statuses.py"

    def test_a_noun_may_say_it_its_own_way(self) -> None:
        assert status("order", "open").label == "Awaiting payment"
        assert status("break", "open").tone is Tone.BAD

    def test_an_unknown_state_is_shown_by_its_own_name(self) -> None:
        assert status("payment", "half_baked").label == "Half baked"
        assert not is_described("payment", "half_baked")

    def test_colour_never_stands_alone(self) -> None:
        for states in vocabulary().values():
            assert all(shown.label and shown.icon for shown in states.values())


class TestMethod:
    @pytest.mark.parametrize(("kind", "mark"), [("visa", "VISA"), ("VISA", "VISA"), ("wero", "WERO"), (None, "–")])
    def test_has_a_mark(self, kind: str | None, mark: str) -> None:
        assert method(kind).mark == mark
