"""Pages of resets of second factors."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import parse_id, path_id
from app.tenancy.resets import queries, service
from app.tenancy.resets.domain import ResetNotFound
from app.tenancy.resets.schemas import ResetForm
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires, signed_in
from app.web.rendering import answer_invalid_with, redirect, render

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
LIST, TEMPLATE = "/factor-resets", "tenancy/resets.html"


@get("/factor-resets", name="resets:list", guards=[requires("team.write")])
async def show_resets(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Whose second factors are to be reset, who asked and who approved."""
    return render(request, TEMPLATE, await queries.resets(session, actor, mine=False))


@post("/factor-resets", name="resets:request", status_code=200, guards=[requires("team.write", fresh=True)])
async def request_reset(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Ask for a reset; another admin approves it."""
    answer_invalid_with(request, TEMPLATE, await queries.resets(session, actor, mine=False))
    form = await read_form(request, ResetForm)
    await service.request_reset(session, actor, member_id=parse_id("mem", form.member_id), reason=form.reason)
    return redirect(request, LIST, toast="Another admin can approve it now")


@post("/factor-resets/{reset_id:str}/approve", name="resets:approve", status_code=200, guards=[requires("team.write", fresh=True)])
async def approve(request: HttpRequest, reset_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Approve what another admin asked for."""
    await service.approve(session, actor, reset_id=path_id("frs", reset_id, otherwise=ResetNotFound()))
    return redirect(request, LIST, toast="It happens in 24 hours unless somebody cancels it")


@post("/factor-resets/{reset_id:str}/cancel", name="resets:cancel", status_code=200, guards=[signed_in(own=True)])
async def cancel(request: HttpRequest, reset_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Stop a reset: an admin, or the person it is about."""
    await service.cancel(session, actor, reset_id=path_id("frs", reset_id, otherwise=ResetNotFound()))
    return redirect(request, LIST if actor.can("team.write") else f"{LIST}/mine", toast="The reset is cancelled")


@get("/factor-resets/mine", name="resets:mine", guards=[signed_in(own=True)])
async def show_mine(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Resets that are about the person asking."""
    return render(request, TEMPLATE, await queries.resets(session, actor, mine=True))


ROUTES = [show_resets, request_reset, approve, cancel, show_mine]
