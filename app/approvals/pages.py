"""The page of a merchant's rules of approval."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals import queries, service
from app.approvals.domain import Act
from app.approvals.schemas import ApprovalPolicyForm, RuleForm
from app.core.actors import Actor
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
PAGE, PATH = "approvals/rules.html", "/team/approvals"
CHANGING = [requires("rules.write", fresh=True)]


@get(PATH, name="approvals:rules", guards=[requires("team.read")])
async def show_rules(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Which acts need others, from which amounts on."""
    return render(request, PAGE, await queries.rules_page(session, actor))


@post(f"{PATH}/rules", name="approvals:set_rule", status_code=200, guards=CHANGING)
async def set_rule(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """How many others agree from an amount on."""
    answer_invalid_with(request, PAGE, await queries.rules_page(session, actor))
    form = await read_form(request, RuleForm)
    await service.set_rule(session, actor, act=form.act, start=form.start, approvers=form.approvers)
    return redirect(request, PATH, toast="Saved; it holds from here on")


@post(f"{PATH}/policy", name="approvals:set_policy", status_code=200, guards=CHANGING)
async def set_policy(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Who decides, and what a member's limit means."""
    answer_invalid_with(request, PAGE, await queries.rules_page(session, actor))
    form = await read_form(request, ApprovalPolicyForm)
    await service.set_policy(session, actor, act=Act.REFUND, permission=form.permission, above_limit=form.above_limit)
    return redirect(request, PATH, toast="Saved")


ROUTES = [show_rules, set_rule, set_policy]
