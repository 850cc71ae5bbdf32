"""The platform fee that refunds left with the platform. Pure."""

from collections.abc import Iterable, Mapping

import msgspec

from app.core.ids import SellerId
from app.payments.domain import Operation, OperationStatus, Share

CAME_BACK = "came_back"
"""What is kept with a refund that failed after it had succeeded: what it moved between the sellers and the platform stays moved."""


def kept_fees(operations: Iterable[tuple[str, str, Mapping[str, object]]]) -> dict[SellerId, int]:
    """What refunds kept of each seller's fee on purpose, in minor units: kinds, states and splits of a payment's operations."""
    kept: dict[SellerId, int] = {}
    for kind, status, split in operations:
        stands = status != OperationStatus.FAILED or CAME_BACK in split
        if kind == Operation.REFUND and stands:
            for share in msgspec.convert(split.get("shares", []), list[Share]):
                kept[share.seller_id] = kept.get(share.seller_id, 0) + share.kept_minor
    return kept
