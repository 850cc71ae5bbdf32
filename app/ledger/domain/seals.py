"""The seal of a book: blocks of transactions, each hashed together with the one before it and signed with a key the database does not have."""

from hashlib import sha256

import msgspec

FIRST = "0" * 64
"""What the first block follows."""
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
    """The hash of a block; the previous one's is part of it, so that no block can be taken out or changed alone."""
    text = "|".join(("1", str(number), str(after), str(through), str(transactions), content, previous))
    return sha256(text.encode()).hexdigest()


def signed_text(merchant: str, hash_: str) -> str:
    """What the signature covers: the block's hash, and whose book it is of."""
    return f"{merchant}|{hash_}"
