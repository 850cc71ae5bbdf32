"""Idempotency keys: one effect, one answer, and work that a dead process left is continued, not repeated."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from psycopg import Connection

from app.core import idempotency
from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.idempotency import LEASE, Answer, Claim, IdempotencyKeyMissing, IdempotencyKeyReused, RequestInProgress, fingerprint
from app.core.ids import MerchantId

pytestmark = pytest.mark.usefixtures("database")
REQUEST = fingerprint("POST", "/v1/payments", b"{}")


@pytest.fixture
def merchant_id() -> MerchantId:
    return MerchantId(uuid4())


async def claim(merchant_id: MerchantId, key: str = "k", request: bytes = REQUEST, resource_id: UUID | None = None) -> Claim:
    async with unit_of_work(merchant_id) as session:
        return await idempotency.claim(session, merchant_id=merchant_id, key=key, request=request, resource_id=resource_id)


async def finish(merchant_id: MerchantId, answer: Answer, key: str = "k") -> None:
    async with unit_of_work(merchant_id) as session:
        await idempotency.finish(session, merchant_id=merchant_id, key=key, answer=answer)


class TestClaim:
    async def test_the_first_is_new_the_second_waits_and_the_finished_is_repeated_byte_for_byte(self, merchant_id: MerchantId) -> None:
        resource, answer = uuid4(), Answer(201, bytes(range(256)))
        assert (await claim(merchant_id, resource_id=resource)).is_new
        with pytest.raises(RequestInProgress) as waits:
            await claim(merchant_id)
        assert (waits.value.status, waits.value.extra) == (429, {"retry_after": 1})
        await finish(merchant_id, answer)
        again = await claim(merchant_id)
        assert (again.replay, again.resource_id, again.is_new) == (answer, resource, False)
        with travel(timedelta(days=400)):
            assert (await claim(merchant_id)).replay == answer

    async def test_another_request_is_refused_before_and_after_the_answer(self, merchant_id: MerchantId) -> None:
        await claim(merchant_id)
        for _ in range(2):
            with pytest.raises(IdempotencyKeyReused):
                await claim(merchant_id, request=fingerprint("POST", "/v1/payments", b"{ }"))
            await finish(merchant_id, Answer(201, b""))

    async def test_what_a_dead_process_left_is_taken_over_by_one_after_the_lease(self, merchant_id: MerchantId) -> None:
        resource = uuid4()
        await claim(merchant_id, resource_id=resource)
        with travel(LEASE + timedelta(seconds=1)):
            results = await asyncio.gather(*(claim(merchant_id) for _ in range(8)), return_exceptions=True)
            taken = [result for result in results if isinstance(result, Claim)]
            assert [each.resource_id for each in taken] == [resource]
            assert sum(isinstance(result, RequestInProgress) for result in results) == 7
        with travel(2 * LEASE + timedelta(seconds=5)):
            assert (await claim(merchant_id)).resource_id == resource

    async def test_of_two_that_finish_the_first_answer_stays(self, merchant_id: MerchantId) -> None:
        await claim(merchant_id)
        await finish(merchant_id, Answer(201, b"first"))
        await finish(merchant_id, Answer(202, b"the one whose lease ran out"))
        assert (await claim(merchant_id)).replay == Answer(201, b"first")

    async def test_of_many_at_once_one_is_new(self, merchant_id: MerchantId, superuser: Connection) -> None:
        results = await asyncio.gather(*(claim(merchant_id) for _ in range(50)), return_exceptions=True)
        assert sum(isinstance(result, Claim) and result.is_new for result in results) == 1
        assert {type(result) for result in results} == {Claim, RequestInProgress}
        assert superuser.execute("select count(*) from idempotency_key").fetchone() == (1,)

    async def test_a_claim_dies_with_the_transaction_it_was_made_in(self, merchant_id: MerchantId) -> None:
        with pytest.raises(RuntimeError):  # noqa: PT012 - the whole unit is what must not stay
            async with unit_of_work(merchant_id) as session:
                await idempotency.claim(session, merchant_id=merchant_id, key="k", request=REQUEST)
                raise RuntimeError
        assert (await claim(merchant_id)).is_new

    async def test_keys_belong_to_merchants(self, merchant_id: MerchantId) -> None:
        assert (await claim(merchant_id)).is_new
        assert (await claim(MerchantId(uuid4()), request=b"other")).is_new

    @pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "a\x00b", "\x7f"])
    async def test_a_key_that_cannot_be_one_is_refused(self, merchant_id: MerchantId, key: str) -> None:
        with pytest.raises(IdempotencyKeyMissing):
            await claim(merchant_id, key=key)
        assert (await claim(merchant_id, key="x" * 255)).is_new

    async def test_the_object_can_be_named_later_in_the_same_transaction(self, merchant_id: MerchantId) -> None:
        resource = uuid4()
        async with unit_of_work(merchant_id) as session:
            await idempotency.claim(session, merchant_id=merchant_id, key="k", request=REQUEST)
            await idempotency.name_resource(session, merchant_id=merchant_id, key="k", resource_id=resource)
        with travel(LEASE + timedelta(seconds=1)):
            assert (await claim(merchant_id)).resource_id == resource


class TestFingerprint:
    def test_parts_do_not_run_into_each_other(self) -> None:
        assert fingerprint("ab", "c") != fingerprint("a", "bc") != fingerprint("abc")
        assert fingerprint("é", b"x") == fingerprint("é".encode(), "x")
