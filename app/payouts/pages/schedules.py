"""Schedules and the calendar of bank days."""

import re
from datetime import date

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import today
from app.core.errors import Invalid
from app.core.ids import public_id
from app.payouts.domain.calendars import FIRST_YEAR, LAST_YEAR
from app.payouts.queries import calendars
from app.payouts.queries import schedules as queries
from app.payouts.schemas.schedules import OverrideForm, ScheduleForm, ScheduleFormPage
from app.payouts.service import schedules as service
from app.sellers import queries as sellers
from app.sellers.queries import bank_accounts
from app.web.context import HttpRequest
from app.web.forms import parse_form, read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

FORM = "payouts/schedule.html"


@get("/payouts/schedules", name="payouts:schedules", guards=[requires("payouts.read")])
async def list_schedules(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Who is paid out by itself."""
    page = await queries.schedule_list_page(session, merchant_id=actor.merchant, after=request.query_params.get("after"))
    return render(request, "payouts/schedules.html", page)


async def _form(request: HttpRequest, session: AsyncSession, actor: Actor, wanted: ScheduleForm | None = None) -> ScheduleFormPage:
    asked = request.query_params
    return await queries.schedule_form_page(
        session,
        merchant_id=actor.merchant,
        seller_id=sellers.seller_id(asked.get("seller", "")),
        currency=asked.get("currency", "") or "EUR",
        wanted=wanted,
    )


@get("/payouts/schedules/edit", name="payouts:schedule", guards=[requires("payouts.read")])
async def show_schedule(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """A seller's schedule with the runs to come; with fields in the address, as it would be with those."""
    query = request.query_params.dict()
    if "interval" not in query:
        return render(request, FORM, await _form(request, session, actor))
    try:
        page = await _form(request, session, actor, parse_form(query, ScheduleForm))
    except Invalid as wrong:
        as_it_is = await _form(request, session, actor)
        page = msgspec.structs.replace(as_it_is, runs=[], problem=next(iter(wrong.fields.values()), wrong.detail))
    return render(request, FORM, page, fragment="payouts/_runs.html")


@post("/payouts/schedules", name="payouts:set_schedule", status_code=200, guards=[requires("payouts.request", fresh=True)])
async def set_schedule(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Set when a seller is paid out."""
    page = await _form(request, session, actor)
    answer_invalid_with(request, FORM, page)
    form = await read_form(request, ScheduleForm)
    await service.set_schedule(
        session,
        actor,
        seller_id=sellers.seller_id(page.seller_id),
        currency=page.currency,
        plan=form.plan(),
        amounts=form.amounts(page.currency),
        delay_days=form.delay_days,
        calendars=form.calendars,
        account_id=bank_accounts.bank_account_id(form.account) if form.account else None,
    )
    return redirect(request, page.preview, toast="The schedule is set")


@post(
    "/payouts/schedules/{schedule_id:str}/pause",
    name="payouts:pause_schedule",
    status_code=200,
    guards=[requires("payouts.request", fresh=True)],
)
async def pause_schedule(
    request: HttpRequest, schedule_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Let a schedule rest."""
    return await _switch(request, session, actor, schedule_id, event="pause", toast="Paused; nothing is paid out by itself")


@post(
    "/payouts/schedules/{schedule_id:str}/resume",
    name="payouts:resume_schedule",
    status_code=200,
    guards=[requires("payouts.request", fresh=True)],
)
async def resume_schedule(
    request: HttpRequest, schedule_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Let a schedule go on."""
    return await _switch(request, session, actor, schedule_id, event="resume", toast="It goes on with its next day")


async def _switch(request: HttpRequest, session: AsyncSession, actor: Actor, schedule_id: str, *, event: str, toast: str) -> Response[str]:
    row = await service.change_status(session, actor, schedule_id=queries.schedule_id(schedule_id), event=event)
    back = f"/payouts/schedules/edit?seller={public_id('sel', row.seller_id)}&currency={row.currency}"
    return redirect(request, back, toast=toast)


def _month(text: str) -> date:
    """A month in an address; one that is none, or outside of what the calendars know, is the present one."""
    found = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", text, re.ASCII)
    if found is None or not FIRST_YEAR <= int(found[1]) <= LAST_YEAR:
        return today().replace(day=1)
    return date(int(found[1]), int(found[2]), 1)


@get("/payouts/calendar", name="payouts:calendar", guards=[requires("payouts.read")])
async def show_calendar(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """On which days banks work."""
    asked = request.query_params
    page = await calendars.calendar_page(
        session, merchant_id=actor.merchant, code=asked.get("code", "TARGET"), first=_month(asked.get("month", ""))
    )
    return render(request, "payouts/calendar.html", page)


@post("/payouts/calendar", name="payouts:override_day", status_code=200, guards=[requires("merchant.write", fresh=True)])
async def override_day(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Say that banks work, or do not work, on a day."""
    page = await calendars.calendar_page(session, merchant_id=actor.merchant, code="TARGET", first=today().replace(day=1))
    answer_invalid_with(request, "payouts/calendar.html", page)
    form = await read_form(request, OverrideForm)
    await service.override_day(session, actor, calendar=form.calendar, on_date=form.on_date, is_open=form.is_open, reason=form.reason)
    back = f"/payouts/calendar?code={form.calendar}&month={form.on_date:%Y-%m}"
    return redirect(request, back, toast="The day is set; coming runs were planned anew")


ROUTES = [
    list_schedules,
    show_schedule,
    set_schedule,
    pause_schedule,
    resume_schedule,
    show_calendar,
    override_day,
]
