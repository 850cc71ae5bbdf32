"""One object of every kind for each of two merchants, by the name of the path parameter that addresses it.

The crawler fills every route's path from here, so a new route is crawled without a line of its own. A new kind of object needs one
entry in `SAMPLES`: the test that misses it says so.
"""

import re

from app.core.ids import new_id, public_id

_PARAMETER = re.compile(r"\{(\w+):(\w+)\}")

PREFIXES = {
    "key_id": "key",
    "connection_id": "con",
    "change_id": "chg",
    "event_id": "pev",
    "session_id": "ses",
    "seller_id": "sel",
    "member_id": "mem",
    "order_id": "ord",
    "payment_id": "pay",
    "capture_id": "cap",
    "refund_id": "ref",
    "merchant_id": "mer",
    "account_id": "acc",
}
NOT_AN_ID = {"psp": "simulated", "file_path": "css/countinghouse.css"}


def parameters(path: str) -> list[str]:
    """The names of a path's parameters."""
    return [name for name, _ in _PARAMETER.findall(path)]


def fill(path: str, values: dict[str, str]) -> str:
    """The path with its parameters filled in."""
    return _PARAMETER.sub(lambda found: values[found[1]], path)


def unknown_ids() -> dict[str, str]:
    """Well-formed ids of nothing at all."""
    return NOT_AN_ID | {name: public_id(prefix, new_id()) for name, prefix in PREFIXES.items()} | {"transaction_id": "txn_987654321"}


def path_with_unknown_ids(path: str) -> str:
    """The path, pointing at nothing."""
    return fill(path, unknown_ids())
