"""Pages about a merchant's rules: how fresh a factor must be, and how much money one proof of it moves."""

import re

from litestar import Response, get, post
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.tenancy.rules import queries, service
from app.tenancy.schemas import MoneyLimitForm
from app.web.context import HttpRequest
from app.web.forms import InvalidForm, Values, posted_values, read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
_FIELD = "minutes_"
_DIGITS = re.compile(r"[0-9]{1,4}")


@get("/team/step-up", name="tenancy:step_up_rules", guards=[requires("team.read")])
async def show_step_up_rules(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """How fresh a second factor must be for which acts."""
    return render(request, "tenancy/step_up.html", await queries.step_up_rules(session, actor))


@post("/team/step-up", name="tenancy:set_freshness", status_code=200, guards=[requires("rules.write", fresh=True)])
async def set_freshness(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Ask for fresher factors, or go back to what the house asks for."""
    answer_invalid_with(request, "tenancy/step_up.html", await queries.step_up_rules(session, actor))
    await service.set_freshness(session, actor, minutes=_minutes(await posted_values(request)))
    return redirect(request, "/team/step-up", toast="Saved; it holds from everybody’s next click on")


def _minutes(values: Values) -> dict[str, int]:
    given = {name.removeprefix(_FIELD): texts[-1] for name, texts in values.items() if name.startswith(_FIELD)}
    wrong = {_FIELD + name: "Choose one of the options." for name, text in given.items() if not _DIGITS.fullmatch(text)}
    if wrong:
        raise InvalidForm(fields=wrong, values=values)
    return {name: int(text) for name, text in given.items()}


@post("/team/step-up/limits", name="tenancy:set_money_limit", status_code=200, guards=[requires("rules.write", fresh=True)])
async def set_money_limit(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """How much one proof of the factor moves in a currency."""
    answer_invalid_with(request, "tenancy/step_up.html", await queries.step_up_rules(session, actor))
    form = await read_form(request, MoneyLimitForm)
    await service.set_money_limit(session, actor, limit=form.limit)
    return redirect(request, "/team/step-up", toast=f"One confirmation is good for {form.limit.format()} now")


ROUTES = [show_step_up_rules, set_freshness, set_money_limit]
