"""Asks axe-core (vendored under tests/vendor, MPL-2.0, tests only) what on a page keeps people out."""

from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Page

AXE = Path(__file__).parent.parent / "vendor" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


LAYOUT = ["target-size", "scrollable-region-focusable", "bypass", "region"]
COLOURS = ["color-contrast", "link-in-text-block"]


def violations(page: Page, *, only: Sequence[str] = ()) -> list[str]:
    """WCAG 2.2 A and AA and best practice, or some rules alone: one line per rule that the page breaks, with the elements that break it."""
    # evaluated through the debugger, so the page's content policy stays as strict as it is
    page.evaluate(AXE.read_text(encoding="utf-8"))
    asked = {"type": "rule", "values": list(only)} if only else {"type": "tag", "values": TAGS}
    found = page.evaluate("asked => axe.run({ runOnly: asked, resultTypes: ['violations'], preload: false, iframes: false })", asked)
    return [f"{rule['id']}: {rule['help']}: {[node['html'][:160] for node in rule['nodes']][:5]}" for rule in found["violations"]]
