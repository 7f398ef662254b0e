"""The replay of the loop watches a champion that was promoted because it is fresher, as the stage does, and takes parameters that a file could hold."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.closed_loop import LINES
from benchmarks.closed_loop.replay import Champion, Loop, Watch
from benchmarks.flights_of_2013 import section
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.features.compute import Features
from pipelines.lib.features.history import History
from pipelines.lib.features.signature import Signature
from pipelines.lib.models.inference import Model
from pipelines.lib.tables.dataset import Dataset

NIGHTS, ROWS = 20, 200
FIRST = dt.date(2013, 4, 1)


@dataclass
class Shifted:
    """Scores that are the only feature, moved towards one half by the share `lost`."""

    lost: float

    def score(self, features: np.ndarray) -> np.ndarray:
        scores: np.ndarray = features[:, 0] * (1 - self.lost) + 0.5 * self.lost
        return scores


def champion(version: str, lost: float) -> Champion:
    return Champion(version, FIRST.isoformat(), cast("Model", Shifted(lost)))


def loop(changed: dict[str, dict[str, object]]) -> Loop:
    rng = np.random.default_rng(0)
    true = rng.uniform(0.05, 0.95, NIGHTS * ROWS)
    dates = [(FIRST + dt.timedelta(days=night)).isoformat() for night in range(NIGHTS) for _ in range(ROWS)]
    history = History(
        true[:, None].astype(np.float32), (rng.random(len(true)) < true).astype(np.int8), pa.table({"partition": dates}), ("risk",)
    )
    return Loop(history, Signature(("risk",), "0" * 64), section("dataset", Dataset), section("features", Features), Path(), changed)


def test_a_fresher_champion_that_clearly_loses_is_rolled_back_and_another_one_is_not() -> None:
    replay = loop({"decide": {"unclear": "fresher", "watch_nights": 8}})
    worse, equal = (Watch(champion("2", lost), champion("1", 0.0)) for lost in (0.8, 0.0))
    evenings = [(FIRST + dt.timedelta(days=night)).isoformat() for night in range(NIGHTS)]
    findings = {night: finding for night in evenings if (finding := replay.look(worse, night))}
    assert next(iter(findings.values())).startswith("a clear loss on ")
    assert next(iter(findings)) < evenings[10]
    assert [replay.look(equal, night) for night in evenings] == [None] * NIGHTS
    assert len(equal.nights) == 8  # it ends


def test_a_night_is_watched_when_its_outcomes_are_known() -> None:
    replay, watch = loop({"decide": {"unclear": "fresher"}}), Watch(champion("2", 0.0), champion("1", 0.0))
    delay = replay.dataset.label.delay_days
    replay.look(watch, (FIRST + dt.timedelta(days=5)).isoformat())
    assert [night.partition for night in watch.nights] == [(FIRST + dt.timedelta(days=night)).isoformat() for night in range(5 - delay)]
    np.testing.assert_allclose([night.champion for night in watch.nights], [night.former for night in watch.nights])


@pytest.mark.parametrize("prefix", LINES)
def test_what_a_line_changes_is_what_a_file_could_hold(prefix: str) -> None:
    changed = LINES[prefix][2]
    replay = loop({name: dict(values) for name, values in changed.items()})
    assert replay.policy.refresh_days == changed.get("govern", {}).get("refresh_days")
    assert replay.promoting.unclear == changed.get("decide", {}).get("unclear", "ask")
    assert replay.training.estimator == changed.get("train", {}).get("estimator", "sklearn.ensemble.RandomForestClassifier")


def test_a_wrong_change_is_refused_with_its_key() -> None:
    with pytest.raises(ConfigError, match=r"closed_loop: govern.*refresh_day"):
        loop({"govern": {"refresh_day": 30}})
