"""Text from data is shown as it is and does nothing: a real renderer of Markdown gives back the text, and not one tag of it."""

import html
import random
import re

import pytest
from markdown_it import MarkdownIt
from nightshift_airflow.markdown import bullets, link, plain, table

RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = [
    *"\\|[]()`<>*_~#&!+-=.:;\"'^@{}$",
    *("http://e.vil/", "www.e.vil", "mailto:x@y.z", "&amp;", "&#65;", "<b>", "</script>", "<!--", "1.", "1)", "---", "===", "```"),
    *("[x]", "![i](u)", "[a]: u", "a_b", "a__b", "_a_", "__", "**", "word", "Zürich", "\n", "\n\n", "    ", "\t", "| a | b |\n| - | - |"),
]


def text_of(rendered: str) -> str:
    return html.unescape(re.sub(r"</?(p|ul|li)>", "", rendered)).replace("\u2060", "").strip()


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "* ", "PUBLISHED 2013-04-01: "])
def test_text_from_data_is_shown_and_marks_nothing_up(before: str) -> None:
    source = random.Random(7)
    for _ in range(10_000):
        said = "".join(source.choice(HOSTILE) for _ in range(source.randint(1, 12)))
        rendered = RENDERER.render(before + plain(said))
        assert not re.search(r"<(?!/?(p|ul|li)>)", rendered), said
        assert text_of(rendered) == (before.replace("* ", "") + " ".join(said.split())).strip(), said


@pytest.mark.parametrize("address", ["http://e.vil", "HTTPS://e.vil", "ftp://e.vil", "www.e.vil", "me@e.vil", "mailto:me@e.vil"])
def test_an_address_in_data_is_not_a_link(address: str) -> None:
    assert address not in plain(f"go to {address} now")
    assert plain(f"go to {address} now").replace("\u2060", "") == f"go to {address} now"


@pytest.mark.parametrize("before", ["_", "5", "*", "(", "é"])
def test_an_address_behind_any_character_is_not_a_link(before: str) -> None:
    """GitHub's dialect makes a link of an address behind an underscore, a digit or any character but an ASCII letter."""
    assert "https://" not in plain(f"{before}https://e.vil")
    assert plain(f"{before}https://e.vil").replace("\u2060", "").replace("\\", "") == f"{before}https://e.vil"


def test_ordinary_text_stays_readable_where_nobody_renders_it() -> None:
    said = "validate_batch: 3 of 42 checks failed (column dep_delay: 7 > 5, -1.5 < 0 is false); Core_RF_Classifier version 1, 30% & more, drift__1__2013-06-13"
    assert plain(said) == said.replace("<", "\\<")


@pytest.mark.parametrize("number", ["0.7000", "+0.0200 (+0.0100 to +0.0300)", "-1.5", "12,000", "1.", "-"])
def test_a_number_in_a_table_is_that_number(number: str) -> None:
    shown = RENDERER.render(table(("", "champion"), [("AUC", number)]))
    assert f">{number}</td>" in shown.replace("\u2060", "")
    assert number in ("1.", "-") or plain(number) == number


def test_a_table_keeps_its_cells_and_a_list_its_lines() -> None:
    shown = RENDERER.render(table(("", "a|b", "c"), [("x | y", "*1*", "<2>"), ("", "3", "4")]))
    assert re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", shown) == ["", "a|b", "c", "x | y", "*1*", "&lt;2&gt;", "", "3", "4"]
    assert RENDERER.render(bullets(["# one", "- two\n* three"])).count("<li>") == 2


def test_a_link_leads_where_it_says() -> None:
    shown = RENDERER.render(link("shadow", "http://localhost:8080/nightshift/reports/a_b/run(1)/shadow"))
    assert 'href="http://localhost:8080/nightshift/reports/a_b/run(1)/shadow"' in shown
