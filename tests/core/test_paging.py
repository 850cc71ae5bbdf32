"""Pages by keyset: every row once, in both directions, while rows arrive; a pointer that is not ours is refused."""

import base64
from contextlib import suppress
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from app.core.actors import Actor
from app.core.audit import AuditEntry, record
from app.core.db import unit_of_work
from app.core.ids import MerchantId
from app.core.paging import Cursor, MalformedCursor, Page, fetch_page

pytestmark = pytest.mark.usefixtures("database")
KEYS = [AuditEntry.object_type, AuditEntry.at, AuditEntry.id]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)


async def add(merchant_id: MerchantId, *groups: str) -> list[UUID]:
    async with unit_of_work(merchant_id) as session:
        return [await record(session, Actor.system(merchant_id), action="x", object_type=group, object_id=None) for group in groups]


async def page(merchant_id: MerchantId, after: str | None, size: int = 3, *, descending: bool = True) -> Page[UUID]:
    statement = select(AuditEntry.object_type, AuditEntry.at, AuditEntry.id)
    async with unit_of_work(merchant_id) as session:
        found = await fetch_page(session, statement, keys=KEYS, after=after, size=size, descending=descending)  # type: ignore[arg-type]
    return found.map(lambda row: row.id)


class TestFetchPage:
    @pytest.mark.parametrize("descending", [True, False])
    @pytest.mark.parametrize("rows", [0, 1, 3, 4, 6, 17])
    async def test_every_row_exactly_once_and_back_again_while_rows_arrive(self, rows: int, descending: bool) -> None:
        merchant_id = MerchantId(uuid4())
        there = await add(merchant_id, *("m" for _ in range(rows)))
        there = there[::-1] if descending else there
        seen, last, after = list[UUID](), None, None
        while True:
            last = await page(merchant_id, after, descending=descending)
            seen += last.items
            assert len(last.items) <= 3
            # Rows that sort before, after and between: what was there is neither skipped nor repeated.
            await add(merchant_id, "a", "z")
            if last.next is None or len(seen) > 3 * rows + 50:
                break
            after = last.next
            if len(seen) >= rows:
                break
        assert [each for each in seen if each in there] == there
        back, pointer = list(reversed(last.items)), last.previous
        while pointer is not None:
            last = await page(merchant_id, pointer, descending=descending)
            back += reversed(last.items)
            pointer = last.previous
            assert last.next is not None
        assert [each for each in back if each in there] == there[::-1]
        assert len(back) == len(set(back))

    async def test_the_first_page_has_nothing_before_it_and_the_last_nothing_after(self) -> None:
        merchant_id = MerchantId(uuid4())
        await add(merchant_id, *("m" for _ in range(6)))
        first = await page(merchant_id, None)
        second = await page(merchant_id, first.next)
        assert (first.previous, second.next) == (None, None)
        again = await page(merchant_id, second.previous)
        assert (again.items, again.previous) == (first.items, None)

    @pytest.mark.parametrize("size", [-5, 0, 1, 100, 10**6])
    async def test_no_page_is_larger_than_the_largest(self, size: int) -> None:
        merchant_id = MerchantId(uuid4())
        await add(merchant_id, *("m" for _ in range(120)))
        assert len((await page(merchant_id, None, size=size)).items) == max(1, min(size, 100))

    async def test_another_merchants_pointer_shows_nothing_of_it(self) -> None:
        ours, theirs = MerchantId(uuid4()), MerchantId(uuid4())
        await add(ours, *("m" for _ in range(6)))
        pointer = (await page(ours, None)).next
        assert (await page(theirs, pointer)).items == []


class TestCursor:
    @given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20), max_size=4), st.booleans())
    def test_what_is_written_is_read_back(self, values: list[str | int], backwards: bool) -> None:
        cursor = Cursor(tuple(values), backwards)
        assert Cursor.decode(cursor.encode()) == cursor

    @settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
    @given(
        st.text(max_size=40)
        | st.binary(max_size=40).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
        | JSON.map(lambda value: base64.urlsafe_b64encode(msgspec.json.encode(value)).decode())
    )
    async def test_any_other_text_is_refused_or_leads_to_a_page(self, text: str) -> None:
        with suppress(MalformedCursor):
            await page(MerchantId(UUID(int=0)), text or None)

    @pytest.mark.parametrize(
        "values",
        [(), ("m",), ("m", "now", str(UUID(int=1))), ("m", "2026-01-01T00:00:00+00:00", "x"), ("m", 5, 6), ("a\x00b", "2026-01-01T00:00:00+00:00", str(UUID(int=1))), ("m", "2026-01-01T00:00:00", str(UUID(int=1)), 4)],
    )  # fmt: skip
    async def test_a_forged_pointer_is_refused(self, values: tuple[str | int, ...]) -> None:
        with pytest.raises(MalformedCursor):
            await page(MerchantId(uuid4()), Cursor(values).encode())

    async def test_a_number_larger_than_any_amount_is_refused(self) -> None:
        from app.payments.models import Payment

        statement = select(Payment.amount_minor, Payment.id)
        pointer = Cursor((10**18 * 10, str(UUID(int=1)))).encode()
        with pytest.raises(MalformedCursor):
            async with unit_of_work(MerchantId(uuid4())) as session:
                await fetch_page(session, statement, keys=[Payment.amount_minor, Payment.id], after=pointer)  # type: ignore[list-item]
