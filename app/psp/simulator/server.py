"""Building and serving the simulator."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from litestar import Litestar, asgi
from litestar.static_files import create_static_files_router
from litestar.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.core import outbound
from app.psp.simulator import console, controls, hosted, settlements
from app.psp.simulator.api import Api
from app.psp.simulator.courier import Courier
from app.psp.simulator.store import Store
from app.psp.simulator.world import World

STATIC = Path(__file__).resolve().parents[3] / "static"


def create_simulator(*, base_url: str, journal: Path | None = None, salt: str | None = None) -> Litestar:
    """Build the simulated provider; with a journal file it survives its own restart."""
    world = World(Store(journal, salt=salt), base_url=base_url.rstrip("/"))
    api = Api(world)
    courier = Courier(world)

    @asgi("/v1", is_mount=True, copy_scope=False)
    async def v1(scope: Scope, receive: Receive, send: Send) -> None:
        await api(scope, receive, send)

    @contextlib.asynccontextmanager
    async def run_courier(_: Litestar) -> AsyncIterator[None]:
        task = asyncio.create_task(courier.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        outbound.close()

    app = Litestar(
        route_handlers=[
            v1,
            *console.ROUTES,
            *controls.ROUTES,
            *hosted.ROUTES,
            *settlements.ROUTES,
            create_static_files_router(path="/static", directories=[STATIC], include_in_schema=False),
        ],
        lifespan=[run_courier],
        openapi_config=None,
        logging_config=None,
    )
    app.state.world = world
    app.state.courier = courier
    return app


class ServerWire:
    """Cuts the connections of a running uvicorn server, found by the caller's address."""

    def __init__(self, server: uvicorn.Server) -> None:
        self.server = server

    def cut(self, client: tuple[str, int]) -> None:
        """Close the caller's connection without an answer."""
        for transport in self._transports(client):
            transport.close()

    def reset(self, client: tuple[str, int]) -> None:
        """Reset the caller's connection: lingering for no time makes the kernel send RST."""
        for transport in self._transports(client):
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()

    def _transports(self, client: tuple[str, int]) -> list[asyncio.Transport]:
        peers = [peer for peer in self.server.server_state.connections if isinstance(peer, HttpToolsProtocol)]
        return [peer.transport for peer in peers if peer.client == tuple(client)]


def serve(*, host: str, port: int, base_url: str | None = None, journal: Path | None = None, salt: str | None = None) -> None:
    """Run the simulator until it is stopped."""
    app = create_simulator(base_url=base_url or f"http://{host}:{port}", journal=journal, salt=salt)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
        )
    )
    app.state.world.wire = ServerWire(server)
    server.run()
