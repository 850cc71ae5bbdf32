"""People who stayed away, looked for across merchants and shut out one by one."""

from datetime import timedelta

import structlog
from sqlalchemy import text

from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import PersonId
from app.core.settings import settings
from app.identity.service import absences

log = structlog.get_logger()
_UNUSED = text("select people_unused(:before, 500)")


async def shut_out_unused() -> int:
    """Shut out who did not sign in for as long as the setting says; whoever a merchant cannot do without stays. Gives how many."""
    if not settings().unused_days:
        return 0
    before, done = now() - timedelta(days=settings().unused_days), 0
    async with unit_of_work(None) as session:
        due = (await session.scalars(_UNUSED, {"before": before})).all()
    for person_id in due:
        async with unit_of_work(None) as session:
            done += await absences.shut_out(session, PersonId(person_id), before=before)
    if done:
        log.info("people_shut_out", people=done)
    return done
