"""The profile: small, the same bytes for the same rows, and it knows what nights differ by without any drift."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.lib.core.errors import DataError, ModelError
from pipelines.lib.core.params import load_section
from pipelines.lib.features.compute import Categorical, Features, Lagged, Numeric, SameDay
from pipelines.lib.features.history import History
from pipelines.lib.measures.drift import compare
from pipelines.lib.measures.histogram import count
from pipelines.lib.models.profile import NOT_TESTED, SCORE, SEEN, Profile, ProfileParams, build_profile
from pipelines.lib.tables.dataset import Column, Dataset, Label, Source

ROOT = Path(__file__).parents[4]
FEATURES = Features(
    numeric={"temperature": Numeric(missing=55.0), "distance": Numeric(missing=-1.0), "flat": Numeric(missing=0.0), "void": Numeric(missing=9.0)},
    categorical={"origin": Categorical()},
    calendar=("weekday",),
    same_day={"flights_of_aircraft": SameDay(by=("tailnum",))},
    lagged={"late_before": Lagged(window_days=7, nothing_seen=0.0)},
)  # fmt: skip
DATASET = Dataset(
    name="flights",
    source=Source(kind="flights", table="flights"),
    key=("id",),
    event_time="scheduled",
    label=Label(name="late", expression="true", delay_days=1),
    columns={
        "id": Column(type="integer"),
        "scheduled": Column(type="timestamp"),
        "origin": Column(type="string", values=("EWR", "JFK", "LGA")),
    },
)
PARAMS = ProfileParams(bins=10, window_nights=7, floor=0.0001)
NIGHT = 200


def history(nights: int, *, start: date = date(2013, 1, 1), seed: int = 0) -> History:
    """Return nights that each have a temperature of their own, and flights that are all alike."""
    rng = np.random.default_rng([seed, start.toordinal()])
    dates = [start + timedelta(days=day) for day in range(nights)]
    rows = nights * NIGHT
    weather = np.repeat(rng.normal(40, 10, nights), NIGHT) + rng.normal(0, 1, rows)
    late_before = np.repeat([0.0 if day < date(2013, 1, 3) else 0.2 for day in dates], NIGHT) * rng.uniform(0.5, 1.5, rows)
    columns = {
        "temperature": weather,
        "distance": np.where(rng.random(rows) < 0.02, -1, rng.uniform(100, 2500, rows)),
        "flat": np.ones(rows),
        "void": np.full(rows, 9.0),
        "origin": rng.choice([0, 1, 2, -2], rows, p=[0.5, 0.3, 0.15, 0.05]),
        "weekday": np.repeat([day.isoweekday() for day in dates], NIGHT),
        "flights_of_aircraft": rng.integers(0, 4, rows),
        "late_before": late_before,
    }
    assert list(columns) == FEATURES.names
    matrix = np.stack(list(columns.values()), axis=1).astype(np.float32)
    labels = (rng.random(rows) < 0.2).astype(np.int8)
    return History(matrix, labels, pa.table({"partition": np.repeat([day.isoformat() for day in dates], NIGHT).tolist()}), tuple(columns))


def scores(of: History) -> np.ndarray:
    rng = np.random.default_rng(len(of.labels))
    return np.clip(0.2 + 0.1 * of.labels + rng.normal(0, 0.1, len(of.labels)), 0, 1).astype(np.float32)


def build(training: History, holdout: History, **changes: object) -> Profile:
    arguments: dict[str, object] = {
        "scores": scores(training),
        "scored_as": SEEN,
        "holdout_scores": scores(holdout),
        "importances": np.linspace(0.3, 0.1, len(training.names)),
        "dataset": DATASET,
        "features": FEATURES,
        "params": PARAMS,
    }
    return build_profile(training, holdout, **arguments | changes)  # type: ignore[arg-type]


TRAINING, HOLDOUT = history(60), history(14, start=date(2013, 3, 2))


@pytest.fixture(scope="module")
def profile() -> Profile:
    return build(TRAINING, HOLDOUT)


@pytest.mark.costly
def test_it_is_what_it_was_built_from(profile: Profile) -> None:
    assert (profile.trained_from, profile.trained_until) == ("2013-01-01", "2013-03-02")
    assert [column.binning.name for column in profile.columns] == [*FEATURES.names, SCORE]
    assert {name: sum(counts) for name, counts in profile.histogram.counts.items()} == dict.fromkeys([*FEATURES.names, SCORE], profile.rows)
    assert profile.column("temperature").importance == pytest.approx(0.3)
    assert profile.quality is not None
    assert profile.quality.figures["rows"] == 14 * NIGHT
    assert 0.6 < profile.quality.figures["auc"] < 0.9
    assert 0 < profile.quality.quality_std < 0.05
    assert len(profile.quality.calibration) == 10


def test_it_goes_through_json(profile: Profile) -> None:
    content = profile.to_json()
    assert Profile.from_json(content) == Profile.from_json(content.encode()) == profile
    assert len(content) < 60_000


def test_a_profile_of_a_model_that_is_registered_already_is_read_and_compared(profile: Profile) -> None:
    """As it was written before bins had `alone` and `decimals`: an edge above each of a few values, no rounding, no format, and AUC for the quality."""
    content = json.loads(profile.to_json())
    assert content.pop("format") == 4
    assert content.pop("scored_as") == SEEN
    for then, now in (("auc_std", "quality_std"), ("night_auc", "night_quality"), ("night_auc_std", "night_quality_std")):
        content["quality"][then] = content["quality"].pop(now)
    for column in [*content["features"], content["score"]]:
        for key in ("alone", "decimals"):
            column.pop(key, None)
    flat = content["features"][3 - 1]
    assert flat["name"] == "flat"
    flat |= {"edges": [0.99999994, 1.0], "counts": [0, profile.rows, 0, 0]}
    old = Profile.from_json(json.dumps(content))
    columns = {**dict(zip(HOLDOUT.names, HOLDOUT.features.T, strict=True)), SCORE: scores(HOLDOUT)}
    found = compare(old.binnings, old.histogram, count(columns, old.binnings), floor=old.floor)
    assert old.quality == profile.quality
    assert old.scored_as == NOT_TESTED
    assert found["flat"].psi == 0
    assert found["distance"].psi < 0.05


def test_a_profile_of_a_later_format_is_refused(profile: Profile) -> None:
    with pytest.raises(ModelError, match="has format 5, this Nightshift reads up to 4"):
        Profile.from_json(profile.to_json().replace('"format":4', '"format":5'))


def test_a_heavy_score_stays_in_its_bin_with_any_last_digits() -> None:
    """A rare event: the forest gives nineteen rows in twenty the same score."""
    rare = np.where(np.arange(len(TRAINING.labels)) % 20, 0.0123457, 0.2).astype(np.float32)
    profile = build(TRAINING, HOLDOUT, scores=rare)
    columns = {**dict(zip(TRAINING.names, TRAINING.features.T, strict=True)), SCORE: np.nextafter(rare, np.float32(1))}
    found = compare(profile.binnings, profile.histogram, count(columns, profile.binnings), floor=profile.floor)
    assert found[SCORE].psi < 0.001
    columns[SCORE] = np.where(rare > 0.1, rare, np.float32(0.0124))
    assert compare(profile.binnings, profile.histogram, count(columns, profile.binnings), floor=profile.floor)[SCORE].psi > 10


@pytest.mark.costly
def test_the_same_rows_give_the_same_bytes(profile: Profile) -> None:
    again = build(history(60), history(14, start=date(2013, 3, 2)))
    assert again.to_json() == profile.to_json()


@pytest.mark.costly
def test_the_order_of_rows_changes_nothing(profile: Profile) -> None:
    order = np.random.default_rng(0).permutation(len(TRAINING.labels))
    shuffled = History(TRAINING.features[order], TRAINING.labels[order], TRAINING.rows.take(pa.array(order)), TRAINING.names)
    assert build(shuffled, HOLDOUT, scores=scores(TRAINING)[order]).to_json() == profile.to_json()


def test_declared_fillers_have_a_bin_of_their_own(profile: Profile) -> None:
    fillers = {column.binning.name: column.binning.filler for column in profile.columns if column.binning.filler is not None}
    assert fillers == {"temperature": 55, "distance": -1, "flat": 0, "void": 9, "flights_of_aircraft": 0, "late_before": 0}
    assert profile.column("distance").counts[-1] / profile.rows == pytest.approx(0.02, abs=0.005)
    assert profile.column("void").counts[-1] == profile.rows
    assert profile.column("origin").binning.values == ("EWR", "JFK", "LGA")
    assert profile.column("origin").counts[-1] / profile.rows == pytest.approx(0.05, abs=0.01)


def test_noise_is_what_whole_nights_differ_by(profile: Profile) -> None:
    noise = {column.binning.name: column.noise for column in profile.columns}
    assert noise["temperature"].p95 > noise["temperature"].mean > 0.25  # of the textbook much drift, and there is none
    assert noise["distance"].p95 < 0.05
    assert noise["weekday"].p95 < 0.2  # each drawn week has its seven days
    assert noise["flat"].p95 == noise["void"].p95 == 0


def test_later_nights_of_the_same_world_stay_within_the_noise(profile: Profile) -> None:
    columns = {**dict(zip(HOLDOUT.names, HOLDOUT.features[: 7 * NIGHT].T, strict=True)), SCORE: scores(HOLDOUT)[: 7 * NIGHT]}
    found = compare(profile.binnings, profile.histogram, count(columns, profile.binnings), floor=profile.floor)
    assert {name for name, measures in found.items() if measures.psi > max(0.1, 1.5 * profile.column(name).noise.p95)} == set()


def test_nights_before_a_lagged_feature_has_values_are_not_a_reference(profile: Profile) -> None:
    assert profile.rows == 58 * NIGHT
    assert profile.column("late_before").counts[-1] == 0


def test_without_a_night_that_looks_back_all_nights_count() -> None:
    assert build(history(2), HOLDOUT).rows == 2 * NIGHT


def test_a_night_is_enough_and_no_holdout_is_reported() -> None:
    short = build(history(1, start=date(2013, 2, 1)), history(0))
    assert (short.trained_from, short.trained_until, short.quality) == ("2013-02-01", "2013-02-02", None)
    assert all(column.noise.p95 == 0 for column in short.columns)
    assert Profile.from_json(short.to_json()) == short


@pytest.mark.costly
def test_one_class_has_no_area() -> None:
    blank = History(TRAINING.features, np.zeros_like(TRAINING.labels), TRAINING.rows, TRAINING.names)
    quality = build(blank, HOLDOUT).quality
    assert quality is not None
    assert quality.quality_std is None


def test_a_column_that_it_does_not_have_is_named(profile: Profile) -> None:
    with pytest.raises(DataError, match="no column 'nothing'"):
        profile.column("nothing")


@pytest.mark.parametrize("change", ["torn", "no quality", "no counts", "a list", "edges"])
def test_a_text_that_is_not_a_profile_is_refused(profile: Profile, change: str) -> None:
    content = json.loads(profile.to_json())
    if change == "no quality":
        del content["quality"]
    if change == "no counts":
        del content["features"][0]["counts"]
    if change == "edges":
        content["features"][0]["edges"] = [2, 1]
    text = {"torn": profile.to_json()[:-10], "a list": "[1]"}.get(change, json.dumps(content))
    with pytest.raises(ModelError, match="train and export it again"):
        Profile.from_json(text)


def test_a_window_is_whole_weeks() -> None:
    assert load_section("profile", ProfileParams, ROOT / "params.yaml").window_nights % 7 == 0
