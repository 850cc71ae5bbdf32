"""Pages of a merchant's single sign-on: providers, domains, enforcing."""

from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import parse_id, public_id
from app.tenancy.sso import flows, queries, service
from app.tenancy.sso.domain import SsoSettings
from app.tenancy.sso.queries import domain_id_of, provider_id_of
from app.tenancy.sso.schemas import DomainForm, EnforceForm, SsoForm
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]
HOME = "/single-sign-on"
READING, CHANGING = [requires("sso.write")], [requires("sso.write", fresh=True)]
FORM = ("tenancy/sso_form.html", "tenancy/_sso_form.html")
SHOWN = "tenancy/sso_provider.html"
ENFORCE = ("tenancy/sso_enforce.html", "tenancy/_sso_enforce.html")


def _at(provider_id: str) -> str:
    return f"{HOME}/{provider_id}"


async def _given(request: HttpRequest) -> tuple[SsoSettings, str]:
    form = await read_form(request, SsoForm)
    given = SsoSettings(
        name=form.name,
        issuer=form.issuer,
        client_id=form.client_id,
        secret_in_body=form.secret_in_body,
        scopes=" ".join(form.scopes.split()),
        accept_mfa=form.accept_mfa,
        mfa_acr=form.mfa_acr.split(),
        default_role=form.default_role,
        role_rules=form.role_rules.splitlines(),
    )
    return given, form.client_secret


@get(HOME, name="sso:list", guards=READING)
async def show_providers(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """The merchant's sign-in providers."""
    return render(request, "tenancy/sso.html", await queries.sso_page(session, actor))


# Fresh already when the form is shown: a step-up in the middle of the POST would have to carry the typed secret through a page.
@get(f"{HOME}/new", name="sso:new", guards=CHANGING)
async def show_new(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """The form of a new provider."""
    return render(request, FORM[0], await queries.new_page(session, actor), fragment=FORM[1])


@post(HOME, name="sso:add", status_code=200, guards=CHANGING)
async def add_provider(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Add a provider."""
    answer_invalid_with(request, FORM[0], await queries.new_page(session, actor), fragment=FORM[1])
    given, secret = await _given(request)
    row = await service.add_provider(session, actor, given=given, secret=secret)
    return redirect(request, _at(public_id("sso", row.id)), toast=f"{row.name} is added. Test it, then enable it.")


@get(HOME + "/{sso_id:str}", name="sso:show", guards=READING)
async def show_provider(request: HttpRequest, sso_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """One provider."""
    return render(request, SHOWN, await queries.provider_page(session, actor, provider_id=provider_id_of(sso_id)))


@get(HOME + "/{sso_id:str}/settings", name="sso:settings_form", guards=CHANGING)
async def show_settings(request: HttpRequest, sso_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """The form that changes a provider."""
    page = await queries.settings_page(session, actor, provider_id=provider_id_of(sso_id))
    return render(request, FORM[0], page, fragment=FORM[1])


@post(HOME + "/{sso_id:str}/settings", name="sso:settings", status_code=200, guards=CHANGING)
async def change_provider(request: HttpRequest, sso_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Change a provider."""
    provider_id = provider_id_of(sso_id)
    answer_invalid_with(request, FORM[0], await queries.settings_page(session, actor, provider_id=provider_id), fragment=FORM[1])
    given, secret = await _given(request)
    await service.change_provider(session, actor, provider_id=provider_id, given=given, secret=secret)
    return redirect(request, _at(sso_id), toast="Saved")


@post(HOME + "/{sso_id:str}/test", name="sso:test", status_code=200, guards=CHANGING)
async def test_provider(request: HttpRequest, sso_id: FromPath[str], actor: Who) -> Response[str]:
    """Look at what the provider publishes, now."""
    problem = await flows.test_provider(actor, provider_id=provider_id_of(sso_id))
    return redirect(request, _at(sso_id), toast="The test failed" if problem else "The provider answers as it must")


@post(HOME + "/{sso_id:str}/enable", name="sso:enable", status_code=200, guards=CHANGING)
async def enable(request: HttpRequest, sso_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Let people sign in by a provider."""
    await _answer_on_its_page(request, session, actor, sso_id)
    row = await service.enable(session, actor, provider_id=provider_id_of(sso_id))
    return redirect(request, _at(sso_id), toast=f"People can sign in with {row.name}")


@post(HOME + "/{sso_id:str}/disable", name="sso:disable", status_code=200, guards=CHANGING)
async def disable(request: HttpRequest, sso_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Let nobody sign in by a provider."""
    await _answer_on_its_page(request, session, actor, sso_id)
    row = await service.disable(session, actor, provider_id=provider_id_of(sso_id))
    return redirect(request, _at(sso_id), toast=f"Nobody signs in with {row.name} any more")


async def _answer_on_its_page(request: HttpRequest, session: AsyncSession, actor: Actor, sso_id: str) -> UUID:
    provider_id = provider_id_of(sso_id)
    answer_invalid_with(request, SHOWN, await queries.provider_page(session, actor, provider_id=provider_id))
    return provider_id


@get(HOME + "/{sso_id:str}/remove", name="sso:remove_form", guards=READING)
async def show_remove(request: HttpRequest, sso_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """What removing a provider takes along."""
    page = await queries.remove_page(session, actor, provider_id=provider_id_of(sso_id))
    return render(request, "tenancy/sso_remove.html", page, fragment="tenancy/_sso_remove.html")


@post(HOME + "/{sso_id:str}/remove", name="sso:remove", status_code=200, guards=CHANGING)
async def remove(request: HttpRequest, sso_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Remove a provider."""
    name = await service.remove_provider(session, actor, provider_id=provider_id_of(sso_id))
    return redirect(request, HOME, toast=f"{name} is removed")


@post(HOME + "/{sso_id:str}/domains", name="sso:add_domain", status_code=200, guards=CHANGING)
async def add_domain(request: HttpRequest, sso_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Name a domain."""
    provider_id = await _answer_on_its_page(request, session, actor, sso_id)
    form = await read_form(request, DomainForm)
    row = await service.add_domain(session, actor, provider_id=provider_id, domain=form.domain)
    return redirect(request, _at(sso_id), toast=f"Now prove {row.domain}")


@post(HOME + "/{sso_id:str}/domains/{domain_id:str}/prove", name="sso:prove_domain", status_code=200, guards=CHANGING)
async def prove_domain(request: HttpRequest, sso_id: FromPath[str], domain_id: FromPath[str], actor: Who) -> Response[str]:
    """Look for a domain's proof."""
    # in a transaction of its own: none may be open while name servers are asked
    async with unit_of_work(actor.merchant) as session:
        provider_id = await _answer_on_its_page(request, session, actor, sso_id)
    domain = await flows.prove_domain(actor, provider_id=provider_id, domain_id=domain_id_of(domain_id))
    return redirect(request, _at(sso_id), toast=f"{domain} is proven")


@post(HOME + "/{sso_id:str}/domains/{domain_id:str}/remove", name="sso:remove_domain", status_code=200, guards=CHANGING)
async def remove_domain(
    request: HttpRequest, sso_id: FromPath[str], domain_id: FromPath[str], session: Session, actor: Who
) -> Response[str]:
    """Take a domain off the list."""
    domain = await service.remove_domain(session, actor, provider_id=provider_id_of(sso_id), domain_id=domain_id_of(domain_id))
    return redirect(request, _at(sso_id), toast=f"{domain} does not lead here any more")


async def _enforcing(request: HttpRequest, session: AsyncSession, actor: Actor, sso_id: str) -> None:
    page = await queries.enforce_page(session, actor, provider_id=provider_id_of(sso_id), bound=request.state.visitor.bound)
    answer_invalid_with(request, ENFORCE[0], page, fragment=ENFORCE[1])


@get(HOME + "/{sso_id:str}/enforce", name="sso:enforce_form", guards=READING)
async def show_enforce(request: HttpRequest, sso_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """What enforcing means."""
    page = await queries.enforce_page(session, actor, provider_id=provider_id_of(sso_id), bound=request.state.visitor.bound)
    return render(request, ENFORCE[0], page, fragment=ENFORCE[1])


@post(HOME + "/{sso_id:str}/enforce", name="sso:enforce", status_code=200, guards=CHANGING)
async def enforce(request: HttpRequest, sso_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Enforce a provider."""
    await _enforcing(request, session, actor, sso_id)
    form = await read_form(request, EnforceForm)
    row = await service.enforce(session, actor, provider_id=provider_id_of(sso_id), break_glass=parse_id("per", form.owner))
    return redirect(request, _at(sso_id), toast=f"{row.name} is the only way in now", hard=True)


@post(HOME + "/{sso_id:str}/relax", name="sso:relax", status_code=200, guards=CHANGING)
async def relax(request: HttpRequest, sso_id: FromPath[str], session: Session, actor: Who) -> Response[str]:
    """Stop enforcing a provider."""
    row = await service.relax(session, actor, provider_id=provider_id_of(sso_id))
    return redirect(request, _at(sso_id), toast=f"{row.name} is one of the ways in now")


ROUTES = [
    show_providers,
    show_new,
    add_provider,
    show_provider,
    show_settings,
    change_provider,
    test_provider,
    enable,
    disable,
    show_remove,
    remove,
    add_domain,
    prove_domain,
    remove_domain,
    show_enforce,
    enforce,
    relax,
]
