"""One running provider: its store, its clock, its scenarios, and what is due later."""

import heapq
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from app.psp.simulator import views
from app.psp.simulator.domain import Event, Operation, Payment, Transfer
from app.psp.simulator.scenario import Dice, Scenario, SimulatedClock
from app.psp.simulator.store import Store

EVERYBODY = "*"


class Wire(Protocol):
    """The hand on the cable: closes the connection of a caller, politely or by a reset."""

    def cut(self, client: tuple[str, int]) -> None:
        """Close the connection without an answer."""

    def reset(self, client: tuple[str, int]) -> None:
        """Reset the connection."""


class NoWire:
    """The wire of a simulator that is not served by `serve`: nothing to cut."""

    def cut(self, client: tuple[str, int]) -> None:
        """Do nothing; the server answers 500 instead."""

    def reset(self, client: tuple[str, int]) -> None:
        """Do nothing; the server answers 500 instead."""


class World:
    """Everything the handlers of the simulator share."""

    def __init__(self, store: Store, *, base_url: str) -> None:
        self.store = store
        self.base_url = base_url
        self.clock = SimulatedClock()
        self.dice: dict[str, Dice] = {EVERYBODY: Dice(Scenario())}
        self.wire: Wire = NoWire()
        self.faulted: set[tuple[str, str]] = set()
        self.running: set[tuple[str, str]] = set()
        self.outbox: list[Event] = [event for event in store.events.values() if not event.delivered]
        self._due: list[tuple[float, str]] = []
        subjects: list[Payment | Operation | Transfer] = [*store.payments.values(), *store.operations.values(), *store.transfers.values()]
        for subject in subjects:
            if subject.due_at is not None:
                self.at(subject.due_at, subject.id)

    def of(self, account: str) -> Dice:
        """The scenario that applies to an account: its own, or everybody's."""
        return self.dice.get(account) or self.dice[EVERYBODY]

    def scenario(self, account: str) -> Scenario:
        """The switches that apply to an account."""
        return self.of(account).scenario

    def at(self, when: float, object_id: str) -> None:
        """Remember that something has to happen to an object later."""
        heapq.heappush(self._due, (when, object_id))

    def due(self) -> list[str]:
        """Take the objects whose time has come."""
        taken = []
        while self._due and self._due[0][0] <= self.clock.now():
            taken.append(heapq.heappop(self._due)[1])
        return taken

    def publish(self, kind: str, subject: Payment | Operation | Transfer) -> None:
        """Record an event; the courier takes it to the merchant's webhook address, if there is one."""
        event_id = self.store.next_id("evt")
        moment = self.clock.now()
        body = {
            "id": event_id,
            "type": kind,
            "created_at": datetime.fromtimestamp(moment, UTC).isoformat(),
            "data": views.view(self, subject),
        }
        wanted = bool(self.store.accounts[subject.account].webhook_urls)
        event = Event(
            id=event_id,
            account=subject.account,
            type=kind,
            object_id=subject.id,
            created_at=moment,
            body=msgspec.json.encode(body).decode(),
            delivered=not wanted,
        )
        self.store.save(event)
        if wanted:
            self.outbox.append(event)
