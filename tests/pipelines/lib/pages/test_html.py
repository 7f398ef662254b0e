"""The filters of the templates, the rules of every page, and that rendering stays cheap."""

import subprocess
import sys
from math import log

import pytest

from pipelines.lib.gates import PASSED, Finding
from pipelines.lib.pages.html import base_score, by_column
from tests.page_rules import broken_rules

GOOD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"></head><body><h1>x</h1><div class="scroll" role="region" tabindex="0" '
    'aria-label="a"><table><caption>a</caption><tr><th scope="col">b</th></tr></table></div><div class="scroll" role="region" tabindex="0" '
    'aria-label="c"><svg role="img" aria-label="bars"><g/></svg></div></body></html>'
)


def test_findings_are_grouped_by_column_the_whole_table_first() -> None:
    findings = [Finding(f"expect_{number}", column, {}, PASSED, 1) for number, column in enumerate(("b", None, "a", "b"))]
    assert [(column, [finding.type for finding in group]) for column, group in by_column(findings)] == [
        (None, ["expect_1"]),
        ("b", ["expect_0", "expect_3"]),
        ("a", ["expect_2"]),
    ]


@pytest.mark.parametrize(
    ("rate", "score", "expected"),
    [(0.5, "log_loss", log(2)), (0.25, "brier", 0.1875), (0.0, "log_loss", 0.0), (1.0, "brier", 0.0), (None, "brier", None)],
)
def test_the_base_is_the_score_of_the_rate_alone(rate: float | None, score: str, expected: float | None) -> None:
    assert base_score(rate, score) == pytest.approx(expected)


def test_a_page_that_keeps_the_rules_has_no_fault() -> None:
    assert broken_rules(GOOD) == []


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ('lang="en"', "", "the page names no language"),
        ("<caption>a</caption>", "", "a table has no caption"),
        (' scope="col"', "", "a header cell has no scope"),
        ('role="img" aria-label="bars"', "", "a chart has no text alternative"),
        ('class="scroll" ', "", "a table has no box that scrolls"),
        (' tabindex="0" aria-label="c"', ' aria-label="c"', "the box of a chart has no name, or the keyboard cannot reach it"),
        ('aria-label="c"', 'aria-label="a"', "2 boxes are called 'a'"),
        ("<h1>x</h1>", "", "the page has 0 headings of the first order"),
        ("<h1>x</h1>", '<h1 id="x">x</h1><p id="x"></p>', "2 elements have the id 'x'"),
    ],
)
def test_a_page_that_breaks_a_rule_is_named(before: str, after: str, fault: str) -> None:
    assert before in GOOD
    assert fault in broken_rules(GOOD.replace(before, after))


def test_a_page_without_charts_loads_no_matplotlib() -> None:
    code = "import sys, pipelines.lib.pages.html; assert not {'matplotlib', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
