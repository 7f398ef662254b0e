"""Fillers of real nights, against the first quarter of 2013 as training: its odd nights pass, and a lost feed does not."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.data.validate_features import ValidateFeatures
from pipelines.lib.core.params import load_section
from pipelines.lib.features.compute import featurize, load_features, lookback_days
from pipelines.lib.gates import FAILED, WARNING
from pipelines.lib.models.fillers import Filler, judge_fillers
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import load_dataset

ODD_NIGHTS = ("2013-02-08", "2013-02-09", "2013-05-08", "2013-05-23", "2013-08-22", "2013-10-25", "2013-12-17", "2013-12-30")
"""Those of 2013 with the most fillers: two storms, and gaps in the weather."""

WEATHER = {"temperature", "dew_spread", "humidity", "pressure", "wind_speed"}


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Return the features of all flights of 2013."""
    directory = tmp_path_factory.mktemp("year")
    dataset, features = load_dataset(), load_features()
    first, end = dt.date(2013, 1, 1), dt.date(2014, 1, 1)
    lookback = lookback_days(dataset, features)
    extract(dataset, partition=end, start=first, end=end, lookback_days=lookback, target=directory / "raw")
    featurize(dataset, features, raw=directory / "raw", first=first, end=end, labelled=False, target=directory / "year.parquet")
    return pq.read_table(directory / "year.parquet")


@pytest.fixture(scope="module")
def training(year: pa.Table) -> dict[str, Filler]:
    """Return what a model that was trained on January to March tells."""
    features = load_features()
    rows = year.filter(pc.less(year["partition"], "2013-04-01"))
    values = {name: numeric.missing for name, numeric in features.numeric.items()} | dict.fromkeys(features.same_day, 0.0)
    return {
        name: Filler(value, pc.sum(pc.equal(rows[name], pa.scalar(value, pa.float32()))).as_py() / rows.num_rows)
        for name, value in values.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("night", [*ODD_NIGHTS, "2013-12-31"])
def test_the_odd_nights_of_2013_pass(night: str, year: pa.Table, training: dict[str, Filler], tmp_path: Path) -> None:
    params = load_section("validate_features", ValidateFeatures)
    pq.write_table(year.filter(pc.equal(year["partition"], night)), tmp_path / "night.parquet")
    allowed = {name: params.maximum_filler_excess_by_feature.get(name, params.maximum_filler_excess) for name in training}
    findings = judge_fillers(tmp_path / "night.parquet", training, allowed, quiet=night in params.quiet_dates)
    assert {finding.column for finding in findings if finding.verdict == FAILED} == set()
    assert {finding.column for finding in findings if finding.verdict == WARNING} == (WEATHER if night == "2013-12-31" else set())
    if night == "2013-12-31":  # any other night without its weather looks like this one
        lost = judge_fillers(tmp_path / "night.parquet", training, allowed, quiet=False)
        assert {finding.column for finding in lost if finding.verdict == FAILED} == WEATHER
