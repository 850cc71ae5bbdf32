"""Pages of invitations: the team's list, and what the invited person sees."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import path_id
from app.identity.pages.shared import exact
from app.tenancy.invitations import queries, service
from app.tenancy.invitations.domain import InvitationForSomebodyElse, InvitationNotFound
from app.tenancy.invitations.schemas import InvitationForm, JoinForm
from app.tenancy.roles import queries as roles
from app.web import cookies, sessions
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import public, requires, signed_in
from app.web.rendering import answer_invalid_with, redirect, render

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
LIST, CHANGING = "/invitations", [requires("team.write", fresh=True)]


@get("/invitations", name="invitations:list", guards=[requires("team.read")])
async def show_invitations(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Who was invited, by whom, and what became of it."""
    return render(request, "tenancy/invitations.html", await queries.invitations(session, actor))


@get("/invitations/new", name="invitations:new", guards=[requires("team.write")])
async def show_new(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """The form to invite somebody."""
    return render(request, "tenancy/invite.html", await queries.invite_page(session, actor), fragment="tenancy/_invite.html")


@post("/invitations", name="invitations:invite", status_code=200, guards=CHANGING)
async def invite(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Send an invitation."""
    answer_invalid_with(request, "tenancy/invite.html", await queries.invite_page(session, actor), fragment="tenancy/_invite.html")
    form = await read_form(request, InvitationForm)
    row = await service.invite(session, actor, email=form.email, role=roles.chosen(form.role))
    return redirect(request, LIST, toast=f"{row.email} is invited")


@post("/invitations/{invitation_id:str}/resend", name="invitations:resend", status_code=200, guards=CHANGING)
async def resend(request: HttpRequest, invitation_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Send an invitation again."""
    row = await service.resend(session, actor, invitation_id=path_id("inv", invitation_id, otherwise=InvitationNotFound()))
    return redirect(request, LIST, toast=f"Sent to {row.email} again")


@post("/invitations/{invitation_id:str}/revoke", name="invitations:revoke", status_code=200, guards=CHANGING)
async def revoke(request: HttpRequest, invitation_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Take an invitation back."""
    await service.revoke(session, actor, invitation_id=path_id("inv", invitation_id, otherwise=InvitationNotFound()))
    return redirect(request, LIST, toast="The invitation does not work any more")


@get("/invitation", name="invitations:show", guards=[public()])
async def show_invitation(request: HttpRequest, session: Session, key: FromQuery[str] = "") -> Response[str]:
    """What an invited person sees."""
    return render(request, "tenancy/invited.html", await queries.invited(session, key, request.state.visitor))


@post("/invitation/join", name="invitations:join", status_code=200, guards=[public()])
async def join(request: HttpRequest, session: Session) -> Response[str]:
    """Make the account the invitation is for; the second factor comes next."""
    key = await exact(request, "key")
    answer_invalid_with(request, "tenancy/invited.html", await queries.invited(session, key, None))
    form = await read_form(request, JoinForm)
    person_id = await service.join(session, key=key, name=form.name, password=await exact(request, "password"))
    agent = request.headers.get("user-agent", "")
    token = await sessions.open_session(session, person_id=person_id, address=request.state.address, user_agent=agent)
    cookies.give_session(request, token)
    return redirect(request, "/sign-in/enrol", hard=True)


@post("/invitation/accept", name="invitations:accept", status_code=200, guards=[signed_in()])
async def accept(request: HttpRequest, session: Session) -> Response[str]:
    """Join with the account one has."""
    visitor = request.state.visitor
    if visitor is None:
        raise InvitationForSomebodyElse("Sign in with the address it was sent to.")
    key = await exact(request, "key")
    merchant_id = await service.accept(session, key=key, person_id=visitor.person_id, email=visitor.person.email)
    await sessions.enter(session, visitor.session_id, merchant_id)
    return redirect(request, "/", toast="Welcome to the team", hard=True)


ROUTES = [show_invitations, show_new, invite, resend, revoke, show_invitation, join, accept]
