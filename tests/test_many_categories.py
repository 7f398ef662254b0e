"""A column of 5,000 values that nobody lists: derived, featurized and trained on, with the categories that a count of the rows gives."""

import collections
import copy
import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.lib.core.params import load_section
from pipelines.lib.core.use_cases import find, write_into
from pipelines.lib.features.categories import most_frequent
from pipelines.lib.features.compute import Features, featurize, lookback_days
from pipelines.lib.features.history import read_history
from pipelines.lib.models.profile import Profile
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset
from pipelines.training import train
from pipelines.use_case.check import check
from pipelines.use_case.derive import derive
from tests import rides

pytestmark = pytest.mark.costly

VALUES, MOST = 5_000, 300

QUERY = f"""
    SELECT *, printf('Station %04d é', CASE WHEN place < {VALUES} THEN place ELSE CAST(floor({VALUES} * pow((hash(ride) % 10007) / 10007, 4)) AS INT) END) AS station
    FROM (SELECT *, row_number() OVER (ORDER BY ride) - 1 AS place FROM ({rides.rides(per_day=300)}))"""
"""The first rows have a value each; few values have most of the others."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A workspace of the use case, with its features of all nights before the first one, and a trained model."""
    root = tmp_path_factory.mktemp("stations")
    declared = copy.deepcopy(rides.DECLARED)
    declared["features"]["categorical"] = {"station": {"most": MOST}}
    declared["train"] = {"parameters": {"n_estimators": 5}}
    rides.repository(root, declared)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        rides.write(Path("rides.parquet"), QUERY)
        derive(find("rides", Path()), rides.TODAY)
        assert [str(fault) for fault in check(Path(), ["rides"])] == []
        write_into(root / "workspace", "rides", root)
        patch.chdir(root / "workspace")
        patch.setenv("NIGHTSHIFT_REPOSITORY", str(root))
        dataset, features = load_section("dataset", Dataset), load_section("features", Features)
        end = dt.date.fromisoformat(yaml.safe_load(Path("run.yaml").read_text(encoding="utf-8"))["partition"])
        extract(dataset, partition=end, start=rides.FIRST, end=end, lookback_days=lookback_days(dataset, features), target=Path("raw"))
        featurize(dataset, features, raw=Path("raw"), first=rides.FIRST, end=end, labelled=True, target=Path("features.parquet"))
        assert train.main(["--features", "features.parquet", "--model", "model.skops", "--profile", "profile.json"]) == 0
        yield root / "workspace"


def stations(workspace: Path) -> dict[str, str]:
    """Return the station of each ride as the source has it."""
    return dict(duckdb.execute("SELECT ride, station FROM read_parquet(?)", [str(workspace.parent / "rides.parquet")]).fetchall())


def most_first(values: Iterable[str]) -> list[str]:
    """Return the values, the most frequent first, then by their bytes: counted without Nightshift."""
    counts = collections.Counter(values)
    return sorted(counts, key=lambda value: (-counts[value], value.encode()))


def test_a_column_of_many_values_is_not_listed(workspace: Path) -> None:
    [(values,)] = duckdb.execute(
        "SELECT count(DISTINCT station) FROM read_parquet(?)", [str(workspace.parent / "rides.parquet")]
    ).fetchall()
    assert values == VALUES
    derived = yaml.safe_load((workspace.parent / "use_cases/rides/derived.yaml").read_text(encoding="utf-8"))
    assert derived["dataset"]["columns"]["station"] == {"type": "string"}


def test_features_hold_every_value_as_it_is_written(workspace: Path) -> None:
    table, source = pq.read_table(workspace / "features.parquet"), stations(workspace)
    assert table.num_rows > 2 * VALUES
    assert table["station"].to_pylist() == [source[ride] for ride in table["ride"].to_pylist()]


def test_a_model_keeps_the_most_frequent_values_of_its_training(workspace: Path) -> None:
    params, run = (yaml.safe_load((workspace / file).read_text(encoding="utf-8")) for file in ("params.yaml", "run.yaml"))
    unseen = params["dataset"]["label"]["delay_days"] + params["train"]["holdout_days"]
    until = str(dt.date.fromisoformat(run["partition"]) - dt.timedelta(days=unseen))
    table, source = pq.read_table(workspace / "features.parquet", columns=["ride", "partition"]), stations(workspace)
    learned = [source[row["ride"]] for row in table.to_pylist() if row["partition"] < until]
    profile = Profile.from_json((workspace / "profile.json").read_text(encoding="utf-8"))
    assert list(profile.column("station").binning.values or ()) == most_first(learned)[:MOST]


def test_each_of_all_values_has_a_code_of_its_own(workspace: Path) -> None:
    features, dataset = workspace / "features.parquet", load_section("dataset", Dataset, workspace / "params.yaml")
    words = pq.read_table(features)["station"].to_pylist()
    every = most_first(words)
    assert list(most_frequent(features)["station"]) == every[:MOST]
    assert len(every) == VALUES
    history = read_history(features, dataset, categories={"station": tuple(every)})
    places = {word: place for place, word in enumerate(every)}
    np.testing.assert_array_equal(history.features[:, history.names.index("station")], [places[word] for word in words])
