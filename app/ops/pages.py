"""Pages about stuck jobs: list, try again, discard; each act shows first what it would touch."""

from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.ops import queries, service
from app.ops.domain import JobState
from app.ops.schemas import ChosenForm, DiscardForm
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
REPAIRING = [requires("jobs.repair", fresh=True)]


@get("/jobs", name="ops:jobs", guards=[requires("jobs.read")])
async def list_jobs(
    request: HttpRequest,
    *,
    session: Session,
    actor: Who,
    status: FromQuery[str] = JobState.DEAD,
    job: FromQuery[str] = "",
    after: FromQuery[str | None] = None,
) -> Response[str]:
    """Jobs that failed and did not come right by themselves."""
    page = await queries.jobs(session, actor, state=status, job=job, after=after)
    return render(request, "ops/jobs.html", page, fragment="ops/_jobs.html")


@get("/jobs/requeue", name="ops:requeue_form", guards=[requires("jobs.repair")])
async def show_requeue(
    request: HttpRequest, session: Session, actor: Who, event: FromQuery[UUID | None] = None, job: FromQuery[str] = ""
) -> Response[str]:
    """What would be tried again."""
    page = await queries.repair_page(session, actor, event=event, job=job)
    return render(request, "ops/requeue.html", page, fragment="ops/_requeue.html")


@post("/jobs/requeue", name="ops:requeue", status_code=200, guards=REPAIRING)
async def requeue_jobs(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Give the chosen dead jobs new tries."""
    form = await read_form(request, ChosenForm)
    count = await service.requeue_jobs(session, actor, event=form.event, job=form.job)
    return redirect(request, "/jobs", toast=f"{count} {'job is' if count == 1 else 'jobs are'} tried again")


@get("/jobs/discard", name="ops:discard_form", guards=[requires("jobs.repair")])
async def show_discard(
    request: HttpRequest, session: Session, actor: Who, event: FromQuery[UUID | None] = None, job: FromQuery[str] = ""
) -> Response[str]:
    """What would be set aside for good."""
    page = await queries.repair_page(session, actor, event=event, job=job)
    return render(request, "ops/discard.html", page, fragment="ops/_discard.html")


@post("/jobs/discard", name="ops:discard", status_code=200, guards=REPAIRING)
async def discard_jobs(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Set the chosen dead jobs aside for good."""
    form = await read_form(request, DiscardForm)
    page = await queries.repair_page(session, actor, event=form.event, job=form.job)
    answer_invalid_with(request, "ops/discard.html", page, fragment="ops/_discard.html")
    count = await service.discard_jobs(session, actor, event=form.event, job=form.job, reason=form.reason)
    return redirect(request, "/jobs", toast=f"{count} {'job' if count == 1 else 'jobs'} discarded")


ROUTES = [list_jobs, show_requeue, requeue_jobs, show_discard, discard_jobs]
