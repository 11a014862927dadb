"""What a page looks like, measured: contrast, accessibility, width."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from playwright.sync_api import Page

Colour = tuple[float, float, float, float]
LEAST_TEXT_CONTRAST = 4.5
LEAST_SHAPE_CONTRAST = 3.0

# Every text that shows, with the colours that are put over each other behind it, topmost first.
_TEXTS = """
() => [...document.querySelectorAll("body *")].flatMap(element => {
  const own = [...element.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim());
  if (!(own || element.placeholder) || !element.checkVisibility()) return [];
  const behind = [];
  for (let e = element; e; e = e.parentElement) behind.push(getComputedStyle(e).backgroundColor);
  const style = getComputedStyle(element, element.value === "" ? "::placeholder" : undefined);
  return [[element.outerHTML.slice(0, 80), style.color, behind]];
})
"""
_SHAPES = """
() => [
  [".bar i", "backgroundColor", ".bar", "backgroundColor"],
  ["#texts", "borderTopColor", "body", "backgroundColor"],
  ["#copy", "borderTopColor", "body", "backgroundColor"],
  ["#run", "backgroundColor", "body", "backgroundColor"],
].map(pair => [pair[0], ...[0, 2].map(i =>
  getComputedStyle(document.querySelector(pair[i]))[pair[i + 1]])])
"""


def contrast(colour: str, behind: list[str]) -> float:
    """Return the contrast ratio of a colour on what is behind it.

    Source: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
    """
    ground = (255.0, 255.0, 255.0, 1.0)
    for layer in reversed(behind):
        ground = _over(_parse(layer), ground)
    lighter, darker = sorted(
        (_luminance(_over(_parse(colour), ground)), _luminance(ground)), reverse=True
    )
    return (lighter + 0.05) / (darker + 0.05)


def faint(page: Page) -> list[str]:
    """Return the texts and shapes that are too hard to see, with their contrast."""
    texts = [
        (name, contrast(colour, behind), LEAST_TEXT_CONTRAST)
        for name, colour, behind in page.evaluate(_TEXTS)
    ]
    shapes = [
        (name, contrast(colour, [behind]), LEAST_SHAPE_CONTRAST)
        for name, colour, behind in page.evaluate(_SHAPES)
    ]
    assert len(texts) > 20
    return [f"{name}: {found:.2f}" for name, found, least in texts + shapes if found < least]


def barriers(page: Page) -> list[str]:
    """Return what axe finds in the way of people who see, hear or move otherwise."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    results: dict[str, Any] = page.evaluate("axe.run(document)")
    return [
        f"{violation['id']}: {node['html']}"
        for violation in results["violations"]
        for node in violation["nodes"]
    ]


def is_as_wide_as_the_window(page: Page) -> bool:
    """Say whether nothing has to be scrolled sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth === innerWidth"))


def _parse(colour: str) -> Colour:
    numbers = [float(number) for number in re.findall(r"[\d.]+", colour)]
    assert colour.startswith("rgb"), colour
    red, green, blue, alpha = [*numbers, 1.0][:4]
    return red, green, blue, alpha


def _over(top: Colour, ground: Colour) -> Colour:
    mixed = [t * top[3] + g * (1 - top[3]) for t, g in zip(top[:3], ground[:3], strict=True)]
    return mixed[0], mixed[1], mixed[2], 1.0


def _luminance(colour: Colour) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in colour[:3])
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
