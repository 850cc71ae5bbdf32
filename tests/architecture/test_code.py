"""The house rules that can be read off the syntax tree."""

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.sources import ROOT, committed, modules, name, tree

FEATURE_FILES = {"__init__", "domain", "models", "schemas", "queries", "service", "flows", "pages", "api"}
EXTRA = {"payouts": {"adapters"}, "psp": {"adapters", "simulator"}, "identity": {"oauth"}, "api_access": {"oauth"}}
NOT_FEATURES = {"core", "web", "cli", "seed"}
CODE = ("app", "workers", "migrations", "bench")


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_keep_to_the_floors() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_only_the_unit_of_work_commits() -> None:
    found = [
        f"{name(path)}:{node.lineno}"
        for path in modules("app", "workers")
        if "simulator" not in path.parts  # a provider of its own, with a store of its own
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"
    ]
    assert [place.split(":")[0] for place in found] == ["app/core/db.py"], found


def test_functions_have_at_most_fifty_lines() -> None:
    # A migration is a list of columns, read once from top to bottom.
    files = [path for path in modules(*CODE) if path.parent.name != "versions"]
    assert [
        f"{name(path)}:{node.lineno} {node.name} has {length(node)}" for path in files for node in functions(path) if length(node) > 50
    ] == []


def test_half_of_the_functions_have_at_most_twelve_lines() -> None:
    assert statistics.median(length(node) for path in modules("app", "workers") for node in functions(path)) <= 12


def test_files_have_at_most_four_hundred_lines() -> None:
    long = [
        f"{name(path)} has {lines}"
        for path in committed("*.py")
        if path.parent.name != "versions" and (lines := len(path.read_text().splitlines())) > 400
    ]
    assert long == []


def test_templates_have_at_most_a_hundred_and_fifty_lines() -> None:
    long = [f"{name(path)} has {lines}" for path in committed("templates/*.html") if (lines := len(path.read_text().splitlines())) > 150]
    assert long == []


def test_features_hold_only_the_eight_kinds_of_file() -> None:
    strange = []
    for feature in sorted(path for path in (ROOT / "app").iterdir() if path.is_dir() and path.name not in NOT_FEATURES):
        known = FEATURE_FILES | EXTRA.get(feature.name, set())
        for path in (path for path in committed("*.py") if feature in path.parents):
            first, *rest = [part.removesuffix(".py") for part in path.relative_to(feature).parts]
            # A feature that grew is split by noun, into packages that hold the same eight files.
            if first not in known and not (rest and set(rest) <= FEATURE_FILES):
                strange.append(name(path))
    assert strange == []


def test_type_only_imports_are_not_used() -> None:
    banned = {"__future__.annotations", "typing.TYPE_CHECKING"}
    assert [(name(path), module) for path in committed("*.py") for module in imports(path) if module in banned] == []


def test_no_module_is_a_place_for_anything() -> None:
    vague = re.compile(r"(^|_)(helpers?|utils?|managers?|misc|common)(_|$)")
    assert [
        name(path)
        for path in modules("app", "workers")
        if any(vague.search(part.removesuffix(".py")) for part in path.relative_to(ROOT).parts)
    ] == []


def test_rules_and_services_use_no_any() -> None:
    kinds = {"domain", "service", "flows"}
    files = [
        path
        for path in modules("app")
        if kinds & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts[2:]} and "simulator" not in path.parts
    ]
    assert [name(path) for path in files if "typing.Any" in set(imports(path))] == []


def test_no_failure_is_swallowed() -> None:
    swallowed = [
        f"{name(path)}:{node.lineno}"
        for path in modules(*CODE)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
        and all(isinstance(inner, ast.Pass) for inner in node.body)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
    ]
    assert swallowed == []


def test_nothing_is_left_for_later() -> None:
    later = re.compile(
        r"\b("
        + "|".join(("TO" + "DO", "FIX" + "ME", "XXX", "HACK"))
        + r")\b|NotImplemented"
        + "Error|not implemented "
        + "yet|for "
        + "now\\b"
    )
    found = [
        f"{name(path)}:{number}"
        for path in modules(*CODE)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if later.search(line)
    ]
    assert found == []


def test_public_functions_of_features_have_a_docstring() -> None:
    kinds = {"domain.py", "queries.py", "service.py", "flows.py"}
    bare = [
        f"{name(path)}:{node.lineno} {node.name}"
        for path in modules("app")
        if path.name in kinds
        for node in tree(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_") and ast.get_docstring(node) is None
    ]
    assert bare == []
