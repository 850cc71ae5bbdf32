"""What the source itself shows about security, and that every requirement of docs/security.md names tests that exist."""

import ast
import re

import pytest

from tests.architecture.sources import ROOT, committed, modules, name, tree

SENDS_SQL = {"text", "execute", "exec_driver_sql", "scalar", "scalars", "stream"}
BUILT_OF_OUR_OWN_NAMES = {
    "app/payments/queries/details.py": "columns and table of a mapped class",
    "app/reconciliation/invariants/queries.py": "invariants written in the same file",
    "app/reports/service.py": "tables named in the same file",
}
"""Statements put together from something else than constants; why nothing from outside can be among it."""
TALKS_TO_A_DATABASE_OF_ITS_OWN = {"app/core/embedded.py"}
DANGEROUS = {"eval", "exec", "compile", "from_string", "loads_pickle", "mktemp"}
WEAK = {"md5", "sha1", "ECB", "CBC", "TripleDES", "ARC4", "uuid4", "uuid1"}
MAY_USE = {
    ("app/cli/check.py", "uuid4"): "names of a trial order, no secret",
    ("app/cli/check_payouts.py", "uuid4"): "names of a trial payout",
    ("app/web/templating.py", "compile"): "our own templates",
}
DICE = {
    "app/seed/__init__.py": "the demo's history",
    "app/psp/simulator/scenario.py": "faults on purpose",
    "workers/jobs.py": "spreads retries",
}
_SECRET = re.compile(
    r"-----BEGIN (?:RSA |EC |OPENSSH )?PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{200}|\bAKIA[0-9A-Z]{16}\b|\b[sr]k_live_[A-Za-z0-9]{16,}|\bghp_[A-Za-z0-9]{30,}"
)
_REFERENCE = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?(?:::(\w+))?`")
_ROW = re.compile(r"^\| (\d+\.\d+\.\d+) \| (\d) \| (.+?) \| (.+?) \|$", re.MULTILINE)
REQUIREMENTS = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def calls(path: object) -> list[tuple[str, ast.Call]]:
    """Every call in a file with the last part of what is called."""
    found = []
    for node in ast.walk(tree(path)):  # type: ignore[arg-type]
        if isinstance(node, ast.Call):
            called = node.func
            found.append((called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", ""), node))
    return found


def is_constant(node: ast.expr) -> bool:
    """Whether the expression is a constant of the module, a member of one or one filled with texts, such as `LIMIT` or `State.FAILED`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"format", "replace"}:
        filled = [*node.args, *(keyword.value for keyword in node.keywords)]
        return is_constant(node.func.value) and all(isinstance(one, ast.Constant) or is_constant(one) for one in filled)
    if isinstance(node, ast.Attribute):
        return node.attr.isupper()
    return isinstance(node, ast.Name) and node.id.lstrip("_").isupper()


def test_statements_are_made_of_constants_and_parameters() -> None:
    wrong = []
    for path in modules("app", "workers"):
        if name(path) in BUILT_OF_OUR_OWN_NAMES or name(path) in TALKS_TO_A_DATABASE_OF_ITS_OWN:
            continue
        for called, call in calls(path):
            if called not in SENDS_SQL or not call.args or not isinstance(call.args[0], ast.JoinedStr):
                continue
            parts = [part.value for part in call.args[0].values if isinstance(part, ast.FormattedValue)]
            wrong += [f"{name(path)}:{call.lineno}" for part in parts if not is_constant(part)]
    assert not wrong, "give the value as a parameter"


def test_nothing_is_run_or_rendered_that_came_from_outside() -> None:
    wrong = []
    for path in modules("app", "workers"):
        for called, call in calls(path):
            dangerous = called in DANGEROUS and (name(path), called) not in MAY_USE and not _is_regex(call)
            shell = called in {"run", "Popen", "call", "check_output", "check_call"} and any(one.arg == "shell" for one in call.keywords)
            if dangerous or shell:
                wrong.append(f"{name(path)}:{call.lineno} {called}")
    assert not wrong


def _is_regex(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) and call.func.value.id == "re"


def test_only_strong_ciphers_hashes_and_dice_are_used() -> None:
    wrong = []
    for path in modules("app", "workers"):
        imported = {alias.name for node in ast.walk(tree(path)) if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names}
        if "random" in imported and name(path) not in DICE:
            wrong.append(f"{name(path)}: random")
        used = {called for called, _ in calls(path)} | imported
        wrong += [f"{name(path)}: {one}" for one in used & WEAK if (name(path), one) not in MAY_USE]
    assert not wrong


def test_no_secret_is_in_the_repository() -> None:
    found = []
    for path in committed():
        if path.suffix in {".woff2", ".png", ".ico", ".gz", ".zip"}:
            continue
        found += [f"{name(path)}: {match[:24]}…" for match in _SECRET.findall(path.read_text(encoding="utf-8", errors="replace"))]
    assert not found


def test_every_requirement_is_listed_once() -> None:
    numbers = [row[0] for row in _ROW.findall(REQUIREMENTS)]
    assert len(numbers) == len(set(numbers)) > 60


@pytest.mark.parametrize(("number", "shown"), [(row[0], row[3]) for row in _ROW.findall(REQUIREMENTS)])
def test_a_requirement_names_tests_that_exist(number: str, shown: str) -> None:
    references = _REFERENCE.findall(shown)
    assert references or shown.startswith("Not by a test: "), f"{number} names no test"
    for file, first, second in references:
        assert (ROOT / file).is_file(), file
        names = {
            node.name: node for node in tree(ROOT / file).body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert not first or first in names, f"{file} has no {first}"
        if second:
            inner = {node.name for node in ast.walk(names[first]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
            assert second in inner, f"{file}::{first} has no {second}"
