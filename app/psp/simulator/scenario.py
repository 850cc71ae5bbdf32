"""Scenarios: which calls go wrong, how webhooks travel, what time it is. Seeded, so that a run can be replayed."""

import random
import time

import msgspec

from app.psp.simulator.domain import Fault


class FaultRule(msgspec.Struct, kw_only=True):
    """One switch: this operation goes wrong in this way, so many times, with this probability."""

    operation: str = "*"
    fault: Fault
    count: int | None = None
    probability: float = 1.0
    seconds: float = 30.0
    code: str = "generic_decline"


class WebhookRule(msgspec.Struct, kw_only=True):
    """How webhooks travel: on time and once, unless said otherwise."""

    delay_seconds: float = 0.0
    duplicate: float = 0.0
    drop: float = 0.0
    shuffle: bool = False
    paused: bool = False
    retry_seconds: tuple[float, ...] = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 3600.0)


class Scenario(msgspec.Struct, kw_only=True):
    """Everything that can be switched for one account, or for all."""

    seed: int = 1
    faults: list[FaultRule] = []
    webhooks: WebhookRule = msgspec.field(default_factory=WebhookRule)
    async_captures: bool = False
    async_refunds: bool = False
    settle_seconds: float = 1.0
    payout_seconds: float = 1.0
    payout_refused: float = 0.0
    payout_returned: float = 0.0
    latency_seconds: float = 0.0
    fee_basis_points: int = 140
    fee_fixed_minor: int = 25
    session_minutes: int = 30
    authorisation_days: int = 7


class Dice:
    """A scenario in play: draws from its seed and counts its faults down."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.random = random.Random(scenario.seed)  # noqa: S311 - faults must be repeatable, nothing is secret

    def draw(self, operation: str) -> FaultRule | None:
        """The fault that meets this call, if any; the first rule that fits wins."""
        for rule in self.scenario.faults:
            if rule.operation not in ("*", operation) or rule.count == 0:
                continue
            if rule.probability < 1.0 and self.random.random() >= rule.probability:
                continue
            if rule.count is not None:
                rule.count -= 1
            return rule
        return None

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens now."""
        return probability > 0.0 and self.random.random() < probability


class SimulatedClock:
    """The provider's own clock: real time, moved by an offset."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        """Seconds since 1970, as this provider sees it."""
        return time.time() + self.offset
