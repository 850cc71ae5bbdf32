"""The page of one member: role, permissions, limits, when last seen."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import path_id
from app.tenancy import queries as teams
from app.tenancy.domain import MemberNotFound
from app.tenancy.members import service
from app.tenancy.schemas import LimitForm, LimitGoneForm
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
CHANGING = [requires("team.write", fresh=True)]
MEMBER = "tenancy/member.html"


@get("/team/{member_id:str}", name="tenancy:member", guards=[requires("team.read")])
async def show_member(request: HttpRequest, member_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """One member: role, permissions, limits, last seen."""
    member = path_id("mem", member_id, otherwise=MemberNotFound())
    return render(request, MEMBER, await teams.member_page(session, actor, member_id=member))


@post("/team/{member_id:str}/let-in", name="tenancy:let_in", status_code=200, guards=CHANGING)
async def let_in(request: HttpRequest, member_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Open the account of a member who stayed away."""
    await service.let_in(session, actor, member_id=path_id("mem", member_id, otherwise=MemberNotFound()))
    return redirect(request, f"/team/{member_id}", toast="They can sign in again")


@post("/team/{member_id:str}/limits", name="tenancy:set_limit", status_code=200, guards=CHANGING)
async def set_limit(request: HttpRequest, member_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Allow a member an act up to an amount."""
    member = path_id("mem", member_id, otherwise=MemberNotFound())
    answer_invalid_with(request, MEMBER, await teams.member_page(session, actor, member_id=member))
    form = await read_form(request, LimitForm)
    await service.set_limit(session, actor, member_id=member, permission=form.permission, most=form.most)
    return redirect(request, f"/team/{member_id}", toast=f"Up to {form.most.format()} from the next click on")


@post("/team/{member_id:str}/limits/lift", name="tenancy:remove_limit", status_code=200, guards=CHANGING)
async def remove_limit(request: HttpRequest, member_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Take a limit away."""
    member = path_id("mem", member_id, otherwise=MemberNotFound())
    answer_invalid_with(request, MEMBER, await teams.member_page(session, actor, member_id=member))
    form = await read_form(request, LimitGoneForm)
    await service.remove_limit(session, actor, member_id=member, permission=form.permission, currency=form.currency)
    return redirect(request, f"/team/{member_id}", toast="The limit is gone")


ROUTES = [show_member, let_in, set_limit, remove_limit]
