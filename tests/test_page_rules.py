"""The rules of pages that need no browser find what breaks them."""

import pytest

from tests.page_rules import broken_rules

PAGE = """<html lang="en"><h1>A page</h1><div class="scroll" tabindex="0" role="region" aria-label="Rows">
<table><caption>Rows</caption><tr><th scope="col">{header}</th><td>1</td></tr></table></div></html>"""


@pytest.mark.parametrize("header", ["rows", "<code>rows</code>", "<a href='#x'>rows</a>"])
def test_a_table_with_names_breaks_no_rule(header: str) -> None:
    assert broken_rules(PAGE.format(header=header)) == []


@pytest.mark.parametrize("header", ["", " ", "<span></span>"])
def test_an_empty_header_cell_breaks_a_rule(header: str) -> None:
    assert broken_rules(PAGE.format(header=header)) == ["a header cell is empty"]


@pytest.mark.parametrize(
    ("good", "bad", "fault"),
    [
        ('lang="en"', "", "the page names no language"),
        (' scope="col"', "", "a header cell has no scope"),
        ("<caption>Rows</caption>", "", "a table has no caption"),
        (' tabindex="0"', "", "the box of a table has no name, or the keyboard cannot reach it"),
        ("<h1>A page</h1>", "", "the page has 0 headings of the first order"),
        ("<h1>", "<script></script><h1>", "the page has a script"),
    ],
)
def test_each_rule_finds_the_page_that_breaks_it(good: str, bad: str, fault: str) -> None:
    assert broken_rules(PAGE.format(header="rows").replace(good, bad)) == [fault]
