"""Resets whose day is over."""

from datetime import datetime

from sqlalchemy import text

from app.core.actors import Actor
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import MerchantId
from app.tenancy.resets import service

_DUE = text("select merchant_id, id from factor_resets_due(:moment, 100)")


async def finish_due(moment: datetime | None = None) -> int:
    """Do every reset that was approved a day ago and that nobody cancelled; gives how many."""
    async with unit_of_work(None) as session:
        due = (await session.execute(_DUE, {"moment": moment or now()})).all()
    done = 0
    for merchant_id, reset_id in due:
        async with unit_of_work(MerchantId(merchant_id)) as session:
            done += await service.finish(session, Actor.worker(MerchantId(merchant_id), "Factor resets"), reset_id=reset_id)
    return done
