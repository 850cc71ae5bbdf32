"""The seal of a book: its transactions as a chain of blocks."""

import msgspec

from app.core.chain import link

PURPOSE = "ledger.seal"


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a book: the transactions after one number, up to and including another."""

    number: int
    after: int
    through: int
    transactions: int
    content: str
    previous: str
    hash: str
    signature: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a book is as it was sealed. ``problem`` says what is wrong with the first block that is not."""

    blocks: int
    transactions: int
    head: str
    problem: str | None = None

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem is None


def block_hash(*, number: int, after: int, through: int, transactions: int, content: str, previous: str) -> str:
    """The hash of a block."""
    return link(previous, number, after, through, transactions, content)
