"""Pages of routing: the rules, their draft, trying and replaying them, asking for a second person, and the history."""

from collections.abc import Mapping

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import new_id
from app.routing import queries, service
from app.routing.domain import Rule, RuleKey, VersionStatus, place_of
from app.routing.models import RoutingVersion
from app.routing.queries import OPEN, details, trials
from app.routing.schemas import RemovePage, RoutingPage
from app.routing.schemas.forms import MoveForm, RequestForm, RuleForm, rule_key_of, rule_of
from app.web.context import HttpRequest
from app.web.forms import posted_values, read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
PATH, PAGE = "/routing", "routing/show.html"
FORM, REMOVE, PUBLISH = ((f"routing/{name}.html", f"routing/_{name}.html") for name in ("form", "remove", "publish"))
READING, WRITING, CHANGING = [requires("connections.read")], [requires("routing.write")], [requires("routing.write", fresh=True)]


@get(PATH, name="routing:show", guards=READING)
async def show_rules(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """The rules: the draft where there is one, otherwise the live version."""
    return render(request, PAGE, await _page(request, session, actor, await _shown(session, actor)))


@get(f"{PATH}/live", name="routing:live", guards=READING)
async def show_live(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """The live version, while there is a draft."""
    return render(request, PAGE, await _page(request, session, actor, await queries.version_in(session, actor, VersionStatus.LIVE)))


@get(f"{PATH}/versions", name="routing:versions", guards=READING)
async def list_versions(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Every version: who changed it, who agreed, and when it chose connections."""
    return render(request, "routing/versions.html", await details.version_list_page(session, actor))


@get(f"{PATH}/versions/{{version_id:str}}", name="routing:version", guards=READING)
async def show_version(request: HttpRequest, version_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """An older version, as it was."""
    found = await queries.version(session, actor, version_id=queries.version_id(version_id))
    return render(request, PAGE, await _page(request, session, actor, found))


@get(f"{PATH}/versions/{{version_id:str}}/try", name="routing:try", guards=READING)
async def try_payment(request: HttpRequest, version_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Which rule takes a payment like this, and through which connection."""
    found = await queries.version(session, actor, version_id=queries.version_id(version_id))
    return render(request, PAGE, await _page(request, session, actor, found), fragment="routing/_try.html")


@get(f"{PATH}/versions/{{version_id:str}}/replay", name="routing:replay", guards=READING)
async def replay(request: HttpRequest, version_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """What a version would have done with the payments of the last days."""
    found = await queries.version(session, actor, version_id=queries.version_id(version_id))
    page = await trials.replay_page(session, actor, of=found)
    return render(request, "routing/replay.html", page, fragment="routing/_replay.html")


@post(f"{PATH}/draft", name="routing:start", status_code=200, guards=CHANGING)
async def start_draft(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Start a draft from the live version."""
    version = await service.start_draft(session, actor)
    return redirect(request, PATH, toast=f"Draft {version.number} was started; nothing changes until it is published")


@post(f"{PATH}/versions/{{version_id:str}}/draft", name="routing:start_from", status_code=200, guards=CHANGING)
async def start_from(request: HttpRequest, version_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Start a draft from an older version: the way back."""
    version = await service.start_draft(session, actor, version_id=queries.version_id(version_id))
    return redirect(request, PATH, toast=f"Draft {version.number} says what version {version.based_on} said")


@get(f"{PATH}/draft/discard", name="routing:discard_form", guards=WRITING)
async def discard_form(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Whether to give the draft up."""
    draft, _ = await details.draft_rules(session, actor)
    page = RemovePage(
        action=f"{PATH}/draft/discard",
        title=f"Discard draft {draft.number}?",
        text="Its rules can still be read in the history, and a new draft can start from them.",
        submit="Discard draft",
    )
    return render(request, REMOVE[0], page, fragment=REMOVE[1])


@post(f"{PATH}/draft/discard", name="routing:discard", status_code=200, guards=CHANGING)
async def discard_draft(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Give the draft up."""
    await service.discard_draft(session, actor)
    return redirect(request, PATH, toast="The draft was discarded")


@get(f"{PATH}/rules/new", name="routing:new_rule", guards=WRITING)
async def new_rule(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """The form of a new rule."""
    return render(request, FORM[0], await details.rule_form_page(session, actor, key=None), fragment=FORM[1])


@post(f"{PATH}/rules", name="routing:add_rule", status_code=200, guards=CHANGING)
async def add_rule(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Add a rule to the draft."""
    answer_invalid_with(request, FORM[0], await details.rule_form_page(session, actor, key=None), fragment=FORM[1])
    rule = await _posted(request, RuleKey(new_id()))
    await service.add_rule(session, actor, rule=rule)
    return redirect(request, PATH, toast=f"“{rule.name}” was added to the draft")


@get(f"{PATH}/rules/{{rule_id:str}}", name="routing:edit_rule", guards=WRITING)
async def edit_rule(request: HttpRequest, rule_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """The form that says a rule of the draft differently."""
    return render(request, FORM[0], await details.rule_form_page(session, actor, key=rule_key_of(rule_id)), fragment=FORM[1])


@post(f"{PATH}/rules/{{rule_id:str}}", name="routing:change_rule", status_code=200, guards=CHANGING)
async def change_rule(request: HttpRequest, rule_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Say a rule of the draft differently."""
    key = rule_key_of(rule_id)
    answer_invalid_with(request, FORM[0], await details.rule_form_page(session, actor, key=key), fragment=FORM[1])
    await service.change_rule(session, actor, rule=await _posted(request, key))
    return redirect(request, PATH, toast="The draft was changed")


@post(f"{PATH}/rules/{{rule_id:str}}/move", name="routing:move_rule", status_code=200, guards=CHANGING)
async def move_rule(request: HttpRequest, rule_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Move a rule of the draft a step up or down."""
    form = await read_form(request, MoveForm)
    await service.move_rule(session, actor, key=rule_key_of(rule_id), by=form.by)
    return redirect(request, PATH, toast="Moved up" if form.by < 0 else "Moved down")


@get(f"{PATH}/rules/{{rule_id:str}}/remove", name="routing:remove_form", guards=WRITING)
async def remove_form(request: HttpRequest, rule_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Whether to take a rule out of the draft."""
    _, rules = await details.draft_rules(session, actor)
    rule = rules[place_of(rules, rule_key_of(rule_id))]
    page = RemovePage(
        action=f"{PATH}/rules/{rule_id}/remove",
        title=f"Remove “{rule.name}” from the draft?",
        text="The live version keeps it until the draft is published.",
        submit="Remove rule",
    )
    return render(request, REMOVE[0], page, fragment=REMOVE[1])


@post(f"{PATH}/rules/{{rule_id:str}}/remove", name="routing:remove_rule", status_code=200, guards=CHANGING)
async def remove_rule(request: HttpRequest, rule_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Take a rule out of the draft."""
    await service.remove_rule(session, actor, key=rule_key_of(rule_id))
    return redirect(request, PATH, toast="The rule is not in the draft any more")


@get(f"{PATH}/draft/publish", name="routing:request_form", guards=WRITING)
async def request_form(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """What somebody else will be asked to agree to."""
    draft, _ = await details.draft_rules(session, actor)
    return render(request, PUBLISH[0], await queries.publish_page(session, actor, of=draft), fragment=PUBLISH[1])


@post(f"{PATH}/draft/publish", name="routing:request", status_code=200, guards=CHANGING)
async def request_publish(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Ask somebody else to let the draft become live."""
    draft, _ = await details.draft_rules(session, actor)
    answer_invalid_with(request, PUBLISH[0], await queries.publish_page(session, actor, of=draft), fragment=PUBLISH[1])
    form = await read_form(request, RequestForm)
    await service.request_publish(session, actor, reason=form.reason)
    return redirect(request, PATH, toast="Somebody else has to approve it now")


@post(f"{PATH}/draft/withdraw", name="routing:withdraw", status_code=200, guards=CHANGING)
async def withdraw_request(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Take the request back."""
    await service.withdraw_request(session, actor)
    return redirect(request, PATH, toast="Taken back; the draft can be changed again")


async def _shown(session: AsyncSession, actor: Actor) -> RoutingVersion | None:
    return await queries.version_in(session, actor, *OPEN) or await queries.version_in(session, actor, VersionStatus.LIVE)


async def _page(request: HttpRequest, session: AsyncSession, actor: Actor, shown: RoutingVersion | None) -> RoutingPage:
    asked: Mapping[str, str] = dict(request.query_params.items())
    return await details.routing_page(session, actor, shown=shown, asked=asked)


async def _posted(request: HttpRequest, key: RuleKey) -> Rule:
    return rule_of(key, await read_form(request, RuleForm), await posted_values(request))


ROUTES = [
    show_rules,
    show_live,
    list_versions,
    show_version,
    try_payment,
    replay,
    start_draft,
    start_from,
    discard_form,
    discard_draft,
    new_rule,
    add_rule,
    edit_rule,
    change_rule,
    move_rule,
    remove_form,
    remove_rule,
    request_form,
    request_publish,
    withdraw_request,
]
