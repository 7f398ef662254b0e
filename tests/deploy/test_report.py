"""The page of a few nights tells what its gates have said, from the reports that they really write."""

import json
from pathlib import Path

import pytest

from deploy.embedded.nights import Night, gate_verdict
from deploy.embedded.report import write_report
from pipelines.lib.gates import FAILED, PASSED, WARNING, Finding, Report, not_judged
from pipelines.lib.gates.report import Verdict
from tests.page_rules import broken_rules

ROOT = Path(__file__).resolve().parents[2]
INDEX = {"name": "encoder", "generation": "2013-04-01-0123456789ab", "count": 7, "encoder_version": "1"}


def report(*verdicts: Verdict) -> dict[str, object]:
    findings = [Finding("expect_something", f"column{number}", {}, verdict, 1.5) for number, verdict in enumerate(verdicts)]
    return json.loads(json.dumps(Report("validate_batch", "2013-04-01", 10, [*findings, not_judged("x", None, "1 of 5 nights")]).as_json()))


def night(content: dict[str, object], decision: str = "no: nothing has moved") -> Night:
    return Night(
        partition="2013-04-01",
        run_id="run",
        state="success",
        rows=0,
        model_name="Model",
        model_version="1",
        model_sha256="a" * 64,
        degraded=False,
        expected_rate=0.25,
        duration_s=20.0,
        spans=(("score", 0.0, 1.0),),
        gates={"validate_batch": gate_verdict(content)},
        reports={"validate_batch": content},
        decision=decision,
    )


def test_the_page_says_what_holds_what_does_not_and_what_was_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NIGHTSHIFT_PUBLISHED_URL", str(tmp_path / "published"))
    page = write_report([night(report(PASSED, FAILED, WARNING))], tmp_path / "report.html", INDEX).read_text(encoding="utf-8")
    assert "1 of 4 expectations hold" in page
    assert not broken_rules(page)
    for kind, verdict in (("bad", "failed"), ("warned", "warning"), ("unjudged", "not judged")):
        assert f'<span class="{kind}">{verdict}</span>' in page


@pytest.mark.parametrize(
    ("decision", "cell"),
    [
        ("no: nothing has moved", "<td>no: nothing has moved</td>"),
        (
            "not judged: not enough data: drift has 1 of 5 nights",
            '<td class="unjudged">not judged: not enough data: drift has 1 of 5 nights</td>',
        ),
        ("", '<td class="unjudged">not watched</td>'),
    ],
)
def test_a_night_that_nobody_judged_is_grey(decision: str, cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NIGHTSHIFT_PUBLISHED_URL", str(tmp_path / "published"))
    page = write_report([night(report(PASSED), decision)], tmp_path / "report.html", INDEX).read_text(encoding="utf-8")
    assert cell in page


@pytest.mark.parametrize(
    ("decisions", "kind", "headline"), [(("no", "no"), "good", " published: "), (("no", ""), "unjudged", " published, 1 not watched: ")]
)
def test_a_night_that_was_not_watched_is_in_the_headline(
    decisions: tuple[str, ...], kind: str, headline: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NIGHTSHIFT_PUBLISHED_URL", str(tmp_path / "published"))
    nights = [night(report(PASSED), decision) for decision in decisions]
    page = write_report(nights, tmp_path / "report.html", INDEX).read_text(encoding="utf-8")
    assert f'<header class="{kind}">' in page
    assert headline in page


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ((PASSED, FAILED, FAILED, WARNING), "failed, 2 checks"),
        ((PASSED, WARNING), "warning, 1 check"),
        ((PASSED,), "not judged, 1 check"),
    ],
)
def test_the_worst_of_a_gate_is_what_it_is_called(verdicts: tuple[Verdict, ...], expected: str) -> None:
    assert gate_verdict(report(*verdicts)) == expected


def test_a_gate_that_judged_everything_has_passed() -> None:
    assert (
        gate_verdict(Report("validate_batch", "2013-04-01", 10, [Finding("expect_something", None, {}, PASSED, 1)]).as_json()) == "passed"
    )
