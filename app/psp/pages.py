"""Pages about connections and what providers told us."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import PspEventId, parse_id, public_id
from app.psp import flows, queries, service
from app.psp.adapters import ADAPTERS
from app.psp.domain import ChangePolicy, ChangeStatus, CredentialChangeId, InboxStatus, Outcome, connection_id_of, settings_of
from app.psp.schemas import ApprovalForm, ConnectionForm, ConnectionFormPage, EventListPage, FieldView, PolicyForm, ProviderListPage
from app.web.context import HttpRequest
from app.web.forms import posted_values, read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

FORM = ("psp/form.html", "psp/_form.html")
CHOICE = ("psp/new.html", "psp/_new.html")
CHANGING = [requires("connections.write", fresh=True)]


@get("/connections", name="connections:list", guards=[requires("connections.read")])
async def list_connections(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """The providers that process for this merchant, and how they are doing."""
    return render(request, "psp/list.html", await queries.connection_list_page(session, actor, providers=ADAPTERS))


@get("/connections/new", name="connections:choose", guards=[requires("connections.write")])
async def choose_provider(request: HttpRequest) -> Response[str]:
    """Which provider to connect."""
    page = ProviderListPage(providers=[queries.provider_option(one) for one in ADAPTERS.values()])
    return render(request, CHOICE[0], page, fragment=CHOICE[1])


# Fresh already when the form is shown: a step-up in the middle of the POST would have to carry the typed secrets through a page.
@get("/connections/new/{psp:str}", name="connections:new", guards=CHANGING)
async def new_connection(request: HttpRequest, psp: FromPath[str]) -> Response[str]:
    """The form of a new connection, made from what the provider needs."""
    return render(request, FORM[0], _new_page(psp), fragment=FORM[1])


@post("/connections/new/{psp:str}", name="connections:add", status_code=200, guards=CHANGING)
async def add_connection(
    request: HttpRequest, psp: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Add a connection."""
    answer_invalid_with(request, FORM[0], _new_page(psp), fragment=FORM[1])
    form = await read_form(request, ConnectionForm)
    connection = await service.add_connection(session, actor, psp=psp, name=form.name, values=await _settings(request))
    return redirect(
        request, f"/connections/{public_id('con', connection.id)}", toast=f"{connection.name} was added. Test it, then enable it."
    )


@get("/connections/{connection_id:str}", name="connections:show", guards=[requires("connections.read")])
async def show_connection(
    request: HttpRequest, connection_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One connection: health, settings, webhook address, what waits for approval."""
    page = await queries.connection_detail_page(session, actor, connection_id=connection_id_of(connection_id), providers=ADAPTERS)
    return render(request, "psp/show.html", page)


@get("/connections/{connection_id:str}/settings", name="connections:settings_form", guards=CHANGING)
async def settings_form(
    request: HttpRequest, connection_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """The form that changes settings or replaces credentials."""
    return render(request, FORM[0], await _settings_page(session, actor, connection_id), fragment=FORM[1])


@post("/connections/{connection_id:str}/settings", name="connections:settings", status_code=200, guards=CHANGING)
async def change_settings(
    request: HttpRequest, connection_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Change settings or replace credentials; with four eyes, somebody else has to agree."""
    answer_invalid_with(request, FORM[0], await _settings_page(session, actor, connection_id), fragment=FORM[1])
    change = await service.propose_change(session, actor, connection_id=connection_id_of(connection_id), values=await _settings(request))
    applied = change.status == ChangeStatus.APPLIED
    return redirect(
        request, f"/connections/{connection_id}", toast="The new settings are in use" if applied else "Somebody else has to approve this"
    )


@post("/connections/{connection_id:str}/test", name="connections:test", status_code=200, guards=[requires("connections.write")])
async def test_connection(request: HttpRequest, connection_id: FromPath[str], actor: NamedDependency[Actor]) -> Response[str]:
    """Make one real call to the provider and show what came of it."""
    result = await flows.test_connection(actor, connection_id=connection_id_of(connection_id))
    toast = f"The provider answered in {result.latency_ms} ms" if result.outcome is Outcome.SUCCEEDED else "The test failed"
    return redirect(request, f"/connections/{connection_id}", toast=toast)


@post("/connections/{connection_id:str}/enable", name="connections:enable", status_code=200, guards=CHANGING)
async def enable_connection(
    request: HttpRequest, connection_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Let a connection take payments."""
    connection = await service.enable_connection(session, actor, connection_id=connection_id_of(connection_id))
    return redirect(request, f"/connections/{connection_id}", toast=f"{connection.name} takes payments")


@post("/connections/{connection_id:str}/disable", name="connections:disable", status_code=200, guards=CHANGING)
async def disable_connection(
    request: HttpRequest, connection_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Stop new payments on a connection."""
    connection = await service.disable_connection(session, actor, connection_id=connection_id_of(connection_id))
    return redirect(request, f"/connections/{connection_id}", toast=f"{connection.name} takes no new payments")


@post(
    "/connections/{connection_id:str}/changes/{change_id:str}/approve", name="connections:approve_change", status_code=200, guards=CHANGING
)
async def approve_change(
    request: HttpRequest,
    connection_id: FromPath[str],
    change_id: FromPath[str],
    session: NamedDependency[AsyncSession],
    actor: NamedDependency[Actor],
) -> Response[str]:
    """Agree to somebody else's new credentials, as they were shown."""
    form = await read_form(request, ApprovalForm)
    await service.approve_change(session, actor, change_id=CredentialChangeId(parse_id("chg", change_id)), digest=form.digest)
    return redirect(request, f"/connections/{connection_id}", toast="The new settings are in use")


@post("/connections/{connection_id:str}/changes/{change_id:str}/reject", name="connections:reject_change", status_code=200, guards=CHANGING)
async def reject_change(
    request: HttpRequest,
    connection_id: FromPath[str],
    change_id: FromPath[str],
    session: NamedDependency[AsyncSession],
    actor: NamedDependency[Actor],
) -> Response[str]:
    """Refuse or withdraw new credentials."""
    await service.reject_change(session, actor, change_id=CredentialChangeId(parse_id("chg", change_id)))
    return redirect(request, f"/connections/{connection_id}", toast="The present settings stay in use")


@post("/connections/policy", name="connections:policy", status_code=200, guards=CHANGING)
async def set_policy(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Say whether new credentials need a second person."""
    form = await read_form(request, PolicyForm)
    await service.set_policy(session, actor, policy=form.policy)
    return redirect(
        request,
        "/connections",
        toast="New credentials need two people" if form.policy is ChangePolicy.FOUR_EYES else "One person may change credentials",
    )


@get("/psp-events", name="psp_events:list", guards=[requires("payments.read")])
async def list_events(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """What providers told us, word for word: about some references of ours, or all of it."""
    asked = request.query_params
    references = asked.getall("reference", [])[:50]
    if references:
        rows = await queries.events_of(session, merchant_id=actor.merchant, references=references)
        page = EventListPage(rows=rows, is_of_object=True)
    else:
        page = await queries.event_list_page(
            session, merchant_id=actor.merchant, only_failed=asked.get("status") == InboxStatus.FAILED, after=asked.get("after") or None
        )
    return render(request, "psp/events.html", page, fragment="psp/_events.html")


@post("/psp-events/{event_id:str}/retry", name="psp_events:retry", status_code=200, guards=[requires("connections.write")])
async def retry_event(
    request: HttpRequest, event_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Have an event that failed applied again."""
    event = await service.retry_event(session, actor, event_id=PspEventId(parse_id("pev", event_id)))
    return redirect(request, f"/connections/{public_id('con', event.connection_id)}", toast="The event is applied again")


def _new_page(psp: str) -> ConnectionFormPage:
    of = service.provider(psp)
    return ConnectionFormPage(
        provider=queries.provider_option(of), fields=[FieldView(setting=setting) for setting in settings_of(of.config)]
    )


async def _settings_page(session: AsyncSession, actor: Actor, connection_id: str) -> ConnectionFormPage:
    connection = await queries.connection(session, merchant_id=actor.merchant, connection_id=connection_id_of(connection_id))
    of = service.provider(connection.psp)
    policy = await queries.change_policy(session, merchant_id=actor.merchant)
    return ConnectionFormPage(
        provider=queries.provider_option(of),
        fields=queries.field_views(connection, settings_of(of.config)),
        connection_id=connection_id,
        name=connection.name,
        needs_second_person=policy is ChangePolicy.FOUR_EYES,
    )


async def _settings(request: HttpRequest) -> dict[str, str]:
    return {name: texts[0] for name, texts in (await posted_values(request)).items() if texts}


ROUTES = [
    list_connections,
    choose_provider,
    new_connection,
    add_connection,
    show_connection,
    settings_form,
    change_settings,
    test_connection,
    enable_connection,
    disable_connection,
    approve_change,
    reject_change,
    set_policy,
    list_events,
    retry_event,
]
