"""The report judges by the governor's limits, tells what is recorded, and quotes nothing as code."""

import re
from dataclasses import replace

import numpy as np
import pytest

from pipelines.lib.loop import drift_report
from pipelines.lib.loop.drift_report import drawn
from pipelines.lib.measures.binning import numeric_binning
from pipelines.lib.measures.histogram import count
from pipelines.lib.models.profile import Reference
from pipelines.lib.pages import figures
from pipelines.lib.records.journal import NightRecord
from tests import watched_model
from tests.watched_model import POLICY, profile, seen


def test_a_calm_window_has_not_drifted() -> None:
    report = drift_report.build_report(seen(), profile(), POLICY)
    assert (report["note"], report["drifted"]) == ("no drift", [])
    assert report["window"] == {"nights": 7, "rows": 7 * watched_model.ROWS, "floor": 0.0001}
    assert report["reference"] == {"from": "2013-01-01", "last": "2013-03-14", "rows": 2_000}
    assert all(column["limit"] == POLICY.psi_limit for column in report["columns"])


@pytest.mark.costly
def test_what_exceeds_its_limit_comes_first_and_is_named() -> None:
    report = drift_report.build_report(seen(watched_model.nights(moved_from=10)), profile(), POLICY)
    assert set(report["drifted"]) == {"a", "score"}
    assert [column["name"] for column in report["columns"][:2]] == report["drifted"]
    assert re.fullmatch(r"drift in (a|score) \(PSI \d\.\d\d\), (a|score) \(PSI \d\.\d\d\)", report["note"])
    relative = [night["relative"]["a"] for night in report["nights"] if night["relative"]]
    assert relative[0] < 1 < relative[-1]


def test_the_limit_grows_with_the_noise() -> None:
    record = watched_model.nights(moved_from=10)[-1]
    columns = record.drift["columns"]
    noisy = columns | {"a": columns["a"] | {"noise": columns["a"]["psi"]}}
    report = drift_report.build_report(seen([replace(record, drift=record.drift | {"columns": noisy})]), profile(), POLICY)
    assert "a" not in report["drifted"]
    [a] = [column for column in report["columns"] if column["name"] == "a"]
    assert a["relative"] == pytest.approx(1 / POLICY.noise_factor, abs=1e-3)


def test_of_too_few_nights_nothing_is_said() -> None:
    report = drift_report.build_report(seen(watched_model.nights(number=3, moved_from=0)), profile(), POLICY)
    assert report["drifted"] == []
    assert report["lacking"] == "3 of 5 nights and 900 of 1000 rows"
    assert report["note"] == "drift not judged: not enough data: 3 of 5 nights and 900 of 1000 rows"
    assert [night["relative"] for night in report["nights"]] == [{}] * 3


@pytest.mark.costly
@pytest.mark.parametrize(
    ("judged", "decided"),
    [({"drift": False, "quality": False}, "not judged: Watched version 2"), ({"drift": False, "quality": True}, "keep Watched version 2")],
)
def test_what_was_not_judged_is_grey_and_never_green(judged: dict[str, bool], decided: str) -> None:
    """The page said *Drifted: none* in green, above a feature far beyond its limit."""
    recorded = seen(watched_model.nights(number=4, moved_from=0))
    recorded = replace(recorded, decision={"retrain": False, "reason": "not judged: not enough data", "findings": {"judged": judged}})
    report = drift_report.build_report(recorded, profile(), POLICY)
    page = drift_report.page(report, recorded, profile(), "late")
    header = page[page.index("<header") : page.index("</header>")]
    assert report["columns"][0]["relative"] > 10
    assert header.startswith('<header class="unjudged">')
    assert f"2013-04-30: {decided}" in header
    assert '<p class="unjudged">Drift is not judged: not enough data: 4 of 5 nights.</p>' in header
    assert all("drifted" not in point.figures for point in drift_report.points(report)), "0 in MLflow would read as none"
    assert "Drifted:" not in page
    assert 'class="good"' not in page
    assert "not judged" in page[page.index("Training and now") : page.index("Quality by night")], "next to each histogram"


@pytest.mark.costly
def test_calm_nights_that_were_judged_are_green() -> None:
    recorded = seen(watched_model.nights())
    recorded = replace(recorded, decision={"retrain": False, "reason": "no", "findings": {"judged": {"drift": True, "quality": True}}})
    page = drift_report.page(drift_report.build_report(recorded, profile(), POLICY), recorded, profile(), "late")
    assert '<header class="good">' in page
    assert "Drifted: none of" in page


@pytest.mark.costly
@pytest.mark.parametrize(("signals", "colour"), [(["refresh"], "plain"), (["drift", "refresh"], "bad"), (["quality"], "bad")])
def test_a_retraining_by_schedule_alone_is_not_red(signals: list[str], colour: str) -> None:
    """Nothing is wrong with the model, and the page says why it is retrained."""
    recorded = seen(watched_model.nights(), retrain=True, reason="yes: refresh is due: version 2 learned until 2013-03-14, 47 days ago")
    findings = {"judged": {"drift": True, "quality": True}, "signals": signals}
    row = replace(recorded.decisions[0], findings=findings)
    recorded = replace(recorded, decision={**recorded.decision, "findings": findings}, decisions=[row])
    page = drift_report.page(drift_report.build_report(recorded, profile(), POLICY), recorded, profile(), "late")
    assert f'<header class="{colour}">' in page
    assert "2013-04-30: retrain Watched version 2" in page
    assert "Yes: refresh is due: version 2 learned until 2013-03-14, 47 days ago." in page
    assert ('<td class="text bad">yes: refresh' in page) is (colour == "bad")


def test_slices_are_means_over_the_nights_of_this_version_by_rows() -> None:
    performances = [watched_model.performance(f"2013-04-{day:02d}", rows=rows) for day, rows in ((20, 200), (21, 400))]
    other = watched_model.performance("2013-04-22", version="1")
    [first, second] = drift_report.slices([*performances, other, watched_model.performance("2013-04-23", rows=0)], "2")
    assert (first["value"], first["nights"], first["rows"], second["value"]) == ("<x>", 2, 300, "y")
    parts = [record.slices[0] for record in performances]
    assert first["mean_score"] == pytest.approx((100 * parts[0]["mean_score"] + 200 * parts[1]["mean_score"]) / 300, abs=1e-6)


@pytest.mark.costly
def test_the_page_shows_the_decision_first_and_is_the_same_again() -> None:
    recorded = seen(watched_model.nights(moved_from=10), retrain=True, reason="yes: PSI of a is 2.10, limit 0.10")
    report = drift_report.build_report(recorded, profile(), POLICY)
    page = drift_report.page(report, recorded, profile(), "late")
    assert page == drift_report.page(report, recorded, profile(), "late")
    header = page[page.index("<header") : page.index("</header>")]
    assert 'class="bad"' in header
    assert "2013-04-30: retrain Watched version 2" in header
    assert "Yes: PSI of a is 2.10, limit 0.10." in header
    assert page.count("<svg") == 3
    assert {"version 2", "holdout", "limit"} <= set(re.findall(r">([^<>]+)</text>", page))


@pytest.mark.costly
@pytest.mark.parametrize("measured", [1, 2, 3, 20])
def test_a_date_stands_once_below_the_performance(measured: int) -> None:
    recorded = seen(watched_model.nights(number=measured + 2))
    report = drift_report.build_report(recorded, profile(), POLICY)
    dates = re.findall(r">(\d{4}-\d\d-\d\d)</text>", figures.performance([drawn(night) for night in report["performance"]], []))
    assert 0 < len(dates) == len(set(dates)) < 10
    assert dates == sorted(dates)
    assert dates[0][:4] == dates[-1][:4] == "2013"


@pytest.mark.costly
def test_the_page_runs_nothing_and_fetches_nothing() -> None:
    recorded = seen(reason="no: <script>alert(1)</script>")
    page = drift_report.page(drift_report.build_report(recorded, profile(), POLICY), recorded, profile(), "<b>late</b>")
    assert "<script" not in page
    assert "<image" not in page
    assert "<b>" not in page
    assert "&lt;x&gt;" in page
    assert not re.search(r'(href|src)="(?!#)', page)


@pytest.mark.costly
def test_a_first_night_without_outcomes_or_a_decision_has_a_page() -> None:
    bare = replace(seen(watched_model.nights(number=1)), performance=[], entries=[], decisions=[], decision={})
    page = drift_report.page(drift_report.build_report(bare, profile(), POLICY), bare, profile(), "late")
    assert "No outcomes are known yet" in page
    assert "nothing decided about Watched version 2" in page


@pytest.mark.costly
def test_series_are_the_drift_of_the_night_and_the_quality_of_nights_that_are_known_now() -> None:
    recorded = replace(
        seen(), performance=[watched_model.performance("2013-04-27", revision=2), watched_model.performance("2013-04-28", rows=0)]
    )
    report = drift_report.build_report(recorded, profile(), POLICY)
    tonight, corrected, empty = drift_report.points(report)
    assert (tonight.partition, tonight.figures["retrain"], tonight.figures["drifted"]) == ("2013-04-30", False, 0)
    assert "psi/a" in tonight.figures
    assert "psi/score" in tonight.figures
    assert (corrected.partition, corrected.revision) == ("2013-04-27", 2)
    assert corrected.figures["realised/auc"] == recorded.performance[0].figures["auc"]
    assert empty.figures == {"realised/rows": 0}


@pytest.mark.costly
def test_series_leave_out_what_another_version_scored() -> None:
    recorded = replace(seen(), performance=[watched_model.performance("2013-04-27", version="1")])
    assert len(list(drift_report.points(drift_report.build_report(recorded, profile(), POLICY)))) == 1


def test_of_two_versions_that_scored_a_night_the_last_one_is_shown() -> None:
    ours, other = watched_model.nights(number=2, version="10"), watched_model.nights(number=2, version="9")
    both = [other[0], ours[0], ours[1], other[1]]
    first, last = (night.partition for night in ours)
    assert drift_report.one_each(both, {first: "9", last: "10"}) == [other[0], ours[1]]
    assert drift_report.one_each(both, {first: "10", last: "9"}) == [ours[0], other[1]]
    assert [night.partition for night in drift_report.one_each(both, {first: "8"})] == [first, last]


@pytest.mark.costly
def test_a_window_too_short_to_be_judged_draws_no_empty_frame() -> None:
    bare = seen(watched_model.nights(number=3))
    page = drift_report.page(drift_report.build_report(bare, profile(), POLICY), bare, profile(), "late")
    assert page.count("<svg") == 2
    assert "Not judged: no window of these nights holds enough; this one has 3 of 5 nights and 900 of 1000 rows." in page


@pytest.mark.costly
def test_bins_outside_the_reference_are_drawn_once_something_is_in_them() -> None:
    values = np.arange(20_000, dtype=np.float32)
    spread = numeric_binning("spread", values, bins=4)
    reference = Reference(spread, count({"spread": values}, [spread]).counts["spread"], 0.0, watched_model.NOISE)
    for current, bins, first in ((values, 6, 19.999), (np.append(values, 1e6), 7, 19.999), (np.append(values, -1), 7, -1e-45)):
        counted = count({"spread": current.astype(np.float32)}, [spread]).to_json()
        record = NightRecord("m", "1", "2013-04-30", "ref", len(current), counted)
        panel = drift_report.histograms(replace(seen(), window=[record]), replace(profile(), features=(reference,)), ["spread"])["spread"]
        assert (len(panel["current"]), len(panel["edges"])) == (bins + 1, bins - 1), "the last is of missing values"
        assert panel["edges"][0] == pytest.approx(first, abs=1e-3)
        assert sum(panel["current"]) == pytest.approx(1)


@pytest.mark.costly
def test_bins_next_to_a_heavy_value_are_drawn_once_something_is_in_them() -> None:
    flat = numeric_binning("flat", np.ones(100, np.float32), bins=10)
    reference = Reference(flat, (0, 100, 0, 0), 0.0, watched_model.NOISE)
    for counts, labels in (((0, 50, 0, 0), ["1"]), ((0, 50, 10, 0), ["1", "above 1"])):
        record = NightRecord("m", "1", "2013-04-30", "ref", sum(counts), {"rows": sum(counts), "counts": {"flat": list(counts)}})
        panel = drift_report.histograms(replace(seen(), window=[record]), replace(profile(), features=(reference,)), ["flat"])["flat"]
        assert panel["labels"] == labels
        assert sum(panel["current"]) == pytest.approx(1)
