"""A shop with takings, and its files of the provider and the bank."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec
import psycopg
import pytest_asyncio

from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import ConnectionId, PaymentId, public_id
from app.payouts.domain import FundingAccountId
from app.psp.domain import ProviderStatus
from app.reconciliation import flows
from app.reconciliation.files import service as files
from app.reconciliation.models import Run, Source, SourceFile
from app.reconciliation.runs import service as runs
from app.reconciliation.sources import service as sources
from tests.reconciliation.files import SIMULATED, camt053, rows
from tests.support.console import app, open_as, owner, psp, shop, stranger
from tests.support.shop import Shop, ok

__all__ = ["app", "desk", "open_as", "owner", "psp", "shop", "stranger"]


class Taken(msgspec.Struct, frozen=True):
    """A payment of the shop: its id, the provider's reference, the amount and the fee that was booked."""

    payment_id: PaymentId
    reference: str
    gross: int
    fee: int

    @property
    def key(self) -> str:
        """What it clears on 1100."""
        return public_id("pay", self.payment_id)


class SettlementLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the provider's file before it is written."""

    id: str
    gross: int
    fee: int = 0
    type: str = "charge"
    payment: str = ""
    reference: str = ""
    net: int | None = None


def line_of(taken: Taken, **change: object) -> SettlementLine:
    """The line that agrees with the ledger."""
    return msgspec.structs.replace(
        SettlementLine(id=f"st_{taken.reference}", gross=taken.gross, fee=taken.fee, payment=taken.reference), **change
    )


def settlement(lines: Sequence[SettlementLine], *, batch: str = "set_1", day: str = "") -> bytes:
    """A batch with its payout."""
    at = f"{day or now().date().isoformat()}T10:00:00Z"
    records = [
        (batch, line.id, line.type, line.payment, line.reference, at, "", "EUR", line.gross, line.fee, line.gross - line.fee)
        for line in lines
    ]
    paid = -sum(line.gross - line.fee for line in lines)
    return rows(SIMULATED, *records, (batch, f"{batch}_out", "payout", "", "", at, "", "EUR", paid, 0, paid))


def statement(*entries: tuple[str, int], number: int = 7) -> bytes:
    """A bank statement of today with credits that name something."""
    content = camt053([minor for _, minor in entries], number=number)
    for i, (text, _) in enumerate(entries):
        content = content.replace(f"batch set_{i}<".encode(), f"{text}<".encode())
    return content.replace(b"2026-03-03", now().date().isoformat().encode())


class Desk(msgspec.Struct, kw_only=True):
    """Where reconciliation is done in tests."""

    shop: Shop
    superuser: psycopg.Connection
    psp: Source
    bank: Source
    count: int = 0

    async def take(self, *amounts: int) -> list[Taken]:
        """Payments that were captured at once, each with a reference of its own and a fee of 30."""
        made = []
        for minor in amounts:
            self.count += 1
            reference = f"sim_{self.count:04d}"
            self.shop.psp.answers("authorise", lambda asked, reference=reference: msgspec.structs.replace(  # type: ignore[misc]
                ok(ProviderStatus.CAPTURED, amount=asked.amount, fee=msgspec.structs.replace(asked.amount, minor=30)), provider_reference=reference))  # fmt: skip
            paid = await self.shop.pay(await self.shop.order(anna=minor, bert=0))
            made.append(Taken(PaymentId(paid.payment_id), reference, minor, 30))
        return made

    async def hand_in(self, content: bytes, *, to: Source | None = None, name: str = "file.csv") -> SourceFile:
        """Import one file."""
        async with unit_of_work(self.shop.merchant_id) as session:
            return await files.import_file(session, self.shop.actor, source=to or self.psp, name=name, chunks=[content])

    async def work(self) -> None:
        """Let the jobs read what arrived."""
        waiting = self.query("select id from recon_arrival where status in ('received', 'reading', 'comparing') order by id")
        for (found,) in waiting:
            await flows.take_file(merchant_id=self.shop.merchant_id, arrival_id=UUID(str(found)))

    async def compare(self) -> Run:
        """Run everything once."""
        async with unit_of_work(self.shop.merchant_id) as session:
            return await runs.compare(session, self.shop.actor)

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Look into the database."""
        return self.superuser.execute(sql, values).fetchall()  # type: ignore[call-overload]

    def breaks(self) -> list[tuple[object, ...]]:
        """What is open: kind, reference and difference."""
        return self.query(
            "select kind, reference, minor from recon_break where merchant_id = %s and status in ('open', 'parked', 'awaiting_approval')"
            " order by kind, reference",
            self.shop.merchant_id,
        )

    def left_over(self) -> dict[tuple[str, str], int]:
        """What has not cleared: code and key to debits less credits, of the accounts that must come to nothing."""
        found = self.query(
            "select a.code, e.clear_key, sum(e.side * e.amount)::bigint from ledger.entry e"
            " join ledger.account a on a.merchant_id = e.merchant_id and a.id = e.account_id"
            " where e.merchant_id = %s and a.code in ('1100', '1210', '1900', '2400') group by 1, 2 having sum(e.side * e.amount) <> 0",
            self.shop.merchant_id,
        )
        return {(str(code), str(key)): int(str(minor)) for code, key, minor in found}

    def balance(self, code: str) -> int:
        """An account's debits less credits."""
        (found,) = self.query(
            "select coalesce(sum(e.side * e.amount), 0)::bigint from ledger.entry e"
            " join ledger.account a on a.merchant_id = e.merchant_id and a.id = e.account_id where e.merchant_id = %s and a.code = %s",
            self.shop.merchant_id,
            code,
        )
        return int(str(found[0]))

    def item(self, ext_id: str) -> UUID:
        """An item by the provider's or bank's id."""
        (found,) = self.query("select id from recon_item where merchant_id = %s and ext_id = %s", self.shop.merchant_id, ext_id)
        assert isinstance(found[0], UUID)
        return found[0]


async def open_desk(shop: Shop, superuser: psycopg.Connection, *, funding_id: FundingAccountId | None = None) -> Desk:
    """A shop whose provider and bank are known; payouts are made from the bank account that is named."""
    async with unit_of_work(shop.merchant_id) as session:
        provider = await sources.add_source(
            session, shop.actor, name="Simulator", format="simulated", connection_id=ConnectionId(shop.connection_id)
        )
        bank = await sources.add_source(session, shop.actor, name="Bank", format="camt053", funding_id=funding_id)
    return Desk(shop=shop, superuser=superuser, psp=provider, bank=bank)


@pytest_asyncio.fixture
async def desk(shop: Shop, superuser: psycopg.Connection) -> Desk:
    """The shop's desk."""
    return await open_desk(shop, superuser)


LATER = timedelta(days=30)
