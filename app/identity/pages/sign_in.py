"""Pages of signing in and of one's own account."""

from urllib.parse import quote

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import parse_id
from app.identity import flows, queries, service
from app.identity.pages.shared import exact, in_groups, place_of, posted_next, qr_code, visitor_of, welcome
from app.identity.providers import pages as provider_pages
from app.identity.providers import queries as providers
from app.identity.schemas import (
    CodeForm,
    DensityForm,
    EnrolPage,
    PasswordForm,
    PasswordPage,
    RecoveryCodesPage,
    SecondFactorPage,
    SignInForm,
    SignInPage,
    ThemeForm,
)
from app.identity.service import events
from app.identity.service.events import Happening
from app.web import cookies, sessions
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import password_proven, public, signed_in
from app.web.rendering import answer_invalid_with, redirect, render
from app.web.requests import become, safe_path
from app.web.sessions import Visitor


def _then(path: str, after: str) -> str:
    return path if after == "/" else f"{path}?next={quote(after, safe='/')}"


def _sign_in_page(after: str) -> SignInPage:
    return SignInPage(next=after, providers=providers.choices(), connecting=after == provider_pages.CONFIRM)


@get("/sign-in", name="identity:sign_in", guards=[public()])
async def show_sign_in(request: HttpRequest, next: FromQuery[str] = "/") -> Response[str]:
    """The sign-in page; who is signed in already goes on."""
    visitor, after = request.state.visitor, safe_path(next)
    if visitor is not None and visitor.complete:
        return redirect(request, after, hard=True)
    return render(request, "identity/sign_in.html", _sign_in_page(after))


@post("/sign-in", name="identity:check_password", status_code=200, guards=[public()])
async def check_password(request: HttpRequest) -> Response[str]:
    """The password; the second factor is asked next."""
    after = await posted_next(request)
    answer_invalid_with(request, "identity/sign_in.html", _sign_in_page(after))
    form = await read_form(request, SignInForm)
    agent = request.headers.get("user-agent", "")
    token, enrolled = await flows.sign_in(
        email=form.email,
        password=await exact(request, "password"),
        address=request.state.address,
        user_agent=agent,
        device=request.cookies.get(cookies.device_name(), ""),
    )
    # whoever signs in again leaves the session that this browser held before
    if request.state.visitor is not None:
        await flows.leave(request.state.visitor)
    cookies.give_session(request, token)
    return redirect(request, _then("/sign-in/second-factor" if enrolled else "/sign-in/enrol", after), hard=True)


@get("/sign-in/second-factor", name="identity:second_factor", guards=[password_proven()])
async def show_second_factor(request: HttpRequest, session: NamedDependency[AsyncSession], next: FromQuery[str] = "/") -> Response[str]:
    """The question for a code of the authenticator app."""
    visitor, after = visitor_of(request), safe_path(next)
    if visitor.complete:
        return redirect(request, after, hard=True)
    if not visitor.enrolled:
        return redirect(request, _then("/sign-in/enrol", after), hard=True)
    return render(request, "identity/second_factor.html", await queries.second_factor(session, visitor, after=after))


@post("/sign-in/second-factor", name="identity:prove_totp", status_code=200, guards=[password_proven()])
async def prove_totp(request: HttpRequest) -> Response[str]:
    """A code of the authenticator app completes the sign-in."""
    visitor, after = visitor_of(request), await posted_next(request)
    answer_invalid_with(request, "identity/second_factor.html", await _question(visitor, after))
    welcome(request, visitor.person.email, await flows.prove(visitor, proof=await exact(request, "code"), place=place_of(request)))
    return redirect(request, after, hard=True)


async def _question(visitor: Visitor, after: str) -> SecondFactorPage:
    # read before the factor is judged, in a transaction of its own
    async with unit_of_work(None) as session:
        return await queries.second_factor(session, visitor, after=after)


@get("/sign-in/recovery", name="identity:recovery", guards=[password_proven()])
async def show_recovery(request: HttpRequest, next: FromQuery[str] = "/") -> Response[str]:
    """The question for a recovery code, for those who lost their phone."""
    return render(request, "identity/recovery.html", SecondFactorPage(email=visitor_of(request).person.email, next=safe_path(next)))


@post("/sign-in/recovery", name="identity:prove_recovery", status_code=200, guards=[password_proven()])
async def prove_recovery(request: HttpRequest) -> Response[str]:
    """A recovery code completes the sign-in and is used up."""
    visitor, after = visitor_of(request), await posted_next(request)
    answer_invalid_with(request, "identity/recovery.html", SecondFactorPage(email=visitor.person.email, next=after))
    form = await read_form(request, CodeForm)
    welcome(request, visitor.person.email, await flows.prove(visitor, proof=form.code, place=place_of(request)))
    return redirect(request, "/security", toast="Signed in with a recovery code. It cannot be used again.", hard=True)


@get("/sign-in/enrol", name="identity:enrol", guards=[password_proven()])
async def show_enrolment(request: HttpRequest, next: FromQuery[str] = "/") -> Response[str]:
    """The QR code for the authenticator app; nothing else opens before this is done."""
    visitor, after = visitor_of(request), safe_path(next)
    if visitor.enrolled:
        return redirect(request, _then("/sign-in/second-factor", after), hard=True)
    return render(request, "identity/enrol.html", await _enrolment(visitor, after))


@post("/sign-in/enrol", name="identity:confirm_enrolment", status_code=200, guards=[password_proven()])
async def confirm_enrolment(request: HttpRequest) -> Response[str]:
    """A first code proves that the app works; the answer shows the recovery codes, once."""
    visitor, after = visitor_of(request), await posted_next(request)
    if visitor.enrolled:
        return redirect(request, _then("/sign-in/second-factor", after), hard=True)
    answer_invalid_with(request, "identity/enrol.html", await _enrolment(visitor, after))
    form = await read_form(request, CodeForm)
    token, codes = await flows.enrol(visitor, code=form.code, place=place_of(request))
    welcome(request, visitor.person.email, token)
    return render(request, "identity/recovery_codes_first.html", RecoveryCodesPage(codes=codes, next=after))


async def _enrolment(visitor: Visitor, after: str) -> EnrolPage:
    secret = await flows.pending_secret(visitor)
    return EnrolPage(email=visitor.person.email, secret=in_groups(secret), qr_svg=qr_code(secret, visitor.person.email), next=after)


@post("/sign-out", name="identity:sign_out", status_code=200, guards=[password_proven()])
async def sign_out(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """End this session here and on the server."""
    visitor = visitor_of(request)
    came_from = await providers.id_token_of(session, visitor.session_id)
    await sessions.end_session(session, person_id=visitor.person_id, session_id=visitor.session_id)
    await events.note(session, visitor.person_id, Happening.SIGNED_OUT, place_of(request))
    cookies.drop_session(request)
    response = redirect(request, provider_pages.farewell_path(request, *came_from) if came_from else "/sign-in", hard=True)
    # not the cookies: the session's is taken back above, and the browser stays known
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


@get("/security", name="identity:security", guards=[signed_in(own=True)])
async def show_security(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """One's own account: factors, recovery codes, open sessions."""
    return render(request, "identity/security.html", await queries.security(session, visitor_of(request)))


@post("/security/sessions/{session_id:str}/end", name="identity:end_session", status_code=200, guards=[signed_in(own=True)])
async def end_session(request: HttpRequest, session_id: FromPath[str], session: NamedDependency[AsyncSession]) -> Response[str]:
    """End one of one's own sessions."""
    visitor = visitor_of(request)
    await sessions.end_session(session, person_id=visitor.person_id, session_id=parse_id("ses", session_id))
    await events.note(session, visitor.person_id, Happening.SESSIONS_ENDED, place_of(request), about="1 ended")
    return redirect(request, "/security", toast="The session has ended")


@post("/security/sessions/end-others", name="identity:end_other_sessions", status_code=200, guards=[signed_in(own=True)])
async def end_other_sessions(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """End all of one's sessions but this one."""
    visitor = visitor_of(request)
    ended = await sessions.end_all_sessions(session, person_id=visitor.person_id, keep=visitor.session_id)
    await events.note(session, visitor.person_id, Happening.SESSIONS_ENDED, place_of(request), about=f"{ended} ended")
    return redirect(request, "/security", toast=f"{ended} other session{'' if ended == 1 else 's'} ended")


@post("/security/recovery-codes", name="identity:renew_recovery_codes", status_code=200, guards=[signed_in(fresh=True)])
async def renew_recovery_codes(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """Ten new recovery codes, shown once; the old ones stop working."""
    who, place = visitor_of(request).person_id, place_of(request)
    codes = await service.renew_recovery_codes(session, who)
    await events.note(session, who, Happening.RECOVERY_CODES_RENEWED, place)
    sentence = "New recovery codes were made for your account. The ones before do not work any more."
    await events.tell(session, await queries.person(session, who), place, subject="New recovery codes", sentence=sentence)
    page = RecoveryCodesPage(codes=codes, next="/security")
    return render(request, "identity/recovery_codes.html", page, fragment="identity/_recovery_codes.html")


@get("/security/password", name="identity:password", guards=[signed_in(own=True)])
async def show_password(request: HttpRequest) -> Response[str]:
    """The form for a new password."""
    page = PasswordPage(email=visitor_of(request).person.email)
    return render(request, "identity/password.html", page, fragment="identity/_password.html")


@post("/security/password", name="identity:change_password", status_code=200, guards=[signed_in(own=True)])
async def change_password(request: HttpRequest) -> Response[str]:
    """A new password, with the old one and a code; all other sessions end."""
    visitor = visitor_of(request)
    answer_invalid_with(request, "identity/password.html", PasswordPage(email=visitor.person.email), fragment="identity/_password.html")
    form = await read_form(request, PasswordForm)
    current, password = await exact(request, "current_password"), await exact(request, "password")
    token = await flows.change_password(visitor, current=current, password=password, proof=form.code, place=place_of(request))
    cookies.give_session(request, token)
    return redirect(request, "/security", toast="The password is changed; your other sessions have ended")


@post("/preferences/theme", name="identity:theme", status_code=200, guards=[signed_in()])
async def choose_theme(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """Light, dark, or as the system says."""
    form = await read_form(request, ThemeForm)
    await service.choose_theme(session, visitor_of(request).person_id, form.theme)
    return redirect(request, safe_path(form.next), hard=True)


@post("/preferences/density", name="identity:density", status_code=200, guards=[signed_in()])
async def choose_density(request: HttpRequest, session: NamedDependency[AsyncSession]) -> Response[str]:
    """More or less air between rows."""
    form = await read_form(request, DensityForm)
    await service.choose_density(session, visitor_of(request).person_id, form.density)
    return redirect(request, safe_path(form.next), hard=True)


@post("/step-up", name="identity:step_up", status_code=200, guards=[signed_in(fresh=True)])
async def confirm_step_up(request: HttpRequest, next: FromQuery[str] = "/") -> Response[str]:
    """The second factor is fresh now; on to the page that asked for it."""
    return redirect(request, safe_path(next), hard=True)


async def step_up(request: HttpRequest, visitor: Visitor, code: str) -> Visitor:
    """For the guards: check a code, renew the session id, and go on as the same person with a fresh factor."""
    cookies.give_session(request, await flows.prove(visitor, proof=code, place=place_of(request)))
    fresh = msgspec.structs.replace(visitor, factor_at=now())
    become(request, fresh)
    return fresh


ROUTES = [
    *provider_pages.ROUTES,
    show_sign_in,
    check_password,
    show_second_factor,
    prove_totp,
    show_recovery,
    prove_recovery,
    show_enrolment,
    confirm_enrolment,
    sign_out,
    show_security,
    end_session,
    end_other_sessions,
    renew_recovery_codes,
    show_password,
    change_password,
    choose_theme,
    choose_density,
    confirm_step_up,
]
