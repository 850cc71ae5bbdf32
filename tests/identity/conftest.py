"""The same browsers as the web floor's tests, and a sign-in provider of foreign make that all tests of one process share."""

from collections.abc import Iterator

import pytest

from tests.support.foreign_provider import ForeignProvider, started
from tests.support.simulator import free_port
from tests.web.conftest import app, browser, open_browser, owner, tenant

__all__ = ["acme", "app", "browser", "open_browser", "owner", "tenant"]

LOGOUT_PORT = free_port()


def addresses() -> dict[str, object]:
    """Where the foreign provider sends people back to, and tells that they signed out."""
    home = "http://127.0.0.1:8000/sign-in"
    return {
        "redirect_uris": [f"{home}/with/{key}/callback" for key in ("acme", "other", "lax", "strict")],
        "logout_uri": f"http://127.0.0.1:{LOGOUT_PORT}/signed-out",
        "back": f"{home}/signed-out",
    }


@pytest.fixture(scope="session")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignProvider]:
    yield from started(tmp_path_factory.mktemp("acme"), **addresses())
