"""The report: three states besides failure, none of which looks like another."""

import json
from pathlib import Path

import pytest

from pipelines.lib.core.errors import GateFailed
from pipelines.lib.gates import FAILED, PASSED, WARNING, Finding, Report, deliver, not_judged
from tests.page_rules import broken_rules

HOLDS = Finding("expect_x", "word", {}, PASSED, "0 violations in 7 rows (0.00%)")
UNJUDGED = not_judged("table_row_count_to_be_between", None, "no recent night")
WARNS = Finding("expect_y", "amount", {}, WARNING, "0.91 of the rows are elsewhere")
FAILS = Finding("expect_z", "amount", {}, FAILED, "3 violations in 7 rows (42.86%)")


def test_a_page_shows_markup_as_text(tmp_path: Path) -> None:
    finding = Finding("expect_x", "word", {}, FAILED, "<script>alert(1)</script>", sample_rows=[{"word": "<b>"}])
    with pytest.raises(GateFailed):
        deliver(Report("gate", "2024-01-01", 1, [finding]), tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<script>" not in page
    assert "http" not in page.replace("http-equiv", "")  # nothing is fetched from anywhere


@pytest.mark.parametrize(("default", "named"), [(True, "params.yaml"), (False, "use_cases/orders/params.yaml")])
def test_a_page_names_the_file_of_its_use_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, default: bool, named: str) -> None:
    """It named ``params.yaml``, which in the workspace of another use case than the default one no person writes."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(json.dumps({"use_case": {"name": "orders", "default": default}}), encoding="utf-8")
    finding = Finding("expect_x", "word", {}, FAILED, "1 of 7 rows", notes="correct columns.word.values in params.yaml")
    with pytest.raises(GateFailed):
        deliver(Report("gate", "2024-01-01", 1, [finding]), tmp_path / "report")
    assert f"correct the expectation in <code>{named}</code>" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    content = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert content["expectations"][0]["notes"] == f"correct columns.word.values in {named}"


def delivered(directory: Path, *findings: Finding) -> tuple[dict[str, object], str]:
    """Return the two files of a report with `findings`."""
    deliver(Report("gate", "2024-01-01", 7, findings), directory)
    return json.loads((directory / "report.json").read_text()), (directory / "report.html").read_text()


def test_what_was_not_judged_is_grey_and_not_counted_as_holding(tmp_path: Path) -> None:
    content, page = delivered(tmp_path / "report", HOLDS, UNJUDGED)
    assert (content["passed"], content["not_judged"], content["warnings"]) == (True, 1, 0)
    assert content["expectations"][1]["verdict"] == "not judged"  # type: ignore[index]
    assert '<header class="unjudged">' in page
    assert '<section class="panel unjudged">' in page
    assert "not judged: no recent night" in page
    assert "All 2 expectations hold" not in page
    assert content["note"] == "gate: 1 of 2 checks not judged"


def test_a_warning_is_on_the_page_and_in_the_note_and_stops_nothing(tmp_path: Path) -> None:
    content, page = delivered(tmp_path / "report", HOLDS, WARNS)
    assert (content["passed"], content["warnings"]) == (True, 1)
    assert content["note"] == "gate: WARNING: amount: 0.91 of the rows are elsewhere"
    assert '<header class="warned">' in page
    assert '<section class="panel warned">' in page


def test_only_a_gate_all_of_whose_checks_hold_is_green_and_has_nothing_to_note(tmp_path: Path) -> None:
    content, page = delivered(tmp_path / "report", HOLDS)
    assert '<header class="good">' in page
    assert "note" not in content


def test_a_failure_outweighs_all_else(tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match="expect_z on 'amount'"):
        deliver(Report("gate", "2024-01-01", 7, [WARNS, UNJUDGED, FAILS]), tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert '<header class="bad">' in page
    assert not broken_rules(page)


def test_what_holds_is_folded_and_grouped_by_column(tmp_path: Path) -> None:
    other = Finding("expect_column_y", "word", {}, PASSED, 1)
    _, page = delivered(tmp_path / "report", HOLDS, Finding("expect_table_t", None, {}, PASSED, 7), other)
    folded = page[page.index("<details>") : page.index("</details>")]
    assert "3 expectations, grouped by column" in folded
    assert (
        folded.index("the whole table") < folded.index("table_t") < folded.index(">word<") < folded.index(">x<") < folded.index("column_y")
    )
    assert folded.count('scope="rowgroup"') == 2
    assert "0 violations in 7 rows" in folded
    assert not broken_rules(page)
