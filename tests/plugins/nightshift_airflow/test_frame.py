"""The pages that the plugin makes itself look like those of the stages, and keep the same rules."""

import re
from pathlib import Path

import pytest
from nightshift_airflow import frame, links
from nightshift_airflow.navigation import Opened
from nightshift_airflow.runbooks import names, render

from tests.page_rules import broken_rules

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_base_url", lambda: "http://night.example:8080")


def test_the_colours_are_those_of_the_pages_of_stages() -> None:
    palette = (ROOT / "pipelines/lib/pages/templates/palette.css").read_text(encoding="utf-8")
    page = frame.frame("Runs", "<p>None.</p>")
    assert palette in page
    assert not re.search(r"#[0-9a-f]{3,6}\b", page.replace(palette, "")), "no colour of its own"


def test_the_list_links_each_run_and_its_pages(tmp_path: Path) -> None:
    directory = tmp_path / "nightly_batch_scoring" / "one"
    (directory / "score").mkdir(parents=True)
    (directory / "score" / "report.html").write_text("<p>")
    page = frame.list_of_runs([Opened(directory, "run <1>", "2013-04-01", "2026-01-01T02:03:04", ("score",), None)], {})
    assert '<th scope="row">2013-04-01</th>' in page
    assert '<a href="/dags/nightly_batch_scoring/runs/run%20%3C1%3E" target="_top">run &lt;1&gt;</a>' in page
    assert '<a href="/nightshift/reports/nightly_batch_scoring/one/score">score</a>' in page
    assert "2026-01-01 02:03" in page
    assert not broken_rules(page)


def test_an_empty_list_says_so() -> None:
    page = frame.list_of_runs([], {})
    assert "No run has left a report yet." in page
    assert not broken_rules(page)


@pytest.mark.parametrize("name", names())
def test_a_runbook_keeps_the_rules_of_every_page(name: str) -> None:
    title, content = render(name)
    assert not broken_rules(frame.frame(title, f"<article>{content}</article>"))


def test_the_page_names_a_broken_use_case_and_its_fault() -> None:
    page = frame.list_of_runs([], {"churn": "params.yaml has <no> table"})
    assert "<b>churn</b>" in page
    assert "params.yaml has &lt;no&gt; table" in page


def test_with_several_use_cases_links_choose_the_runs_of_one() -> None:
    page = frame.list_of_runs([], {}, ["flights", "fraud"], "fraud")
    assert '<a href="/nightshift/">all</a>' in page
    assert '<a href="/nightshift/?use_case=flights">flights</a>' in page
    assert '<a href="/nightshift/?use_case=fraud" aria-current=true>fraud</a>' in page
    assert not broken_rules(page)
    assert "use_case=" not in frame.list_of_runs([], {}, ["flights"])
