"""Calls to other servers: what may be called, what is known when a call fails, and that nothing is sent twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import outbound
from app.core.outbound import MAX_ANSWER, AddressRefused, Answer, Failure, Pool, check_url, is_public

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
    "192.0.0.8", "192.88.99.1", "198.18.0.1", "203.0.113.5", "240.0.0.1",
    "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001::1", "ff02::1",
]  # fmt: skip


class TestIsPublic:
    @pytest.mark.parametrize("address", PRIVATE)
    def test_private_ones_are_not(self, address: str) -> None:
        assert not is_public(address)

    @pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
    def test_public_ones_are(self, address: str) -> None:
        assert is_public(address)

    @given(
        st.ip_addresses(v=4, network="10.0.0.0/8")
        | st.ip_addresses(v=4, network="127.0.0.0/8")
        | st.ip_addresses(v=6, network="64:ff9b::/96")
    )
    def test_no_address_of_a_private_network_is(self, address: object) -> None:
        assert not is_public(str(address))


class TestCheckUrl:
    @pytest.mark.parametrize(
        "url",
        [
            "http://example.com",
            "ftp://example.com",
            "https://",
            "https://user@example.com",
            "https://example.com:22",
            "https://127.0.0.1",
            "https://[::1]/",
            "//x",
            "https://x:99999",
            "https://a..example",
            f"https://{'x' * 64}.example",
            "https://exämple.example/",
            "https://example.com/ä",
            "https://example.com/a b",
        ],
    )
    def test_refused(self, url: str) -> None:
        with pytest.raises(AddressRefused):
            check_url(url, allow_insecure=False)

    def test_loopback_only_where_allowed(self) -> None:
        assert check_url("http://127.0.0.1:8001/v1", allow_insecure=True).port == 8001
        assert check_url("https://api.example.com/v1", allow_insecure=False).hostname == "api.example.com"


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[str]:
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    finally:
        listening.close()
        await listening.wait_closed()


def answering(*chunks: bytes, close: bool = True, count: list[bytes] | None = None) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
            if count is not None and head:
                count.append(head)
            for chunk in chunks if head else ():
                writer.write(chunk)
                await writer.drain()
            if close or not head:
                break
        writer.close()

    return serve


async def call(pool: Pool, url: str, *, insecure: bool = True, total: float = 0.5) -> Answer:
    return await pool.call("GET", url, headers={"x-test": "1"}, allow_insecure=insecure, connect_seconds=0.3, total_seconds=total)


class TestCall:
    async def test_an_answer_with_a_length(self) -> None:
        async with server(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")) as url:
            answer = await call(Pool(), url)
        assert (answer.status, answer.body, answer.failure, answer.sent) == (200, b"hi", None, True)

    async def test_an_answer_in_chunks_and_after_a_continue(self) -> None:
        parts = (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", b"0\r\n\r\n")
        async with server(answering(*parts)) as url:
            answer = await call(Pool(), url)
        assert (answer.status, answer.body) == (201, b"abc")

    async def test_an_answer_that_ends_with_the_connection(self) -> None:
        async with server(answering(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end")) as url:
            assert (await call(Pool(), url)).body == b"until the end"

    async def test_connections_are_used_again(self) -> None:
        seen: list[bytes] = []
        pool = Pool()
        async with server(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", close=False, count=seen)) as url:
            for _ in range(5):
                assert (await call(pool, url)).status == 200
            assert len(seen) == 5
            assert [len(free) for free in pool._free.values()] == [1]
            pool.close()

    async def test_what_is_lost_midway_was_sent_and_is_not_sent_again(self) -> None:
        seen: list[bytes] = []
        for reply in (b"", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"):
            async with server(answering(reply, count=seen)) as url:
                answer = await call(Pool(), url)
            assert (answer.failure, answer.sent) == (Failure.CONNECTION_LOST, True)
        assert len(seen) == 2

    async def test_nonsense_and_endless_answers_are_malformed(self) -> None:
        for reply in (
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * (MAX_ANSWER // 65536 + 1),
        ):
            async with server(answering(reply)) as url:
                assert (await call(Pool(), url, total=3)).failure is Failure.MALFORMED_ANSWER

    async def test_silence_ends_at_the_deadline(self) -> None:
        async with server(answering(close=False)) as url:
            answer = await call(Pool(), url)
        assert (answer.failure, answer.sent) == (Failure.DEADLINE_EXCEEDED, True)

    async def test_nobody_there_was_not_sent(self) -> None:
        answer = await call(Pool(), "http://127.0.0.1:1/")
        assert (answer.failure, answer.sent) == (Failure.CONNECTION_REFUSED, False)

    async def test_redirects_are_answers(self) -> None:
        seen: list[bytes] = []
        async with server(answering(b"HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n", count=seen)) as url:
            assert (await call(Pool(), url)).status == 302
        assert len(seen) == 1

    async def test_a_name_that_leads_home_is_refused_at_connect_time(self) -> None:
        seen: list[bytes] = []
        async with server(answering(b"", count=seen)) as url:
            port = url.split(":")[2].strip("/")
            for host in ("localhost", "127.1", "0x7f000001", "2130706433"):
                answer = await call(Pool(), f"https://{host}/", insecure=False)
                assert (answer.failure, answer.sent) == (Failure.ADDRESS_REFUSED, False), host
                assert (await call(Pool(), f"https://{host}:{port}/", insecure=False)).failure is Failure.ADDRESS_REFUSED
        assert seen == []

    async def test_a_header_cannot_smuggle_another(self) -> None:
        async with server(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")) as url:
            answer = await Pool().call("GET", url, headers={"x": "1\r\ny: 2"}, allow_insecure=True)
        assert answer.failure is Failure.ADDRESS_REFUSED

    async def test_a_cancelled_call_gives_no_connection_back(self) -> None:
        pool, seen = Pool(), list[bytes]()
        async with server(answering(close=False, count=seen)) as url:
            task = asyncio.create_task(call(pool, url, total=5))
            while not seen:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not any(pool._free.values())


async def test_the_pool_belongs_to_its_loop() -> None:
    assert outbound.pool() is outbound.pool()
    assert await asyncio.to_thread(lambda: asyncio.run(_pool())) is not outbound.pool()


async def _pool() -> Pool:
    return outbound.pool()


class TestHeaders:
    @pytest.mark.parametrize("value", ["ключ", "a\r\nb", "\x00"])
    async def test_what_cannot_be_sent_is_refused_and_was_not_sent(self, value: str) -> None:
        async with server(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")) as url:
            answer = await Pool().call("GET", url, headers={"authorization": value}, allow_insecure=True)
        assert (answer.failure, answer.sent) == (Failure.ADDRESS_REFUSED, False)
