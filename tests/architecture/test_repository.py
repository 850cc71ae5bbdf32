"""What is committed works elsewhere: no machine's path, no package index's host, no broken link."""

import re
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, committed, name

HOSTS = re.compile(
    "|".join(
        (
            r"pypi\.o" + "rg",
            "pythonhos" + "ted",
            r"registry\.npm" + "js",
            r"deb\.deb" + r"ian\.org",
            "--index" + "-url",
            "--extra-index" + "-url",
        )
    )
)
MACHINE_PATHS = re.compile(r"(?<![\w./-])/(?:" + "|".join(("wo" + "rk", "fa" + "rm", "ro" + "ot", "ho" + "me", "Us" + "ers")) + r")/[\w.-]")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]+)(#[^)]*)?\)")
BINARY = {".woff2", ".png", ".ico", ".jpg", ".gz"}


def texts() -> list[Path]:
    return [path for path in committed() if path.suffix not in BINARY]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name(path)}:{number}"
        for path in texts()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if len(line) < 2000 and pattern.search(line)
    ]


def test_no_file_names_an_index_host() -> None:
    assert lines_with(HOSTS) == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert lines_with(MACHINE_PATHS) == []


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_locked_package_has_a_hash(lock: str) -> None:
    packages = re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text())
    pinned = [package for package in packages if re.match(r"[a-z0-9][\w.-]*==", package)]
    assert len(pinned) > 30
    assert [package.split("==")[0] for package in pinned if "--hash=sha256:" not in package] == []


def test_what_runs_is_what_is_tested() -> None:
    def pins(lock: str) -> set[str]:
        return set(re.findall(r"^([a-z0-9][\w.-]*==[^\s;\\]+)", (ROOT / lock).read_text(), re.MULTILINE))

    assert pins("requirements.lock") <= pins("requirements-dev.lock")


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{name(path)} -> {target}"
        for path in committed("*.md")
        for target, _ in LINK.findall(path.read_text())
        if "://" not in target and not target.startswith("mailto:") and not (path.parent / target).exists()
    ]
    assert broken == []


def test_decisions_have_numbers_of_their_own() -> None:
    numbers = [path.name[:4] for path in committed("docs/adr/*.md")]
    assert len(numbers) > 5
    assert all(number.isdigit() for number in numbers)
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("path", committed("docs/adr/*.md"), ids=name)
def test_a_decision_says_why(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert re.search(r"\*\*(Why|Because|Reasons?)|\bbecause\b|## (Why|Context)", text, re.IGNORECASE)
