"""Fixtures of the interface tests: they need no database."""

from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tests.web_ui import house


@pytest.fixture
def app() -> Litestar:
    """The tiny house."""
    return house.tiny_house()


@pytest.fixture
def client(app: Litestar) -> Iterator[TestClient[Litestar]]:
    """A client of the tiny house that does not follow redirects."""
    with TestClient(app) as client:
        client.follow_redirects = False
        yield client
