"""A name server on loopback that knows TXT records, for proofs of domains."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dns import flags, message, rcode, rdatatype, rrset

from app.core.settings import settings


class NameServer(asyncio.DatagramProtocol):
    """Answers from a table; a name that is not in it does not exist, and of a silent server nothing is heard."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        asked = message.from_wire(data)
        answer = message.make_response(asked)
        answer.flags |= flags.RA
        question = asked.question[0]
        found = self.texts.get(question.name.to_text(omit_final_dot=True))
        if self.broken:
            answer.set_rcode(rcode.SERVFAIL)
        elif found is None:
            answer.set_rcode(rcode.NXDOMAIN)
        elif question.rdtype == rdatatype.TXT:
            answer.answer.append(rrset.from_text(question.name, 60, "IN", "TXT", *(f'"{text}"' for text in found)))
        self.transport.sendto(answer.to_wire(), addr)  # type: ignore[attr-defined]


@asynccontextmanager
async def name_server(setenv: object) -> AsyncIterator[NameServer]:
    """A running name server, asked by the application while the block runs; ``setenv`` is the monkeypatch's."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    host, port = transport.get_extra_info("sockname")
    setenv("COUNTINGHOUSE_DNS_SERVER", f"{host}:{port}")  # type: ignore[operator]
    settings.cache_clear()
    yield server
    transport.close()
    settings.cache_clear()
