"""The words in place of a chart have its figures."""

import numpy as np
import pytest

from pipelines.lib.pages import alternatives


def test_a_histogram_is_read_out_by_its_median_and_its_end() -> None:
    edges = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    text = alternatives.distribution("score", {"night": np.array([0.6, 0.2, 0.15, 0.05]), "empty": np.zeros(4)}, edges, 0.5)
    assert text == (
        "Histogram of score, as a share of rows. Night: half of the rows are below 0.25, nine in ten below 0.75. "
        "Empty: no rows. Decision from 0.5."
    )


def test_a_roc_curve_is_read_out_between_its_points() -> None:
    points = [{"false_positive_rate": rate, "true_positive_rate": rate} for rate in (0.0, 1.0)]
    read = "0.05 at 0.05, 0.10 at 0.1, 0.20 at 0.2, 0.50 at 0.5"
    assert alternatives.roc({"challenger": (points, 0.5)}).endswith(f"Challenger: AUC 0.500; {read}.")


def test_calibration_and_bars_read_out_every_value() -> None:
    text = alternatives.calibration({"champion": [{"mean_score": 0.1, "observed_rate": 0.125}], "challenger": []})
    assert text == "Mean score and observed rate. Champion: 0.100 and 0.125. Challenger: no points."
    number = alternatives.calibration({"holdout": [{"mean_score": 12.25, "observed_rate": 1310.0}]}, alternatives.OF_NUMBERS)
    assert number == "Mean forecast and mean outcome. Holdout: 12.25 and 1310."
    assert alternatives.bars({"a": 0.7, "b": 0.3}, "importance") == "Bars, importance. A 0.700, b 0.300."


def test_tasks_are_read_out_from_the_first_start_to_the_last_end() -> None:
    text = alternatives.timeline({"run": [("open_run", 0.0, 2.0), ("score", 3.0, 7.0)], "idle": []})
    assert text == "Tasks over time. Run: 2 tasks in 10 seconds, the longest is score with 7 seconds."
    assert alternatives.timeline({}) == "No task has run."


def test_what_was_not_judged_is_not_said_to_be_below_its_limit() -> None:
    days = ["2013-04-01", "2013-04-02"]
    text = alternatives.heat_map({"a": [2.0, None]}, days, "drift", {})
    assert "1 of 1 cells are above the limit" in text
    assert "Above it on 2013-04-02: not judged" in text
    assert alternatives.heat_map({"a": [None, None]}, days, "drift", {}) == "Heat map of drift. No value was judged."


@pytest.mark.parametrize(("bin_", "name"), [(0, "up to 1"), (1, "1 to 2"), (2, "above 2"), (3, "missing")])
def test_a_bin_is_named_by_its_edges(bin_: int, name: str) -> None:
    assert alternatives.bin_label({"edges": [1.0, 2.0]}, bin_) == name


def test_a_night_without_an_auc_has_none() -> None:
    night = {"partition": "2013-04-01", "quality": None, "mean_score": None, "mean_label": None}
    text = alternatives.performance([night], None, [("2013-04-01", "version 2", True)])
    assert text == "Quality by night from 2013-04-01 to 2013-04-01. No night has an AUC. Version 2 from 2013-04-01."


def test_the_centres_of_two_groups_are_compared_in_units_of_the_spread() -> None:
    groups = {"late": np.array([[2.0, 0.0], [2.0, 0.0]]), "on time": np.array([[0.0, 0.0], [0.0, 0.0]])}
    assert "are 2.00 standard deviations apart" in alternatives.projection(groups, "vectors")
