"""The operators' console: another place, for people who run the platform. Everything across merchants needs a visit with a reason."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import MerchantId, parse_id
from app.ops.console import queries, service
from app.ops.console.schemas import JobFilter, JobForm, VisitFilter, VisitForm
from app.web.context import HttpRequest
from app.web.forms import Values, parse_form, read_form
from app.web.guards import operator
from app.web.rendering import answer_invalid_with, redirect, render
from app.web.sessions import Operating, Visitor

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
VISITING, ACTING = [operator(visiting=True)], [operator(visiting=True, fresh=True)]


def _visitor(request: HttpRequest) -> Visitor:
    visitor: Visitor = request.state.visitor
    return visitor


def operating_of(request: HttpRequest) -> Operating:
    """The visit of whoever asks."""
    return _visitor(request).operating or Operating()


def query_of(request: HttpRequest) -> Values:
    """The address's parameters, each with all its values."""
    found: Values = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, []).append(str(value))
    return found


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
async def list_dead_jobs(request: HttpRequest, session: Session, actor: Who, after: FromQuery[str | None] = None) -> Response[str]:
    """Jobs that were given up, of all merchants."""
    operating = operating_of(request)
    page = await queries.dead_jobs(session, operating, chosen=parse_form(query_of(request), JobFilter), after=after)
    seen = [row.merchant_id for row in page.jobs.items]
    await service.note_look(session, actor, visit=operating.visit, merchants=seen, what="dead_jobs")
    return render(request, "operator/jobs.html", page)


@post("/operator/jobs/requeue", name="operator:requeue", status_code=200, guards=ACTING)
async def requeue_job(request: HttpRequest, actor: Who) -> Response[str]:
    """Give a dead job new tries."""
    form = await read_form(request, JobForm)
    merchant_id = MerchantId(parse_id("mer", form.merchant))
    async with unit_of_work(merchant_id) as session:
        here = service.at(actor, merchant_id, "jobs.repair")
        await service.requeue_job(session, here, event=form.event, job=form.job, reason=operating_of(request).reason or "")
    return redirect(request, "/operator/jobs", toast="It is tried again")


@post("/operator/jobs/discard", name="operator:discard", status_code=200, guards=ACTING)
async def discard_job(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Set a dead job aside for good."""
    operating = operating_of(request)
    page = await queries.dead_jobs(session, operating, chosen=JobFilter())
    answer_invalid_with(request, "operator/jobs.html", page)
    async with service.noting(actor, visit=operating.visit, merchants=[row.merchant_id for row in page.jobs.items], what="dead_jobs"):
        form = await read_form(request, JobForm)
        merchant_id = MerchantId(parse_id("mer", form.merchant))
        async with unit_of_work(merchant_id) as own:
            here = service.at(actor, merchant_id, "jobs.repair")
            await service.discard_job(own, here, event=form.event, job=form.job, reason=form.reason)
    return redirect(request, "/operator/jobs", toast="Set aside")


@get("/operator/merchants", name="operator:merchants", guards=VISITING)
async def list_merchants(
    request: HttpRequest, session: Session, actor: Who, q: FromQuery[str] = "", after: FromQuery[str | None] = None
) -> Response[str]:
    """Everybody who works with the platform, with what waits at each."""
    operating = operating_of(request)
    page = await queries.merchants(session, operating, q=q, after=after)
    seen = [row.id for row in page.merchants.items]
    await service.note_look(session, actor, visit=operating.visit, merchants=seen, what="merchants")
    return render(request, "operator/merchants.html", page)


@get("/operator/visits", name="operator:visits", guards=[operator()])
async def list_visits(request: HttpRequest, session: Session, after: FromQuery[str | None] = None) -> Response[str]:
    """What every operator looked for, and when."""
    chosen = parse_form(query_of(request), VisitFilter)
    return render(request, "operator/visits.html", await queries.visits(session, chosen=chosen, after=after))


ROUTES = [show_console, open_visit, close_visit, list_visits, list_merchants, list_dead_jobs, requeue_job, discard_job]
