"""Letters: what a mail says is written once, as text; its HTML is the same paragraphs with their links made clickable."""

import re
from functools import cache

import jinja2
from markupsafe import Markup, escape

from app.core.mail import Letter
from app.core.settings import settings
from app.web import formatting
from app.web.rendering import TEMPLATES

_LINK = re.compile(r"https?://[^\s<>\"]+")


@cache
def _texts() -> jinja2.Environment:
    # plain text: there is nothing to escape, and the HTML made of it below is escaped
    environment = jinja2.Environment(  # noqa: S701
        loader=jinja2.FileSystemLoader(TEMPLATES / "mail"), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["when"] = formatting.moment
    return environment


def letter(name: str, page: object) -> Letter:
    """The letter of this name for this page struct; the first line of its template is the subject."""
    written = _texts().get_template(f"{name}.txt").render(page=page, here=settings().public_url)
    subject, _, body = written.partition("\n")
    body = body.strip() + "\n"
    return Letter(subject=subject.strip(), text=body, html=_html(body))


def links(text: str) -> list[str]:
    """The links in a letter's text."""
    return [found.rstrip(".,") for found in _LINK.findall(text)]


def _html(body: str) -> str:
    paragraphs = Markup("").join(Markup("<p>{}</p>\n").format(_linked(part)) for part in body.strip().split("\n\n"))
    return str(Markup('<!doctype html>\n<html lang="en"><body>\n{}</body></html>\n').format(paragraphs))


def _linked(part: str) -> Markup:
    made, last = Markup(""), 0
    for found in _LINK.finditer(part):
        made += escape(part[last : found.start()]) + Markup('<a href="{0}">{0}</a>').format(found.group())
        last = found.end()
    return (made + escape(part[last:])).replace("\n", Markup("<br>\n"))


def address(path: str) -> str:
    """A path of ours as a link that works outside."""
    return settings().public_url.rstrip("/") + path
