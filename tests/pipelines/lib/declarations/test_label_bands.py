"""The bands of labels that are numbers: wide enough for what the history shows, and below 0 only if a label is."""

import datetime as dt

from pipelines.lib.declarations.facts import Day, Facts
from pipelines.lib.declarations.label_bands import label_bands
from pipelines.lib.tables.labels import with_task
from tests.gate_data import ORDERS

FORECAST = with_task(ORDERS, "regression")


def facts(means: list[float], label_range: tuple[float, float] | None) -> Facts:
    """Return 100 outcomes a day whose mean is one of `means` in each week, Monday first."""
    first = dt.date(2024, 1, 1)
    days = {first + dt.timedelta(days=day): Day(100, 100, 50, 0, 100 * means[day // 7]) for day in range(7 * len(means))}
    return Facts(days, label_range=label_range)


def test_the_band_of_the_mean_holds_the_weeks_and_as_much_as_they_differ() -> None:
    found = label_bands(FORECAST, facts([500, 800, 650], (100, 1200)))
    assert (found["minimum_label_mean"], found["maximum_label_mean"]) == (
        100,
        1200,
    )  # half of the highest mean is more than their difference
    assert (found["minimum_label"], found["maximum_label"]) == (0, 13_000)


def test_no_end_is_below_0_unless_a_label_is() -> None:
    found = label_bands(FORECAST, facts([10, 40], (0, 90)))
    assert (found["minimum_label"], found["minimum_label_mean"]) == (0, 0)
    below = label_bands(FORECAST, facts([-10, 40], (-60, 90)))
    assert below["minimum_label"] < -60
    assert below["minimum_label_mean"] == -60


def test_without_an_outcome_there_is_no_band() -> None:
    assert label_bands(FORECAST, facts([1, 2], None)) == {}
