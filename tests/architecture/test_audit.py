"""Every write leaves a trace: from each unsafe route one can follow the calls to the place that writes the audit trail."""

import ast
from collections.abc import Iterator
from functools import cache

from app.tenancy.domain import SENSITIVE_READS
from app.web.guards import declaration_of, declared_routes
from tests.architecture.sources import ROOT, modules, tree
from tests.support.web import whole_app

Place = tuple[str, str]
"""A function: its module and its name."""

TRAIL: frozenset[Place] = frozenset(
    {("app.core.audit", "record"), ("app.core.audit", "record_all"), ("app.identity.service.events", "note")}
)
"""What writes: an entry of a merchant's trail, or of a person's, which the database copies to the merchants they work for."""


@cache
def sources() -> dict[str, ast.Module]:
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): tree(path) for path in modules("app")}


@cache
def bound(module: str) -> dict[str, tuple[str, str | None]]:
    """What the names of a module mean: a module, or a name within one."""
    found: dict[str, tuple[str, str | None]] = {}
    for node in ast.walk(sources()[module]):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: (alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found[alias.asname or alias.name] = (whole, None) if whole in sources() else (node.module, alias.name)
    return found


@cache
def defined(module: str) -> dict[str, list[ast.AST]]:
    """The functions and the tables of functions of a module, by name; a method by its own name."""
    found: dict[str, list[ast.AST]] = {}
    for node in ast.walk(sources()[module]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.setdefault(node.name, []).append(node)
    for node in sources()[module].body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        for target in targets:
            if isinstance(target, ast.Name):
                found.setdefault(target.id, []).append(node)
    return found


def named(place: Place) -> Place:
    """Where a name that is handed on by a package was made."""
    module, name = place
    seen = set()
    while module in sources() and name not in defined(module) and name in bound(module) and (module, name) not in seen:
        seen.add((module, name))
        module, name = bound(module)[name][0], bound(module)[name][1] or name
    return module, name


@cache
def leads_to(place: Place) -> frozenset[Place]:
    """The functions that one names."""
    module, name = place
    if module not in sources():
        return frozenset()
    return frozenset(named(found) for node in defined(module).get(name, []) for found in mentions(module, node))


def mentions(module: str, node: ast.AST) -> Iterator[Place]:
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load):
            target, inner = bound(module).get(each.id, (module, each.id))
            yield target, inner or ""
        elif isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
            target, inner = bound(module).get(each.value.id, (module, None))
            if inner is None:
                yield target, each.attr


def reaching(starts: set[Place]) -> set[Place]:
    """Of some functions and all that they lead to, those from which the trail is reached."""
    callers: dict[Place, set[Place]] = {}
    waiting, seen = list(starts), set(starts)
    while waiting:
        here = waiting.pop()
        for there in leads_to(here):
            callers.setdefault(there, set()).add(here)
            if there not in seen:
                seen.add(there)
                waiting.append(there)
    found, waiting = set(TRAIL), list(TRAIL)
    while waiting:
        fresh = callers.get(waiting.pop(), set()) - found
        found |= fresh
        waiting += fresh
    return found


@cache
def routes() -> list[tuple[str, str, Place, bool]]:
    """Every route: method, name, handler, and whether its guard notes the call."""
    found = [(method, handler, declaration_of(handler)) for method, _, handler in declared_routes(whole_app())]
    return [(m, str(h.name), (h.fn.__module__, h.fn.__name__), guard is not None and guard.noted) for m, h, guard in found]


SILENT = {
    "admissions:find": "says the same to everybody: which way somebody with such an address may go",
    "audit:check": "the check is a row of its own with who asked for it",
    "identity:density": "how one's own pages look",
    "identity:step_up": "the guard takes the factor and notes it",
    "identity:theme": "how one's own pages look",
    "operator:close_visit": "the visit is a row of its own; each look of it is in the trail of whose objects were shown",
    "operator:open_visit": "the visit is a row of its own, with its reason",
    "passkeys:ask": "a question to a key; the answer is noted",
    "passkeys:ask_anybody": "a question to a key; the answer is noted",
    "passkeys:ask_new": "a question to a key; the answer is noted",
    "passwords:ask": "noted by the job of its event, so that the time tells nobody who is here",
    "patterns:submit": "shows a form's answer in development",
    "psp:webhook": "kept word for word; what it changes is in the history of what it changes",
    "violations:report": "a stranger's word about a page: a line of the log and a number",
    "tenancy:enter": "which of one's merchants the pages are about; nothing of a merchant changes",
}
"""Unsafe routes that write no entry themselves, and why."""


def test_every_write_can_reach_the_trail() -> None:
    unsafe = {name: place for method, name, place, is_noted in routes() if method not in {"GET", "HEAD"} and not is_noted}
    found = reaching(set(unsafe.values()))
    silent = {name for name, place in unsafe.items() if place not in found}
    assert len(unsafe) > 100
    assert silent - SILENT.keys() == set(), "write an audit entry beside the change, or say above why none is needed"
    assert SILENT.keys() - silent == set(), "these write an entry now: take them off the list"


def test_the_search_itself_tells_the_two_apart() -> None:
    acts, looks = ("app.psp.pages", "enable_connection"), ("app.psp.pages", "list_connections")
    assert reaching({acts, looks}) & {acts, looks} == {acts}


def test_every_sensitive_page_is_a_page() -> None:
    assert SENSITIVE_READS.keys() - {name for method, name, *_ in routes() if method == "GET"} == set()
