"""Where providers' servers call: the webhook inbox."""

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.psp import service
from app.psp.domain import MAX_WEBHOOK, WebhookTooLarge, connection_id_of
from app.web.context import HttpRequest
from app.web.guards import public


@post(
    "/webhooks/{connection_id:str}",
    name="psp:webhook",
    status_code=200,
    guards=[public(machine=True)],
    request_max_body_size=MAX_WEBHOOK + 1,
)
async def receive_webhook(request: HttpRequest, connection_id: FromPath[str], session: NamedDependency[AsyncSession]) -> Response[str]:
    """Verify a provider's webhook and store it once; the work is done later."""
    raw = await request.body()
    if len(raw) > MAX_WEBHOOK:
        raise WebhookTooLarge("At most one mebibyte is taken.")
    await service.receive_webhook(session, connection_id=connection_id_of(connection_id), raw=raw, headers=request.headers)
    return Response("", status_code=200, media_type="text/plain")


ROUTES = [receive_webhook]
