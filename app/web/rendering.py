"""Pages and fragments: one template environment, one way to answer with HTML, one way to send the browser elsewhere.

A template receives `page`, a struct, and nothing else of the feature's. What the macros need beyond that (nonce, CSRF token, the
posted form) is the request's and is handed to them for the length of one rendering.
"""

import base64
import binascii
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from pathlib import Path
from urllib.parse import quote

import jinja2
import msgspec
from litestar.datastructures import Cookie
from litestar.response import Response
from markupsafe import Markup, escape

from app.core.errors import AppError
from app.core.settings import settings
from app.web import charts, formatting
from app.web.context import CSRF_FIELD, CSRF_HEADER, HttpRequest, MerchantBadge, WebContext, wants_fragment, web_context
from app.web.forms import EMPTY, FormState, Values, posted_values, state_after
from app.web.marks import badge_markup, icon_markup, method_markup, money_markup, when_markup
from app.web.navigation import Group, is_current, navigation
from app.web.static import static_url
from app.web.templating import Environment

TEMPLATES = Path(__file__).parent.parent.parent / "templates"
TOAST_COOKIE = "ch_toast"
_HTML = "text/html"
_VARY = "HX-Request, HX-Request-Type, Accept"


class _Rendering:
    """What macros may ask for while one template is rendered."""

    def __init__(self, web: WebContext, form: FormState) -> None:
        self.web = web
        self.form = form
        self.open_forms: list[tuple[str, FormState]] = []
        self.actions: list[str] = []

    @property
    def current_form(self) -> FormState:
        return self.open_forms[-1][1] if self.open_forms else EMPTY

    def enter(self, action: str, state: FormState) -> None:
        if action not in self.actions:
            self.actions.append(action)
        self.open_forms.append((action, state))

    def field_id(self, name: str) -> str:
        # a dialog lies over a page whose forms may have fields of the same name, and so may two forms of one page
        number = self.actions.index(self.open_forms[-1][0]) if self.open_forms else 0
        return f"{'d' if self.web.fragment else 'f'}{number or ''}-{name}"


_rendering: ContextVar[_Rendering] = ContextVar("rendering")


class Shell(msgspec.Struct, kw_only=True):
    """What the layout shows around a page."""

    places: "Places"
    paths: frozenset[str]
    toast: str | None
    counterpart: MerchantBadge | None
    others: list[MerchantBadge]


class Places(msgspec.Struct, frozen=True):
    """Where one may go: in the sidebar, in the command palette, and by two keys."""

    sidebar: Markup
    palette: Markup
    shortcuts: Markup


@cache
def templates() -> jinja2.Environment:
    """The template environment; a name that is not defined is an error, never an empty string."""
    # elsewhere templates do not change under a running process, and looking at sixty files for every page costs time
    environment = Environment(jinja2.FileSystemLoader(TEMPLATES), reloads=settings().environment == "development")
    environment.filters["money"] = formatting.money_text
    environment.filters["when"] = formatting.moment
    environment.globals.update(
        nonce=lambda: _rendering.get().web.nonce,
        csrf_token=lambda: _rendering.get().web.csrf_token,
        csrf_field=lambda: CSRF_FIELD,
        csrf_header=lambda: CSRF_HEADER,
        is_fragment=lambda: _rendering.get().web.fragment,
        form_state=lambda: _rendering.get().current_form,
        form_enter=_form_enter,
        form_leave=_form_leave,
        field_id=lambda name: _rendering.get().field_id(name),
        form_value=_form_value,
        form_error=_form_error,
        form_checked=_form_checked,
        idempotency_key=_idempotency_key,
        icon_markup=icon_markup,
        badge_markup=badge_markup,
        method_markup=method_markup,
        money_markup=money_markup,
        when_markup=when_markup,
        static_url=static_url,
        money_text=formatting.money_text,
        currency_symbol=formatting.currency_symbol,
        iso=formatting.iso,
        moment=formatting.moment,
        json_markup=json_markup,
        area_markup=charts.area_markup,
        column_markup=charts.column_markup,
        spark_markup=charts.spark_markup,
        meter_markup=charts.meter_markup,
        chart_rows=charts.chart_rows,
    )
    return environment


def render(
    request: HttpRequest,
    template: str,
    page: object,
    *,
    status: int = 200,
    fragment: str | None = None,
    toast: str | None = None,
    headers: dict[str, str] | None = None,
    form: FormState = EMPTY,
) -> Response[str]:
    """Answer with the whole page, or with its fragment when htmx asked for a part."""
    web = web_context(request)
    web.fragment = fragment is not None and wants_fragment(request)
    name = fragment if web.fragment and fragment else template
    toast, cookies = _pending_toast(request, toast)
    shown = None if request.headers.get("hx-request") == "true" else toast
    body = to_html(name, page, web, paths=registered_paths(request), form=form, toast=shown)
    extra = {"Vary": _VARY, "Cache-Control": "no-store", **(headers or {})}
    if toast and shown is None:
        extra["HX-Trigger"] = json.dumps({"toast": {"title": toast}})
    if status >= 400:
        # the address bar must keep the page the form is on, not the address it was posted to
        extra.setdefault("HX-Push-Url", "false")
    return Response(body, status_code=status, media_type=_HTML, headers=extra, cookies=cookies)


def to_html(
    name: str, page: object, web: WebContext, *, paths: frozenset[str] = frozenset(), form: FormState = EMPTY, toast: str | None = None
) -> str:
    """The template as text, for answers and for tests."""
    with _handing_over(web, form):
        return templates().get_template(name).render(page=page, web=web, shell=_shell(web, paths, toast))


_AS_IT_IS = "!#$%&'()*+,/:;=?@[]~"
"""What may stand in an address as it is; anything else that somebody asked to go on to is encoded, as a header takes no other letters."""


def redirect(request: HttpRequest, path: str, *, toast: str | None = None, hard: bool = False) -> Response[str]:
    """Send the browser to another page after a POST; `hard` loads it afresh, for a change of person or merchant."""
    cookies, path = [_toast_cookie(request, toast)] if toast else [], quote(path, safe=_AS_IT_IS)
    if request.headers.get("hx-request") != "true" or (not hard and not wants_fragment(request)):
        return Response("", status_code=303, headers={"Location": path, "Cache-Control": "no-store"}, cookies=cookies, media_type=_HTML)
    target = (
        {"HX-Redirect": path}
        if hard
        else {"HX-Location": json.dumps({"path": path, "target": "#main", "select": "#main", "swap": "outerHTML"})}
    )
    return Response("", status_code=200, headers={**target, "Vary": _VARY, "Cache-Control": "no-store"}, cookies=cookies, media_type=_HTML)


class _InvalidAnswer(msgspec.Struct, frozen=True):
    template: str
    page: object
    fragment: str | None


def answer_invalid_with(request: HttpRequest, template: str, page: object, *, fragment: str | None = None) -> None:
    """Say, before reading a form, what to show again should the form or the service refuse it."""
    request.state.invalid_answer = _InvalidAnswer(template, page, fragment)


async def invalid_answer(request: HttpRequest, error: AppError) -> Response[str] | None:
    """The form again, with what was posted and what is wrong; None when the handler named no form."""
    answer: _InvalidAnswer | None = getattr(request.state, "invalid_answer", None)
    if answer is None or error.status not in {409, 422, 429}:
        return None
    form = state_after(error, request.url.path, await _kept_values(request))
    return render(request, answer.template, answer.page, status=error.status, fragment=answer.fragment, form=form)


_NEVER_KEPT = ("password", "code", "secret", "token")


async def _kept_values(request: HttpRequest) -> Values:
    values = await posted_values(request)
    return {name: texts for name, texts in values.items() if not any(word in name for word in _NEVER_KEPT)}


def registered_paths(request: HttpRequest) -> frozenset[str]:
    """The paths this installation answers; the sidebar shows no others."""
    known: frozenset[str] | None = getattr(request.app.state, "page_paths", None)
    if known is None:
        known = frozenset(route.path for route in request.app.routes)
        request.app.state.page_paths = known
    return known


def _shell(web: WebContext, paths: frozenset[str], toast: str | None) -> Shell:
    here = web.merchant
    twin = next((m for m in web.merchants if here is not None and m.id == here.counterpart), None)
    others = [m for m in web.merchants if not m.is_sandbox or (here is not None and m.id == here.id)]
    groups = navigation(web, paths)
    current = next((entry.path for group in groups for entry in group.entries if is_current(entry, web.path)), "")
    return Shell(places=_places(groups, current), paths=paths, toast=toast, counterpart=twin, others=others)


@lru_cache(maxsize=512)
def _places(groups: tuple[Group, ...], here: str) -> Places:
    # sixty entries that are the same for everybody with the same role; nothing of a person or a merchant is in them
    def written(name: str) -> Markup:
        return Markup(templates().get_template(f"layout/{name}.html").render(groups=groups, here=here))  # noqa: S704 - a template of ours

    return Places(sidebar=written("_sidebar"), palette=written("_palette_places"), shortcuts=written("_shortcut_places"))


@contextmanager
def _handing_over(web: WebContext, form: FormState) -> Iterator[None]:
    token = _rendering.set(_Rendering(web, form))
    try:
        yield
    finally:
        _rendering.reset(token)


def _form_enter(action: str, method: str = "post") -> str:
    current = _rendering.get()
    posted_here = method == "post" and current.form.path == action.partition("?")[0] and current.form is not EMPTY
    current.enter(action, current.form if posted_here else EMPTY)
    return ""


def _form_leave() -> str:
    _rendering.get().open_forms.pop()
    return ""


def _form_value(name: str, value: object) -> object:
    given = _rendering.get().current_form.values.get(name)
    if given:
        return given[-1]
    return "" if value is None else value


def _form_error(name: str) -> str | None:
    return _rendering.get().current_form.errors.get(name)


def _form_checked(name: str, value: object, checked: bool) -> bool:
    form = _rendering.get().current_form
    return checked if form is EMPTY else str(value) in form.values.get(name, [])


def _idempotency_key() -> str:
    kept = _rendering.get().current_form.values.get("idempotency_key")
    return kept[-1] if kept else secrets.token_urlsafe(18)


def _toast_cookie(request: HttpRequest, text: str) -> Cookie:
    value = base64.urlsafe_b64encode(text.encode()).decode()
    return Cookie(key=TOAST_COOKIE, value=value, max_age=30, httponly=True, samesite="lax", secure=request.url.scheme == "https", path="/")


def _pending_toast(request: HttpRequest, toast: str | None) -> tuple[str | None, list[Cookie]]:
    kept = request.cookies.get(TOAST_COOKIE)
    if kept is None:
        return toast, []
    gone = Cookie(key=TOAST_COOKIE, value="", max_age=0, httponly=True, samesite="lax", path="/")
    try:
        text = base64.urlsafe_b64decode(kept.encode()).decode()
    except (binascii.Error, UnicodeError):
        return toast, [gone]
    return toast or text[:200], [gone]


def json_markup(value: object) -> Markup:
    """JSON with coloured keys and values, safe to show."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return Markup("\n").join(_json_line(line) for line in text.splitlines())


def _json_line(line: str) -> Markup:
    indent, rest = line[: len(line) - len(line.lstrip())], line.lstrip()
    key, separator, value = rest.partition('": ')
    if not separator or not key.startswith('"'):
        return Markup("{}{}").format(indent, _json_value(rest))
    return Markup('{}<span class="k">{}"</span>: {}').format(indent, key, _json_value(value))


def _json_value(text: str) -> Markup:
    bare = text.removesuffix(",")
    comma = text[len(bare) :]
    if bare in {"{", "}", "[", "]", "{}", "[]", ""}:
        return escape(text)
    return Markup('<span class="{}">{}</span>{}').format("s" if bare.startswith('"') else "n", bare, comma)
