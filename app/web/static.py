"""Static files: their addresses carry the start of their content's hash, so that browsers may keep them for a year."""

import hashlib
from functools import cache
from pathlib import Path

from litestar.datastructures import CacheControlHeader
from litestar.router import Router
from litestar.static_files import create_static_files_router

from app.web.guards import public

STATIC = Path(__file__).parent.parent.parent / "static"
_YEAR = 31_536_000


@cache
def static_url(path: str) -> str:
    """The address of a static file, with `?v=` and eight characters of its sha256; a missing file is an error."""
    digest = hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:8]
    return f"/static/{path}?v={digest}"


@cache
def icon_url(name: str) -> str:
    """The address of one icon in the sprite; an icon that is not in it is an error."""
    if name not in icon_names():
        raise LookupError(f"static/icons/sprite.svg has no icon “{name}”")
    return f"{static_url('icons/sprite.svg')}#i-{name}"


@cache
def icon_names() -> frozenset[str]:
    """Every icon in the sprite."""
    parts = (STATIC / "icons/sprite.svg").read_text(encoding="utf-8").split('id="i-')[1:]
    return frozenset(part.partition('"')[0] for part in parts)


def static_route() -> Router:
    """The route of the static files, open to all."""
    return create_static_files_router(
        path="/static",
        directories=[STATIC],
        cache_control=CacheControlHeader(public=True, max_age=_YEAR, immutable=True),
        name="static",
        include_in_schema=False,
        guards=[public(machine=True)],
    )
