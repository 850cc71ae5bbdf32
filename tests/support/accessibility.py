"""Asks axe-core (vendored under tests/vendor, MPL-2.0, tests only) what on a page keeps people out."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from playwright import async_api, sync_api

AXE = Path(__file__).parent.parent / "vendor" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


LAYOUT = ["target-size", "scrollable-region-focusable", "bypass", "region"]
COLOURS = ["color-contrast", "link-in-text-block"]

# The contrast of texts takes longer than all other rules together, and a page writes hundreds of texts in a few dozen ways. Two texts are painted
# alike when the browser computed the same looks for both and for everything they stand in: then axe is asked about a few of them, and what is
# painted like one that passed has passed. One that axe cannot judge (something lies over it) speaks for no other.
_ALIKE = """
const LOOKS = ['color', 'backgroundColor', 'backgroundImage', 'opacity', 'fontSize', 'fontWeight', 'textShadow', 'filter', 'mixBlendMode',
  'position', 'zIndex', 'overflow', 'clip', 'clipPath', 'transform', 'visibility', 'webkitTextStrokeWidth', 'webkitTextFillColor'];
const FEW = 3;
const rule = axe._audit.rules.find(one => one.id === 'color-contrast'), applies = rule.matches;
const check = axe._audit.checks['color-contrast'], judge = check.evaluate;
let ways, painted, met, passed;
const forget = () => { ways = new Map(); painted = new Map(); met = new Map(); passed = new Set(); };
const way = element => {
  if (!element) return 0;
  if (!painted.has(element)) {
    const style = getComputedStyle(element);
    const looks = [way(element.parentElement), element.localName, element.getAttribute('class'), ...LOOKS.map(name => style[name])].join('|');
    if (!ways.has(looks)) ways.set(looks, ways.size + 1);
    painted.set(element, ways.get(looks));
  }
  return painted.get(element);
};
rule.matches = function (element, ...rest) {
  const its = way(element), before = met.get(its) ?? 0;
  if (before >= FEW || !applies.call(this, element, ...rest)) return false;
  met.set(its, before + 1);
  return true;
};
check.evaluate = function (element, ...rest) {
  if (passed.has(way(element))) return true;
  const found = judge.call(this, element, ...rest);
  if (found === true) passed.add(way(element));
  return found;
};
axe.look = async (excluded, runOnly) => {
  forget();
  const where = excluded.length ? { exclude: excluded } : document;
  const found = await axe.run(where, { runOnly, resultTypes: ['violations'], preload: false, iframes: false });
  return found.violations.map(one => `${one.id}: ${one.help}: ${JSON.stringify(one.nodes.slice(0, 5).map(node => node.html.slice(0, 160)))}`);
};
"""
_LOOK = "([excluded, runOnly]) => axe.look(excluded, runOnly)"


@cache
def _source() -> str:
    """What a page has to be told before it can be asked; evaluated through the debugger, so its content policy stays as strict as it is."""
    return f"{AXE.read_text(encoding='utf-8')}\n;(() => {{ {_ALIKE} }})()"


async def bring_to(context: async_api.BrowserContext) -> None:
    """Let every page that is opened from now on find axe there: carrying it to each costs as much as a third of asking it."""
    await context.add_init_script(_source())


def _asked(only: Sequence[str]) -> dict[str, object]:
    return {"type": "rule", "values": list(only)} if only else {"type": "tag", "values": TAGS}


def violations(page: sync_api.Page, *, only: Sequence[str] = ()) -> list[str]:
    """WCAG 2.2 A and AA and best practice, or some rules alone: one line per rule that the page breaks, with the elements that break it."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_source())
    found: list[str] = page.evaluate(_LOOK, [[], _asked(only)])
    return found


async def violations_of(page: async_api.Page, *, only: Sequence[str] = (), excluded: Sequence[str] = ()) -> list[str]:
    """The same of a page that is driven by coroutines, without the elements that some selectors find."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_source())
    found: list[str] = await page.evaluate(_LOOK, [list(excluded), _asked(only)])
    return found
