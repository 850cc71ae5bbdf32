"""A house with only its front: the pattern page and the static files behind the same frame of nonce, policy and problems."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from litestar import Litestar, Request, Response
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import AppError
from app.web import csrf
from app.web.context import CSRF_HEADER, HttpRequest, WebContext, wants_fragment
from app.web.headers import new_nonce, page_policy
from app.web.patterns import ROUTES
from app.web.rendering import invalid_answer
from app.web.static import static_route

SEED = b"a seed of sixteen"
TOKEN = csrf.token_for(SEED)
BROWSER_HEADERS = {CSRF_HEADER: TOKEN}
PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial", **BROWSER_HEADERS}
FULL = {"HX-Request": "true", "HX-Request-Type": "full", **BROWSER_HEADERS}


class TinyFrame:
    """What the real frame does for rendering, without sessions and a database."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        request: HttpRequest = Request(scope, receive, send)
        path = scope["path"]
        request.state.web = web = WebContext(
            request_id="req_1", nonce=new_nonce(), csrf_token=TOKEN, path=path, fragment=wants_fragment(request)
        )
        request.state.actor = request.state.visitor = None
        request.state.csrf_seed = SEED

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", page_policy(web.nonce).encode())]
            await send(message)

        try:
            await self.app(scope, receive, with_policy)
        except AppError as error:
            answer = await invalid_answer(request, error)
            if answer is None:
                raise
            await answer.to_asgi_response(app=None, request=request)(scope, receive, with_policy)


def _pass_on(_request: HttpRequest, error: Exception) -> Response[str]:
    raise error


def tiny_house() -> Litestar:
    """The pattern page, its forms and the static files."""
    app = Litestar([*ROUTES, static_route()], exception_handlers={AppError: _pass_on, 500: _pass_on}, openapi_config=None)
    app.asgi_handler = TinyFrame(app.asgi_handler)
    return app


@contextmanager
def serving(app: Litestar) -> Iterator[str]:
    """The app on a free loopback port, for a browser."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 15
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    assert server.started, "the web server did not start"
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
