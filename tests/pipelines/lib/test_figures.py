"""Figures are whole SVG, the same for the same data, and need nothing from elsewhere."""

import xml.etree.ElementTree as ET
from collections.abc import Callable

import numpy as np
import pytest

from pipelines.lib import figures

POINTS = [{"mean_score": 0.1, "observed_rate": 0.2, "share": 0.5}, {"mean_score": 0.6, "observed_rate": 0.5, "share": 0.5}]
DRAWN: list[Callable[[], str]] = [
    lambda: figures.distribution({"a": np.linspace(0, 1, 50), "b": np.array([])}, label="score", threshold=0.5),
    lambda: figures.calibration({"holdout": POINTS}),
    lambda: figures.roc(
        [{"false_positive_rate": 0.0, "true_positive_rate": 0.0}, {"false_positive_rate": 1.0, "true_positive_rate": 1.0}], 0.5
    ),
    lambda: figures.bars({"one": 1.0, "two": 0.5}, label="importance"),
    lambda: figures.timeline({"2013-04-01": [("score", 0, 3), ("publish", 3, 1)]}),
    lambda: figures.timeline({}),
]


@pytest.mark.parametrize("draw", DRAWN)
def test_each_is_svg_and_the_same_again(draw: Callable[[], str]) -> None:
    first = draw()
    assert ET.fromstring(first).tag.endswith("svg")
    assert draw() == first
    assert "<image" not in first
