"""Pages of the simulator: plain HTML in the look of the house, without a line of JavaScript."""

from urllib.parse import urlsplit

from litestar import Response
from litestar.response import Redirect

from app.core.money import Money
from app.psp.simulator.domain import Payment
from app.web.rendering import templates

_POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; base-uri 'none'; frame-ancestors 'none'"


def _amount(minor: int, currency: str) -> str:
    return Money(minor, currency).format()


def page(name: str, *, status: int = 200, leads_to: str | None = None, **values: object) -> Response[bytes]:
    """Render a page; `leads_to` is the shop that its form may finally redirect to."""
    # Chromium enforces form-action on redirects too, so the shop's origin has to be named.
    origin = "" if leads_to is None else " {0.scheme}://{0.netloc}".format(urlsplit(leads_to))
    return Response(
        templates().get_template(f"simulator/{name}").render(amount=_amount, **values).encode(),
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
