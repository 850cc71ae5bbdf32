"""The chain of the audit trail: blocks of entries in the order in which they were found, and what comparing them can find."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

import msgspec

from app.core.chain import link
from app.core.errors import NotFound
from app.core.events import Event

PURPOSE = "audit.chain"
MOST = 5_000
"""Entries in one block: what one statement hashes in well under a second."""
LOOK_BACK = timedelta(hours=1)
"""How long before the last block an entry may have been written and still be found every minute; no transaction lives that long: the longest job may take a quarter of it."""
EVER = timedelta(days=36_500)
"""The look-back of the nightly round, which also finds what was written with an older time, such as history brought along."""


class AuditEntryNotFound(NotFound):
    """There is no such entry in this merchant's audit trail."""

    code = "audit_entry_not_found"
    title = "This audit entry does not exist"


class AuditCheckAsked(Event, frozen=True, kw_only=True):
    """Somebody wants the trail compared with its chain now."""

    topic: ClassVar[str] = "audit.check_asked"
    asked_by: str


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Some entries, hashed together with the block before them."""

    number: int
    entries: int
    content: str
    previous: str
    hash: str
    signature: str

    @property
    def has_its_hash(self) -> bool:
        """Whether the hash is the one of what the block says."""
        return self.hash == block_hash(number=self.number, entries=self.entries, content=self.content, previous=self.previous)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the trail is as it was chained. ``problem`` says what is wrong with the first block that is not."""

    blocks: int
    entries: int
    head: str
    problem: str | None = None

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem is None


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One field of what was changed: what it said before and after, empty where it did not exist."""

    name: str
    before: str
    after: str

    @property
    def is_changed(self) -> bool:
        """Whether it says something else now."""
        return self.before != self.after


def block_hash(*, number: int, entries: int, content: str, previous: str) -> str:
    """The hash of a block."""
    return link(previous, number, entries, content)


def changes(before: Mapping[str, object] | None, after: Mapping[str, object] | None) -> list[FieldChange]:
    """Field by field, what was and what is; fields inside fields are named with dots, as ``address.city``."""
    was, now_is = _flat(before or {}), _flat(after or {})
    names = [*was, *(name for name in now_is if name not in was)]
    return [FieldChange(name=name, before=was.get(name, ""), after=now_is.get(name, "")) for name in names]


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return flat
