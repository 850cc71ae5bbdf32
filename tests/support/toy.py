"""A small application of the web floor's own: the real frame, sign-in and teams, and a few routes that do one thing each."""

from typing import Annotated, Any

import msgspec
from litestar import Litestar, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.api_access import api as api_access_api
from app.api_access import pages as api_access_pages
from app.api_access import queries as api_access
from app.core.actors import Actor
from app.core.errors import NotFound
from app.core.money import Money
from app.identity import pages as identity
from app.tenancy import pages as tenancy
from app.tenancy import queries as people
from app.tenancy.admissions import pages as admissions
from app.tenancy.audit import pages as audit
from app.tenancy.invitations import pages as invitations
from app.tenancy.members import pages as members
from app.tenancy.resets import pages as resets
from app.tenancy.roles import pages as roles
from app.tenancy.rules import pages as rules
from app.tenancy.sso import pages as sso
from app.web import health, problems, requests, violations
from app.web.bodies import StrictRequest
from app.web.context import HttpRequest
from app.web.guards import public, requires, signed_in
from app.web.static import static_route
from app.web.step_up import spend


class ToyMissing(NotFound):
    code = "toy_missing"
    title = "There is no such toy"


class ToyOrder(msgspec.Struct):
    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
    amount: Annotated[int, msgspec.Meta(gt=0)]


@get("/", name="toy:home", guards=[requires("merchant.read")], media_type="text/html")
async def home(actor: NamedDependency[Actor]) -> str:
    """A page for people of a merchant."""
    return f"<p>{actor.name}</p>"


@post("/toys/rename", name="toy:rename", guards=[requires("merchant.write", fresh=True)], status_code=200, media_type="text/html")
async def rename(request: HttpRequest) -> str:
    """An act that needs a fresh second factor; answers with what it was sent."""
    form = await request.form()
    return "<p>renamed to " + str(form.get("name")) + " with " + ",".join(form.getall("tag", [])) + "</p>"


@post("/toys/pay", name="toy:pay", guards=[requires("payments.refund", fresh=True)], status_code=200, media_type="text/html")
async def pay(request: HttpRequest, session: NamedDependency[AsyncSession]) -> str:
    """An act that spends money."""
    form = await request.form()
    await spend(request, Money.parse(str(form.get("amount")), "EUR"), session=session)
    return f"<p>paid {form.get('amount')}</p>"


@post("/toys/write", name="toy:write", guards=[signed_in()], status_code=200)
async def write(session: NamedDependency[AsyncSession]) -> Response[str]:
    """Writes a row, and says so before the commit."""
    await session.execute(text("insert into rate_limit (key, window_at, used) values ('toy', now(), 1)"))
    return Response("written", status_code=303, headers={"Location": "/"})


@post("/toys/fail-at-commit", name="toy:fail_at_commit", guards=[public()], status_code=201)
async def fail_at_commit(session: NamedDependency[AsyncSession]) -> str:
    """Everything goes well until the commit, which a deferred constraint refuses."""
    await session.execute(text("create temporary table toy_parent (id int primary key) on commit drop"))
    await session.execute(
        text("create temporary table toy_child (id int references toy_parent deferrable initially deferred) on commit drop")
    )
    await session.execute(text("insert into toy_child values (1)"))
    return "made"


@post("/toys/break", name="toy:break", guards=[public()])
async def break_down() -> None:
    """Fails in a way that nobody foresaw."""
    raise RuntimeError("password=hunter2 select * from person")


@get("/v1/toys/{toy_id:str}", name="toy:get", guards=[requires("orders.read")])
async def toy(toy_id: FromPath[str]) -> dict[str, str]:
    """A thing of the API; only one exists."""
    if toy_id != "one":
        raise ToyMissing()
    return {"id": toy_id}


@post("/v1/toys", name="toy:create", guards=[requires("orders.write")])
async def create_toy(data: JSONBody[ToyOrder]) -> dict[str, Any]:
    """Makes a thing through the API."""
    return {"reference": data.reference}


@post("/webhooks/toy", name="toy:webhook", guards=[public(machine=True)], status_code=200)
async def webhook(request: HttpRequest) -> dict[str, int]:
    """Takes any body."""
    return {"bytes": len(await request.body())}


TENANCY = [*tenancy.ROUTES, *audit.ROUTES, *members.ROUTES, *roles.ROUTES, *rules.ROUTES]
TOYS = [home, rename, pay, write, fail_at_commit, break_down, toy, create_toy, webhook]


def create_toy_app(*more: Any) -> Litestar:
    """The small application."""
    app = Litestar(
        request_class=StrictRequest,
        route_handlers=[
            static_route(),
            *health.ROUTES,
            *violations.ROUTES,
            *identity.ROUTES,
            *TENANCY,
            *invitations.ROUTES,
            *resets.ROUTES,
            *sso.ROUTES,
            *admissions.ROUTES,
            *api_access_pages.ROUTES,
            *api_access_api.ROUTES,
            *TOYS,
            *more,
        ],
        dependencies=requests.DEPENDENCIES,
        exception_handlers=problems.EXCEPTION_HANDLERS,
        request_max_body_size=requests.MAX_BODY,
        openapi_config=None,
        logging_config=None,
    )
    requests.install(app, visitors=people.visitor, key_holders=api_access.key_holder, step_up=identity.step_up, sensitive={})
    return app
