"""Pages about the merchant one is in: team, roles, profile; and the switch to another merchant."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import MerchantId, parse_id, public_id
from app.tenancy import queries, service
from app.tenancy.domain import MerchantNotFound
from app.tenancy.roles import queries as roles
from app.tenancy.schemas import MerchantForm, RoleForm
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires, signed_in
from app.web.rendering import answer_invalid_with, redirect, render
from app.web.requests import safe_path

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]


@get("/team", name="tenancy:team", guards=[requires("team.read")])
async def show_team(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Everybody who works here."""
    return render(request, "tenancy/team.html", await queries.team(session, actor))


@get("/team/{member_id:str}/role", name="tenancy:role_form", guards=[requires("team.write")])
async def show_role(request: HttpRequest, member_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """The form for another role."""
    page = await queries.change_role_page(session, actor, member_id=parse_id("mem", member_id))
    return render(request, "tenancy/role.html", page, fragment="tenancy/_role.html")


@post("/team/{member_id:str}/role", name="tenancy:change_role", status_code=200, guards=[requires("team.write", fresh=True)])
async def change_role(request: HttpRequest, member_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Give a member another role."""
    member = parse_id("mem", member_id)
    page = await queries.change_role_page(session, actor, member_id=member)
    answer_invalid_with(request, "tenancy/role.html", page, fragment="tenancy/_role.html")
    form = await read_form(request, RoleForm)
    await service.change_role(session, actor, member_id=member, role=roles.chosen(form.role))
    label = next((role.label for role in page.roles if role.value == form.role), form.role)
    return redirect(request, "/team", toast=f"{page.member.name} is {label} now")


@post("/team/{member_id:str}/remove", name="tenancy:remove_member", status_code=200, guards=[requires("team.write", fresh=True)])
async def remove_member(request: HttpRequest, member_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Take somebody out of the team."""
    await service.remove_member(session, actor, member_id=parse_id("mem", member_id))
    return redirect(request, "/team", toast="Removed from the team")


@get("/settings", name="tenancy:profile", guards=[requires("merchant.read")])
async def show_profile(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """The merchant's profile."""
    return render(request, "tenancy/profile.html", await queries.profile(session, actor))


@post("/settings", name="tenancy:change_profile", status_code=200, guards=[requires("merchant.write")])
async def change_profile(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Change the merchant's profile."""
    answer_invalid_with(request, "tenancy/profile.html", await queries.profile(session, actor))
    form = await read_form(request, MerchantForm)
    await service.change_profile(
        session,
        actor,
        name=form.name,
        legal_name=form.legal_name,
        website=form.website,
        support_email=form.support_email,
        timezone=form.timezone,
    )
    return redirect(request, "/settings", toast="Saved")


@post("/merchants/{merchant_id:str}/enter", name="tenancy:enter", status_code=200, guards=[signed_in()])
async def enter_merchant(
    request: HttpRequest, merchant_id: FromPath[str], session: Session, actor: Who, next: FromQuery[str] = "/"
) -> Response[str]:
    """Go on in another merchant, or in the sandbox."""
    target = MerchantId(parse_id("mer", merchant_id))
    if public_id("mer", target) not in {one.id for one in request.state.visitor.merchants}:
        # not theirs, or not by this way of signing in
        raise MerchantNotFound()
    await service.enter(session, actor, session_id=request.state.visitor.session_id, merchant_id=target)
    return redirect(request, safe_path(next), hard=True)


ROUTES = [
    show_team,
    show_role,
    change_role,
    remove_member,
    show_profile,
    change_profile,
    enter_merchant,
]
