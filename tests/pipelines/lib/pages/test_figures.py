"""Figures are whole SVG, the same for the same data, and need nothing from elsewhere."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import numpy as np
import pytest

from pipelines.lib.pages import alternatives, figures
from pipelines.lib.pages.svg import standalone

POINTS = [{"mean_score": 0.1, "observed_rate": 0.2, "share": 0.5}, {"mean_score": 0.6, "observed_rate": 0.5, "share": 0.5}]
NIGHTS = [
    {
        "partition": f"2013-04-{day:02d}",
        "rows": 900,
        "quality": 0.7,
        "quality_low": 0.65,
        "quality_high": 0.75,
        "mean_score": 0.2,
        "mean_label": 0.25,
    }
    for day in range(1, 12)
]
UNDEFINED = {"partition": "2013-04-12", "rows": 0} | dict.fromkeys(("quality", "quality_low", "quality_high", "mean_score", "mean_label"))
PANELS = {
    "a number": {"reference": [0.5, 0.5, 0.0], "current": [0.1, 0.8, 0.1], "edges": [1013.25], "note": "PSI .41"},
    "a category": {"reference": [0.5, 0.5, 0, 0], "current": [1, 0, 0, 0], "labels": ["x", "y", "unseen", "missing"], "note": "PSI 9"},
    "another": {"reference": [1, 0], "current": [0, 1], "labels": ["unseen", "missing"], "note": ""},
}
CURVE = [{"false_positive_rate": 0.0, "true_positive_rate": 0.0}, {"false_positive_rate": 1.0, "true_positive_rate": 1.0}]
DRAWN: list[Callable[[], str]] = [
    lambda: figures.distribution({"a": np.linspace(0, 1, 50), "b": np.array([])}, label="score", threshold=0.5),
    lambda: figures.distribution({"a": np.arange(80), "b": np.zeros(80)}, label="score", counted=True),
    lambda: figures.calibration({"holdout": POINTS}),
    lambda: figures.roc({"one": (CURVE, 0.5), "another": (CURVE, 0.5)}),
    lambda: figures.bars({"one": 1.0, "two": 0.5}, label="importance"),
    lambda: figures.timeline({"2013-04-01": [("score", 0, 3), ("publish", 3, 1)]}),
    lambda: figures.timeline({}),
    lambda: figures.heat_map({"a": [0.2, 0.7, 1.2, 2.0, 9.0], "b": [None] * 5}, list("12345"), label="PSI", changes={"2": "v2", "9": "v9"}),
    lambda: figures.heat_map({}, [], label="PSI"),
    lambda: figures.histograms(PANELS),
    lambda: figures.histograms({}),
    lambda: figures.performance([*NIGHTS, UNDEFINED], [("2013-04-05", "version 2", True)], [("limit", 0.6, "2013-04-05", "2013-04-11")]),
    lambda: figures.performance([UNDEFINED], []),
    lambda: figures.recall_curve({"hnsw": [(0.9, 2e5), (0.99, 1e5)]}, exact=2e3, chosen={"hnsw": (0.99, 1e5)}, limits={"hnsw": 0.98}),
    lambda: figures.recall_curve({"ivfpq": []}, exact=2e3),
    lambda: figures.projection({"late": np.zeros((3, 2)), "others": np.zeros((0, 2))}, label="PCA"),
]


def test_forecasts_are_drawn_over_their_own_range() -> None:
    """A histogram of sales was drawn from 0 to 1, and so was the curve of their means."""
    values = np.linspace(100, 500, 81)
    assert "half of the rows are below 310, nine in ten below 470" in figures.distribution(
        {"a": values}, label="forecast", span=(100.0, 500.0)
    )
    points = [{"mean_score": 100.0, "observed_rate": 120.0, "share": 0.5}, {"mean_score": 600.0, "observed_rate": 500.0, "share": 0.5}]
    drawn = figures.calibration({"holdout": points}, alternatives.OF_NUMBERS)
    ticks = [float(tick) for tick in re.findall(r"<!-- ([0-9.]+) -->", drawn) or re.findall(r">([0-9]+)</text>", drawn)]
    assert max(ticks) >= 500, ticks


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWN)
def test_each_is_svg_and_the_same_again(draw: Callable[[], str]) -> None:
    first = draw()
    assert ET.fromstring(first).tag.endswith("svg")
    assert draw() == first
    assert "<image" not in first


@pytest.mark.parametrize("draw", DRAWN)
def test_each_takes_its_colours_from_the_page_and_has_a_text_in_its_place(draw: Callable[[], str]) -> None:
    root = ET.fromstring(draw())
    assert root.get("role") == "img"
    assert root.get("aria-label")
    for element in root.iter():
        shown = [element.get("style") or "", element.get("fill") or "", element.get("stroke") or ""]
        assert "#" not in re.sub(r"url\(#[^)]*\)", "", "".join(shown)), shown
        assert "opacity" not in shown[0] or not element.tag.endswith("text")
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def test_two_charts_of_a_page_share_no_id() -> None:
    ids = [set(re.findall(r' id="([^"]*)"', figures.bars({"a": value}, label="importance"))) for value in (0.1, 0.2)]
    assert all(ids)
    assert not ids[0] & ids[1]


def test_a_file_of_its_own_brings_the_colours_of_both_schemes() -> None:
    drawn = figures.bars({"a": 0.1}, label="importance")
    alone = standalone(drawn)
    ET.fromstring(alone)
    assert "prefers-color-scheme: dark" in alone
    for name in set(re.findall(r"var\((--[a-z-]+)\)", drawn)):
        assert alone.count(f"{name}:") == 2, name


def test_a_value_above_its_limit_is_seen() -> None:
    below, above = (figures.heat_map({"a": [value]}, ["2013-04-01"], label="PSI") for value in (0.99, 1.01))
    assert below.count("var(--second)") == above.count("var(--second)") - 1


@pytest.mark.costly
def test_the_mean_of_nights_is_weighted_by_rows_and_goes_back_seven() -> None:
    steady = figures.performance(NIGHTS, [])
    small = figures.performance([*NIGHTS[:-1], NIGHTS[-1] | {"rows": 1}], [])
    assert steady == small  # equal nights: weights change nothing
    assert "Mean AUC of the last 7 nights: 0.700" in steady
    assert steady != figures.performance([*NIGHTS[:-1], NIGHTS[-1] | {"quality": 0.6, "quality_low": 0.55, "quality_high": 0.65}], [])


@pytest.mark.costly
def test_the_closed_loop_shows_which_line_is_ahead_and_what_was_promoted() -> None:
    dates = ["2013-04-01", "2013-04-02", "2013-04-03"]
    marks = [("2013-04-02", True), ("2013-04-03", False)]
    panel = {
        "reference": ("alone", dates, [0.6, 0.7, 0.6]),
        "other": ("loop", dates, [0.6, 0.6, 0.7]),
        "marks": marks,
        "summary": "mean 0.63",
    }
    drawn = figures.closed_loop({"One": panel, "Two": panel | {"marks": []}}, label="AUC")
    assert drawn == figures.closed_loop({"One": panel, "Two": panel | {"marks": []}}, label="AUC")
    assert ET.fromstring(drawn).tag.endswith("svg")
    for part in ("One", "Two", "alone", "loop", "mean 0.63", "var(--good)", "var(--bad)", "promoted: 2013-04-02"):
        assert part in drawn


HOSTILE = "US$ 5 to $ 10 <b> & _x^2"


@pytest.mark.costly
@pytest.mark.parametrize(
    "draw",
    [
        lambda name: figures.histograms({name: PANELS["a category"] | {"labels": [name, "y", "unseen", "missing"], "note": name}}),
        lambda name: figures.heat_map({name: [0.5]}, ["2013-04-01"], label=name, changes={"2013-04-01": name}),
        lambda name: figures.distribution({name: np.linspace(0, 1, 50)}, label=name),
        lambda name: figures.calibration({name: POINTS}),
        lambda name: figures.roc({name: (CURVE, 0.5)}),
        lambda name: figures.bars({name: 1.0}, label=name),
        lambda name: figures.timeline({name: [(name, 0, 3)]}),
        lambda name: figures.performance(NIGHTS, [("2013-04-05", name, True)], [(name, 0.6, "2013-04-05", "2013-04-11")]),
        lambda name: figures.recall_curve({name: [(0.9, 2e5), (0.99, 1e5)]}, exact=2e3),
        lambda name: figures.projection({name: np.zeros((3, 2))}, label=name),
    ],
)
def test_text_of_the_data_is_shown_as_it_is(draw: Callable[[str], str]) -> None:
    words = ["".join(element.itertext()) for element in ET.fromstring(draw(HOSTILE)).iter("{http://www.w3.org/2000/svg}text")]
    assert any(HOSTILE in word for word in words)


@pytest.mark.costly
def test_no_axis_shows_the_marks_of_mathematics() -> None:
    for draw in DRAWN:
        assert "mathdefault" not in draw()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.distribution({}, label="score"),
        lambda: figures.calibration({}),
        lambda: figures.roc({}),
        lambda: figures.projection({}, label="a plane"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_chart_of_nothing_has_no_legend_and_no_warning(draw: Callable[[], str]) -> None:
    assert 'id="legend' not in draw()
