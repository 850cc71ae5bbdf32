"""The operators' console: another place, for people who run the platform. Everything across merchants needs a visit with a reason."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import MerchantId, parse_id
from app.ops.console import flows, queries, service
from app.ops.console.schemas import AskForm, JobForm, VisitForm
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import operator
from app.web.rendering import answer_invalid_with, redirect, render
from app.web.sessions import Operating, Visitor

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
VISITING, ACTING = [operator(visiting=True)], [operator(visiting=True, fresh=True)]


def _visitor(request: HttpRequest) -> Visitor:
    visitor: Visitor = request.state.visitor
    return visitor


def _operating(request: HttpRequest) -> Operating:
    return _visitor(request).operating or Operating()


@get("/operator", name="operator:console", guards=[operator()])
async def show_console(request: HttpRequest, session: Session) -> Response[str]:
    """The open visit, or the question why one is needed."""
    return render(request, "operator/console.html", await queries.console(session, _visitor(request)))


@post("/operator/visits", name="operator:open_visit", status_code=200, guards=[operator(fresh=True)])
async def open_visit(request: HttpRequest, session: Session) -> Response[str]:
    """Open a visit: with a reason, and with an end."""
    visitor = _visitor(request)
    answer_invalid_with(request, "operator/console.html", await queries.console(session, visitor))
    form = await read_form(request, VisitForm)
    await service.open_visit(session, person_id=visitor.person_id, reason=form.reason, minutes=form.minutes)
    return redirect(request, "/operator", toast="The visit is open; each merchant reads what you look at, and why", hard=True)


@post("/operator/visits/close", name="operator:close_visit", status_code=200, guards=[operator()])
async def close_visit(request: HttpRequest, session: Session) -> Response[str]:
    """End the visit."""
    await service.close_visit(session, person_id=_visitor(request).person_id)
    return redirect(request, "/operator", toast="The visit has ended", hard=True)


@get("/operator/jobs", name="operator:jobs", guards=VISITING)
async def show_dead_jobs(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Jobs that were given up, of all merchants."""
    page = await queries.dead_jobs(session, _operating(request))
    merchants = [MerchantId(parse_id("mer", row.merchant_id)) for row in page.jobs]
    await service.note_look(session, actor, merchants=merchants, what="dead_jobs", reason=page.reason)
    return render(request, "operator/jobs.html", page)


@post("/operator/jobs/requeue", name="operator:requeue", status_code=200, guards=ACTING)
async def requeue_job(request: HttpRequest, actor: Who) -> Response[str]:
    """Give a dead job new tries."""
    form = await read_form(request, JobForm)
    merchant_id = MerchantId(parse_id("mer", form.merchant))
    async with unit_of_work(merchant_id) as session:
        here = service.at(actor, merchant_id, "jobs.repair")
        await service.requeue_job(session, here, event=form.event, job=form.job, reason=_operating(request).reason or "")
    return redirect(request, "/operator/jobs", toast="It is tried again")


@post("/operator/jobs/discard", name="operator:discard", status_code=200, guards=ACTING)
async def discard_job(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Set a dead job aside for good."""
    answer_invalid_with(request, "operator/jobs.html", await queries.dead_jobs(session, _operating(request)))
    form = await read_form(request, JobForm)
    merchant_id = MerchantId(parse_id("mer", form.merchant))
    async with unit_of_work(merchant_id) as own:
        here = service.at(actor, merchant_id, "jobs.repair")
        await service.discard_job(own, here, event=form.event, job=form.job, reason=form.reason)
    return redirect(request, "/operator/jobs", toast="Set aside")


@get("/operator/unknown", name="operator:unknown", guards=VISITING)
async def show_unknown(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Payments and payouts of which nobody knows yet how they ended."""
    page = await queries.unknown_outcomes(session, _operating(request))
    merchants = [MerchantId(parse_id("mer", row.merchant_id)) for row in page.rows]
    await service.note_look(session, actor, merchants=merchants, what="unknown_outcomes", reason=page.reason)
    return render(request, "operator/unknown.html", page)


@post("/operator/unknown/ask", name="operator:ask", status_code=200, guards=ACTING)
async def ask_now(request: HttpRequest, actor: Who) -> Response[str]:
    """Ask the PSP or the bank now."""
    form = await read_form(request, AskForm)
    merchant_id, reason = MerchantId(parse_id("mer", form.merchant)), _operating(request).reason or ""
    await flows.ask(actor, merchant_id=merchant_id, noun=form.noun, item=form.id, reason=reason)
    return redirect(request, "/operator/unknown", toast="Asked; what was found out is recorded")


ROUTES = [show_console, open_visit, close_visit, show_dead_jobs, requeue_job, discard_job, show_unknown, ask_now]
