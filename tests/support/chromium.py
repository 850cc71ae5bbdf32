"""Finds a Chromium for the browser tests and says which, fetching one only when the machine has none."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

SHELLS = ("chromium-headless-shell", "chrome-headless-shell")
"""The same engine without a window's surroundings: it starts with two fifths of the processor time and draws pages with two thirds."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DOWNLOAD_SECONDS = 300


class ChromiumMissing(Exception):
    """There is no browser and none could be fetched."""


@cache
def find(*, whole: bool = False) -> str:
    """The path of a Chromium: CHROMIUM_PATH, one on the PATH, Playwright's own, Debian's package when we may install it.

    With ``whole`` it is no headless shell, which leaves out what a browser sends by itself, such as reports.
    """
    for look in (named, on_path, playwrights, downloaded, installed):
        found = look(whole)
        if found is not None:
            path, how = found
            say(f"{path} ({how})")
            return path
    raise ChromiumMissing("no Chromium: set CHROMIUM_PATH, or install one (Debian: apt-get install chromium)")


def named(whole: bool) -> tuple[str, str] | None:
    """The one CHROMIUM_PATH names; a wrong path is an error, not a reason to take another browser."""
    path = os.environ.get("CHROMIUM_PATH")
    if path is None or (whole and "headless" in Path(path).name):
        return None
    if not os.access(path, os.X_OK):
        raise ChromiumMissing(f"CHROMIUM_PATH is {path}, which is not a program")
    return path, "CHROMIUM_PATH"


def on_path(whole: bool) -> tuple[str, str] | None:
    """One of the usual names on the PATH."""
    found = next(filter(None, map(shutil.which, NAMES if whole else (*SHELLS, *NAMES))), None)
    return (found, "found on the PATH") if found else None


def playwrights(whole: bool) -> tuple[str, str] | None:
    """The one Playwright downloaded earlier, without a window's surroundings if it has that."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = Path(playwright.chromium.executable_path)
    home = next((folder for folder in browser.parents if folder.name.startswith("chromium-")), browser)
    shells = home.with_name(home.name.replace("chromium-", "chromium_headless_shell-")).glob("*/*headless*shell*")
    found = next((path for path in (*(() if whole else shells), browser) if path.exists()), None)
    return (str(found), "Playwright's own") if found else None


def downloaded(whole: bool) -> tuple[str, str] | None:
    """Let Playwright download its own."""
    say("none on this machine; asking Playwright to download its own")
    only = [] if whole else ["--only-shell"]
    return playwrights(whole) if runs([sys.executable, "-m", "playwright", "install", *only, "chromium"]) else None


def installed(whole: bool) -> tuple[str, str] | None:
    """Debian's package, when we are root on a Debian."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    say("installing Debian's package")
    runs(["apt-get", "update", "-qq"])
    packages = ["chromium"] if whole else ["chromium-headless-shell", "chromium"]
    good = any(runs(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]) for package in packages)
    return on_path(whole) if good else None


def runs(command: list[str]) -> bool:
    """Run a command and tell whether it went well."""
    try:
        return subprocess.run(command, capture_output=True, timeout=DOWNLOAD_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def say(text: str) -> None:
    """Tell what is done, on the error stream so that the path can be captured."""
    print(f"Chromium: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        print(find())
    except ChromiumMissing as missing:
        sys.exit(f"Chromium: {missing}")
