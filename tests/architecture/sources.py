"""What is in the repository, for the tests that read it."""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def committed(pattern: str = "*") -> tuple[Path, ...]:
    """The files git knows, and those it would take, by a glob of the name."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", pattern], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return tuple(path for path in (ROOT / name for name in listed.stdout.splitlines()) if path.is_file())


@cache
def modules(*roots: str) -> tuple[Path, ...]:
    """The Python files under some directories."""
    return tuple(path for path in committed("*.py") if path.relative_to(ROOT).parts[0] in roots)


@cache
def tree(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(), str(path))


def name(path: Path) -> str:
    """A file's path in the repository."""
    return str(path.relative_to(ROOT))
