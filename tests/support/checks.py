"""The fast checks: style, types, floors, templates, migrations; all of them run, whatever the first one says."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

CHECKS = {
    "style": [str(BIN / "ruff"), "check", "--quiet", "."],
    "format": [str(BIN / "ruff"), "format", "--check", "--quiet", "."],
    "floors": [str(BIN / "lint-imports")],
    "templates": [str(BIN / "djlint"), "templates", "--lint", "--quiet"],
    "types": [str(BIN / "mypy")],
    "migrations": [sys.executable, "-m", "app.cli.main", "migrate", "--check"],
}


def check(name: str) -> tuple[bool, str]:
    """Run one check; what it said is shown only when it failed."""
    began = time.monotonic()
    done = subprocess.run(CHECKS[name], cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"NO_COLOR": "1"})
    good = done.returncode == 0
    line = f"{'✓' if good else '✗'} {name:<12} {time.monotonic() - began:5.1f} s"
    return good, line if good else f"{line}\n{done.stdout}{done.stderr}".rstrip()


def main() -> int:
    """Run every check."""
    results = [show(check(name)) for name in CHECKS]
    return 0 if all(results) else 1


def show(result: tuple[bool, str]) -> bool:
    """Print a result as it comes."""
    good, text = result
    print(text, flush=True)
    return good


if __name__ == "__main__":
    sys.exit(main())
