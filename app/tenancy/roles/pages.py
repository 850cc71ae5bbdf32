"""Pages about roles: the matrix, and roles of the merchant's own."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.tenancy.roles import queries, service
from app.tenancy.schemas import OwnRoleForm
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
CHANGING = [requires("team.write", fresh=True)]
FORM = "tenancy/role_form.html"


@get("/team/roles", name="tenancy:roles", guards=[requires("team.read")])
async def show_roles(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Which role may do what."""
    return render(request, "tenancy/roles.html", await queries.roles_page(session, actor))


@get("/team/roles/new", name="tenancy:new_role", guards=[requires("team.write")])
async def show_new_role(request: HttpRequest, session: Session, actor: Who, copy: FromQuery[str] = "") -> Response[str]:
    """The form of a new role, empty or as a copy of another one."""
    return render(request, FORM, await queries.new_role_page(session, actor, copy=copy))


@post("/team/roles", name="tenancy:create_role", status_code=200, guards=CHANGING)
async def create_role(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Make a role of the merchant's own."""
    answer_invalid_with(request, FORM, await queries.new_role_page(session, actor))
    form = await read_form(request, OwnRoleForm)
    row = await service.create_role(session, actor, name=form.name, summary=form.summary, permissions=form.permissions)
    return redirect(request, "/team/roles", toast=f"The role {row.name} can be given now")


@get("/team/roles/{role_id:str}/edit", name="tenancy:edit_role_form", guards=[requires("team.write")])
async def show_edit_role(request: HttpRequest, role_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """The form to change a role."""
    return render(request, FORM, await queries.edit_role_page(session, actor, role_id=queries.role_id(role_id)))


@post("/team/roles/{role_id:str}/edit", name="tenancy:edit_role", status_code=200, guards=CHANGING)
async def edit_role(request: HttpRequest, role_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Change a role for everybody who holds it."""
    own = queries.role_id(role_id)
    answer_invalid_with(request, FORM, await queries.edit_role_page(session, actor, role_id=own))
    form = await read_form(request, OwnRoleForm)
    row = await service.change_role(session, actor, role_id=own, name=form.name, summary=form.summary, permissions=form.permissions)
    return redirect(request, "/team/roles", toast=f"The role {row.name} is changed, from everybody’s next click on")


@post("/team/roles/{role_id:str}/delete", name="tenancy:delete_role", status_code=200, guards=CHANGING)
async def delete_role(request: HttpRequest, role_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Remove a role that nobody holds."""
    row = await service.delete_role(session, actor, role_id=queries.role_id(role_id))
    return redirect(request, "/team/roles", toast=f"The role {row.name} is gone")


ROUTES = [show_roles, show_new_role, create_role, show_edit_role, edit_role, delete_role]
