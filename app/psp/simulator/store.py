"""The provider's memory: dictionaries for speed and a journal file, so that it survives its own restart."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec

from app.psp.simulator.domain import Account, Event, Operation, Payment, Transfer

DAY = 86_400.0


class Answer(msgspec.Struct, kw_only=True):
    """What was answered under an idempotency key, to be repeated for the same request."""

    account: str
    key: str
    fingerprint: str
    status: int
    body: str
    created_at: float


class Sequence(msgspec.Struct, kw_only=True):
    """Where the numbering of ids stands; the salt keeps ids of two stores apart."""

    salt: str
    number: int = 0


Record = Account | Payment | Operation | Transfer | Event | Answer | Sequence
_KINDS: dict[str, type[Record]] = {
    "account": Account,
    "payment": Payment,
    "operation": Operation,
    "transfer": Transfer,
    "event": Event,
    "answer": Answer,
    "sequence": Sequence,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class Store:
    """All objects of the provider; `save` remembers, `commit` writes what was saved to the journal in one go."""

    def __init__(self, path: Path | None, *, salt: str | None = None) -> None:
        self.accounts: dict[str, Account] = {}
        self.by_key: dict[str, Account] = {}
        self.payments: dict[str, Payment] = {}
        self.operations: dict[str, Operation] = {}
        self.transfers: dict[str, Transfer] = {}
        self.by_order: dict[tuple[str, str], Transfer] = {}
        self.by_reference: dict[tuple[str, str], list[str]] = {}
        self.by_payment: dict[str, list[str]] = {}
        self.events: dict[str, Event] = {}
        self.answers: dict[tuple[str, str], Answer] = {}
        self.sequence = Sequence(salt=salt or secrets.token_hex(3))
        self._encoder = msgspec.json.Encoder()
        self._lines: list[bytes] = []
        self._file: int | None = None
        if path is not None:
            self._open(path)

    def next_id(self, prefix: str) -> str:
        """A fresh id, numbered; unique across restarts and across stores."""
        self.sequence.number += 1
        return f"{prefix}_{self.sequence.salt}{self.sequence.number:08d}"

    def save(self, *records: Record) -> None:
        """Remember these objects as they are now."""
        for record in records:
            self._index(record)
            if self._file is not None:
                self._lines.append(self._encoder.encode((_NAMES[type(record)], record)))

    def commit(self) -> None:
        """Write what was saved since the last time; the kernel keeps it even when this process is killed."""
        if self._file is not None and self._lines:
            self._lines.append(self._encoder.encode(("sequence", self.sequence)))
            os.write(self._file, b"\n".join(self._lines) + b"\n")
            self._lines.clear()

    def found(self, account: str, reference: str) -> list[Payment | Operation]:
        """Everything that carries this reference of the merchant."""
        ids = self.by_reference.get((account, reference), [])
        return [self.payments[i] if i in self.payments else self.operations[i] for i in ids]

    def operations_of(self, payment: Payment) -> list[Operation]:
        """The captures, voids and refunds of a payment, oldest first."""
        return [self.operations[i] for i in self.by_payment.get(payment.id, [])]

    def everything(self) -> Iterable[Record]:
        """All objects, in an order in which they can be read back."""
        yield self.sequence
        for group in (self.accounts, self.payments, self.operations, self.transfers, self.events, self.answers):
            yield from group.values()

    def _open(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._read(path)
        # Rewritten at each start: the journal holds every version of an object, the store only the last.
        fresh = path.with_suffix(".new")
        lines = [self._encoder.encode((_NAMES[type(record)], record)) for record in self.everything()]
        fresh.write_bytes(b"\n".join(lines) + b"\n")
        fresh.replace(path)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def _read(self, path: Path) -> None:
        decoder = msgspec.json.Decoder(tuple[str, msgspec.Raw])
        for line in path.read_bytes().split(b"\n"):
            try:
                kind, raw = decoder.decode(line)
            except msgspec.DecodeError:
                continue  # the half line of a killed process: what it was about was never answered
            self._index(msgspec.json.decode(raw, type=_KINDS[kind]))

    def _index(self, record: Record) -> None:
        match record:
            case Payment():
                if record.id not in self.payments:
                    self.by_reference.setdefault((record.account, record.reference), []).append(record.id)
                self.payments[record.id] = record
            case Operation():
                if record.id not in self.operations:
                    self.by_reference.setdefault((record.account, record.reference), []).append(record.id)
                    self.by_payment.setdefault(record.payment, []).append(record.id)
                self.operations[record.id] = record
            case Transfer():
                self.transfers[record.id] = record
                self.by_order[record.account, record.reference] = record
            case Event():
                self.events[record.id] = record
            case Answer():
                self.answers[record.account, record.key] = record
            case Account():
                self.by_key = {k: a for k, a in self.by_key.items() if a.name != record.name}
                self.accounts[record.name] = record
                self.by_key.update(dict.fromkeys(record.secret_keys, record))
            case Sequence():
                self.sequence = record
