"""What is sent on a raw socket: requests that two servers could read differently are refused, and nothing of the house's inside is served."""

import asyncio
import re

import pytest

from tests.support.served import served
from tests.support.toy import create_toy_app
from tests.support.web import Browser

SMUGGLED = {
    "two lengths": "POST /sign-in HTTP/1.1\r\nHost: countinghouse.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "length and chunks": "POST /sign-in HTTP/1.1\r\nHost: countinghouse.test\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "a strange coding": "POST /sign-in HTTP/1.1\r\nHost: countinghouse.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a length that is none": "POST /sign-in HTTP/1.1\r\nHost: countinghouse.test\r\nContent-Length: +5\r\n\r\nabcde",
    "a name with a space": "POST /sign-in HTTP/1.1\r\nHost: countinghouse.test\r\nContent-Length : 5\r\n\r\nabcde",
    "a header on two lines": "GET /sign-in HTTP/1.1\r\nHost: countinghouse.test\r\nX-A: b\r\n c: d\r\nX\rY: z\r\n\r\n",
}
INSIDE = ["/.git/config", "/.env", "/schema", "/docs", "/openapi.json", "/metrics", "/debug", "/var/keys.json", "/static/../app/main.py"]


async def answers(address: str, request: str) -> list[str]:
    """The status lines of all answers to what is sent on one connection, followed by an honest request."""
    host, _, port = address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode() + b"GET /healthz HTTP/1.1\r\nHost: countinghouse.test\r\nConnection: close\r\n\r\n")
    await writer.drain()
    received = await reader.read()
    writer.close()
    return re.findall(r"HTTP/1\.1 \d{3} [A-Za-z ]+", received.decode(errors="replace"))


class TestSmuggling:
    async def test_what_could_be_read_in_two_ways_is_refused_and_ends_the_connection(self, database: object) -> None:
        async with served(create_toy_app()) as address:
            told = {name: await answers(address, request) for name, request in SMUGGLED.items()}
        assert {name: lines for name, lines in told.items() if lines != ["HTTP/1.1 400 Bad Request"]} == {}

    async def test_an_honest_request_and_the_next_are_answered(self, database: object) -> None:
        async with served(create_toy_app()) as address:
            honest = "GET /healthz HTTP/1.1\r\nHost: countinghouse.test\r\n\r\n"
            assert await answers(address, honest) == ["HTTP/1.1 200 OK"] * 2


class TestInside:
    @pytest.mark.parametrize("path", INSIDE)
    async def test_nothing_is_served_that_is_not_a_page(self, owner: Browser, path: str) -> None:
        assert (await owner.get(path)).status_code == 404

    async def test_a_trace_is_not_answered(self, browser: Browser) -> None:
        assert (await browser.client.request("TRACE", "/sign-in")).status_code == 405
