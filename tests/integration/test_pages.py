"""Every page in a real browser, on a telephone and on a desk, light and dark: no finding of axe-core, nothing cut off, charts that can be read."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.page_rules import broken_rules
from tests.servers import require_chromium
from tests.written_pages import DOCUMENTS, note_templates, page_templates, write_pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.integration, pytest.mark.slow]

WIDTHS = (390, 1280)
SCHEMES: dict[Literal["light", "dark"], dict[str, Any]] = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
"""Options of axe-core by colour scheme: every rule at each width, and the one that looks at colours again."""

CONTRAST = 4.5
READABLE = 12
"""CSS pixels of the smallest text of a chart."""

OPEN = "() => document.querySelectorAll('details').forEach(one => { one.open = true })"
"""Folded parts belong to the page."""

SIDEWAYS = "() => document.documentElement.scrollWidth - window.innerWidth"

CHARTS = """() => {
  const rgba = text => (text.match(/[\\d.]+/g) || []).map(Number)
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)
  const ground = element => {
    for (let one = element; one; one = one.parentElement) {
      const colour = rgba(getComputedStyle(one).backgroundColor)
      if (colour.length === 3 || colour[3] === 1) return colour
    }
    return [255, 255, 255]
  }
  return [...document.querySelectorAll('svg text')].map(text => {
    const [one, other] = [light(rgba(getComputedStyle(text).fill)), light(ground(text.closest('svg')))]
    const alpha = (rgba(getComputedStyle(text).fill)[3] ?? 1) * getComputedStyle(text).opacity
    const scale = text.closest('svg').getScreenCTM().a
    return {
      text: text.textContent, alpha: alpha, size: parseFloat(getComputedStyle(text).fontSize) * scale,
      contrast: (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05),
    }
  })
}"""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    path = require_chromium()
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses its sandbox to root
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Path], set[str]]]:
    """Every page by its name, and the templates of which they are made."""
    with pytest.MonkeyPatch.context() as patch:
        used = note_templates(patch)
        yield write_pages(tmp_path_factory.mktemp("written"), patch), used


@pytest.fixture(scope="module")
def pages(browser: "Browser", written: tuple[dict[str, Path], set[str]]) -> dict[str, Path]:
    return written[0]


KINDS = (
    *("validate_history", "validate_batch", "validate_batch_failed", "validate_features", "validate_scores", "validate_vectors"),
    *("evaluate", "evaluate_with_champion", "model_card", "decide", "shadow", "quantize", "evaluate_encoder", "evaluate_index"),
    *("attach_evidence", "report_drift", "report_drift_not_judged", "nights", "replay", "replay_different"),
    *("list_of_runs", "report_with_bar", *DOCUMENTS),
)


def test_every_template_is_among_the_pages(written: tuple[dict[str, Path], set[str]]) -> None:
    missing = ", ".join(sorted(page_templates() - written[1]))
    assert not missing, (
        f"pipelines/lib/pages/templates: no page is made of {missing}; let write_pages() of tests/written_pages.py write one"
    )


def test_every_page_is_looked_at(written: tuple[dict[str, Path], set[str]]) -> None:
    assert set(written[0]) == set(KINDS), "KINDS of tests/integration/test_pages.py names the pages that tests/written_pages.py writes"


@pytest.mark.parametrize("name", KINDS)
def test_a_page_breaks_no_rule_and_can_be_read(name: str, browser: "Browser", pages: dict[str, Path]) -> None:
    from axe_playwright_python.sync_playwright import Axe

    assert not broken_rules(pages[name].read_text(encoding="utf-8"))
    faults: list[str] = []
    page = browser.new_page()
    page.goto(pages[name].as_uri())
    page.evaluate(OPEN)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(SIDEWAYS) <= 0, f"{name} scrolls sideways at {width} px"
        for scheme, rules in SCHEMES.items():
            page.emulate_media(color_scheme=scheme)
            found = [*findings(Axe().run(page, options=rules).response), *unreadable(page)]
            faults += [f"{width} px, {scheme}: {fault}" for fault in found]
    page.close()
    assert not faults, "\n".join(faults)


def findings(answer: dict[str, Any]) -> list[str]:
    """Return the violations that axe-core names, in words."""
    return [f"{rule['id']}: {rule['help']}, at {node['html'][:200]}" for rule in answer["violations"] for node in rule["nodes"]]


def unreadable(page: "Page") -> list[str]:
    """Return the text of charts that is too small or too pale."""
    return [
        f"{text['text']!r} has {text['size']:.1f} px and a contrast of {text['contrast']:.2f}"
        for text in page.evaluate(CHARTS)
        if text["contrast"] < CONTRAST or text["alpha"] < 1 or text["size"] < READABLE - 0.01
    ]
