"""Jobs of keys and clients."""

from uuid import UUID

from app.api_access import flows
from workers.jobs import Message, job


@job
async def ask_for_renewal(message: Message) -> None:
    """Tell the owners which keys to renew because somebody who knows them may do less than before."""
    await flows.ask_for_renewal(message.merchant, UUID(message.payload["person_id"]))
