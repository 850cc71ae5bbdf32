"""A chain of blocks: each is hashed together with the one before it and signed with a key the database does not have.

What is chained may be anything that is never changed: the books, the audit trail. Whoever changes, adds or removes a sealed row, or a block
in the middle, breaks a hash; whoever rewrites the whole chain lacks the key; whoever cuts off its end shows against a head kept elsewhere.
"""

from hashlib import sha256

from app.core import secrets
from app.core.ids import MerchantId

FIRST = "0" * 64
"""What the first block follows."""
_VERSION = "1"


def link(previous: str, *parts: object) -> str:
    """The hash of a block of these parts; the previous block's hash is one of them, so that no block can be changed alone."""
    return sha256("|".join((_VERSION, *map(str, parts), previous)).encode()).hexdigest()


def sign(merchant_id: MerchantId, head: str, *, purpose: str) -> str:
    """Our signature under a block: its hash, and whose chain it belongs to."""
    return secrets.mac(f"{merchant_id}|{head}", purpose=purpose)


def is_signed(signature: str, merchant_id: MerchantId, head: str, *, purpose: str) -> bool:
    """Whether this installation made the signature."""
    return secrets.mac_matches(signature, f"{merchant_id}|{head}", purpose=purpose)
