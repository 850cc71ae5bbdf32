"""The small marks that fill tables, a hundred on a page: icons, states, ways of paying. Each distinct one is written once per process."""

from functools import lru_cache

from markupsafe import Markup

from app.web.static import icon_url
from app.web.statuses import method, status


@lru_cache(maxsize=4096)
def icon_markup(name: str, cls: str = "", label: str | None = None) -> Markup:
    """An icon from the sprite; with a label it is an image, without one it is decoration."""
    role = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
    return Markup('<svg class="{}" {}><use href="{}"/></svg>').format(f"i {cls}".strip(), role, icon_url(name))


@lru_cache(maxsize=4096)
def badge_markup(noun: str, state: str, label: str | None = None) -> Markup:
    """A state as tint, glyph and word."""
    shown = status(noun, state)
    return Markup('<span class="badge badge--{}">{}{}</span>').format(shown.tone, icon_markup(shown.icon), label or shown.label)


@lru_cache(maxsize=4096)
def scheme_markup(kind: str | None) -> Markup:
    """The text tag of a way of paying; schemes have no logos until they are cleared."""
    shown = method(kind)
    return Markup('<span class="pm-b" title="{}">{}</span>').format(shown.name, shown.mark)
