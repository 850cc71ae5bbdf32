"""The nightly round: what is wrong at one merchant, or at one feed, keeps nobody else from it."""

from uuid import UUID

import pytest

from app.core.ids import MerchantId, new_id
from app.reconciliation import flows, service
from app.reconciliation.feeds import service as feeds

FIRST, SECOND = MerchantId(new_id()), MerchantId(new_id())


async def test_a_merchant_that_cannot_be_compared_keeps_no_other_from_its_proof(database: object, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[MerchantId] = []

    async def due(*_: object, **__: object) -> list[MerchantId]:
        return [FIRST, SECOND]

    async def compare(merchant_id: MerchantId) -> None:
        if merchant_id == FIRST:
            raise RuntimeError("its books are locked")
        compared.append(merchant_id)

    monkeypatch.setattr(service, "merchants_due", due)
    monkeypatch.setattr(flows, "compare_one", compare)
    assert await flows.compare_all() == 1
    assert compared == [SECOND]


async def test_a_feed_that_breaks_off_keeps_no_other_from_being_looked_at(database: object, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[MerchantId] = []

    async def due(*_: object, **__: object) -> list[tuple[MerchantId, UUID]]:
        return [(FIRST, new_id()), (SECOND, new_id())]

    async def fetch(*, merchant_id: MerchantId, feed_id: UUID) -> None:
        if merchant_id == FIRST:
            raise RuntimeError("its adapter broke off")
        looked.append(merchant_id)

    monkeypatch.setattr(feeds, "due", due)
    monkeypatch.setattr(flows, "fetch", fetch)
    assert await flows.fetch_due() == 1
    assert looked == [SECOND]
