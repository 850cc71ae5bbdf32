"""Pages of the simulator: plain HTML in the look of the house, without a line of JavaScript."""

from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response
from litestar.response import Redirect

from app.core.money import exponent
from app.psp.simulator.domain import Payment

ROOT = Path(__file__).resolve().parents[3]
_POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; base-uri 'none'; frame-ancestors 'none'"


def _icon_url(name: str) -> str:
    return f"/static/icons/sprite.svg#i-{name}"


def _amount(minor: int, currency: str) -> str:
    places = exponent(currency)
    text = f"{minor:0{places + 1}d}"
    whole = f"{int(text[:-places] if places else text):,}"
    return f"{whole}.{text[-places:]} {currency}" if places else f"{whole} {currency}"


_templates = Environment(
    loader=FileSystemLoader(ROOT / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["icon_url"] = _icon_url
_templates.globals["amount"] = _amount


def page(name: str, *, status: int = 200, leads_to: str | None = None, **values: object) -> Response[bytes]:
    """Render a page; `leads_to` is the shop that its form may finally redirect to."""
    # Chromium enforces form-action on redirects too, so the shop's origin has to be named.
    origin = "" if leads_to is None else " {0.scheme}://{0.netloc}".format(urlsplit(leads_to))
    return Response(
        _templates.get_template(f"simulator/{name}").render(**values).encode(),
        status_code=status,
        media_type="text/html; charset=utf-8",
        headers={
            "content-security-policy": f"{_POLICY}; form-action 'self'{origin}",
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        },
    )


def see(path: str) -> Redirect:
    """Send the browser on with a GET."""
    return Redirect(path, status_code=303)


def back_to_shop(payment: Payment) -> Redirect:
    """Send the buyer back to the shop."""
    return see(payment.return_url or "/")
