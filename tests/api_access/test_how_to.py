"""What docs/how-to/api.md tells programs to send has a route that takes it."""

import re
import shlex
from urllib.parse import urlsplit

import pytest
from litestar import Litestar

from app.core.embedded import Urls
from app.web.guards import declared_routes
from tests.architecture.sources import ROOT
from tests.support import web

TEXT = (ROOT / "docs/how-to/api.md").read_text()
BODIES = ("-d", "--data", "--data-urlencode")
CALLS = [
    shlex.split(line)
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line
]


@pytest.fixture(scope="module")
def whole_app(urls: Urls) -> Litestar:
    return web.whole_app()


def test_every_call_has_a_route(whole_app: Litestar) -> None:
    known = [(method, re.sub(r"\{[^}]+\}", "[^/]+", path)) for method, path, _ in declared_routes(whole_app)]
    assert len(CALLS) > 6
    for words in CALLS:
        method = "POST" if set(words) & set(BODIES) else "GET"
        path = urlsplit(next(word for word in words if word.startswith("https://"))).path
        assert any(method == a and re.fullmatch(pattern, path) for a, pattern in known), words


def test_every_call_that_moves_money_shows_its_key() -> None:
    paying = [words for words in CALLS if words[2].endswith("/v1/payments")]
    assert paying
    assert all(any(word.startswith("Idempotency-Key") for word in words) for words in paying)
