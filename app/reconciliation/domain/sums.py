"""What the three sources say in all, in one currency."""

import msgspec


class Sums(msgspec.Struct, kw_only=True):
    """Minor units. ``waiting`` is what the provider has not reported and need not have yet; ``due`` is what its batches should bring to the bank."""

    ledger: int
    psp: int
    due: int
    bank: int
    waiting: int
    settled: int = 0
    """What the ledger has more than the provider reported, and somebody or a rule has seen to."""
    bank_waiting: int = 0
    """What was paid out and need not be at the bank yet."""
    bank_settled: int = 0
    """What was paid out more than the bank shows, and somebody or a rule has seen to."""
    fee_booked: int = 0
    """What the provider told its fees would be, when the payments were captured."""
    fee_charged: int = 0
    """What its files say it took."""

    @property
    def expected(self) -> int:
        """What the ledger expects the provider to have reported by now."""
        return self.ledger - self.waiting
