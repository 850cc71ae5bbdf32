"""The small marks that fill tables, hundreds on a page: icons, states, ways of paying, amounts, moments.

Icons, states and schemes are few: each distinct one is written once per process. Components of these names show the same on /dev/patterns.
"""

from datetime import date, datetime
from functools import lru_cache

from markupsafe import Markup, escape

from app.core.money import Money
from app.web.formatting import iso, moment, money_digits, money_text
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


def money_markup(amount: Money, size: str = "", code: bool = True, sign: bool = False) -> Markup:
    """An amount whose digits line up across currencies: the code sits in its own slot; minor units are dimmed only in heroes."""
    text = money_digits(amount, sign) if code else money_text(amount, sign)
    if size == "big":
        whole, point, minor = text.rpartition(".")
        text = f'{whole}<span class="min">.{minor}</span>' if point else text
    shown = f'{text}<span class="code">{amount.currency}</span>' if code else text
    cls = f"money money--{size}" if size else "money"
    return Markup(f'<data class="{cls}" value="{amount.decimal()}">{shown}</data>')  # noqa: S704 - digits, signs and codes only


def when_markup(at: datetime | date | None, style: str = "short") -> Markup:
    """A moment as people read it, with the exact one behind it."""
    if at is None:
        return _NEVER
    exact = iso(at)
    return Markup(f'<time datetime="{exact}" title="{exact}">{moment(at, style)}</time>')  # noqa: S704 - digits and names of months only


_NEVER = Markup('<span class="t3">–</span>')


def method_markup(kind: str | None, last4: str | None = None, word: str | None = None) -> Markup:
    """A way of paying with the last digits of its card. Schemes are text tags: no logos until they are cleared."""
    name = method(kind).name
    digits = (
        f'<span class="d" aria-hidden="true">••••</span><span class="vh">{escape(name)} ending in</span> {escape(last4)}' if last4 else ""
    )
    return Markup(f'<span class="pm">{scheme_markup(kind)}<span>{digits or escape(word or name)}</span></span>')  # noqa: S704 - escaped above
