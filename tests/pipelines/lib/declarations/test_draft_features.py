"""Features that `init` writes: `check` finds no fault in them, for columns of any name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.lib.core.use_cases import find
from pipelines.lib.declarations.draft import Wishes
from pipelines.use_case.check import check
from pipelines.use_case.derive import derive
from pipelines.use_case.init import init
from tests import rides


def features(root: Path, monkeypatch: pytest.MonkeyPatch, columns: str) -> dict[str, Any]:
    """Return the features that `init` writes for the rides with more `columns`, in which `check` finds no fault."""
    monkeypatch.chdir(root)
    rides.repository(root, name="others")
    rides.write(Path("rides.parquet"), f"SELECT *, {columns} FROM ({rides.rides(per_day=30)})")
    init(Path(), "rides", "rides.parquet", Wishes(label="minutes_late >= 10", label_name="late", delay_days=2))
    derive(find("rides", Path()), rides.TODAY)
    assert [str(fault) for fault in check(Path(), ["rides"])] == []
    return dict(yaml.safe_load(Path("use_cases/rides/params.yaml").read_text(encoding="utf-8"))["features"])


@pytest.mark.costly
def test_columns_named_as_words_of_sql_or_as_the_calendar_become_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = features(tmp_path, monkeypatch, 'distance + 1 AS hour, city AS "order", city AS partition, electric AS "end"')
    assert found["numeric"]["own_hour"] == {"expression": "hour", "missing": -1}
    assert found["categorical"]["own_partition"] == {"expression": "partition"}
    assert found["lagged"]["rate_by_order"]["by"] == ['"order"']
    assert "end" in found["numeric"]


@pytest.mark.costly
def test_columns_of_any_name_become_features_of_plain_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = 'distance + 1 AS "Total (EUR)", distance + 2 AS total_eur, distance + 3 AS "9.lives", distance + 4 AS größe, city AS "分"'
    found = features(tmp_path, monkeypatch, columns)
    expressions = {name: of.get("expression", name) for name, of in found["numeric"].items()}
    assert expressions == {
        "distance": "distance", "electric": "electric", "Total_EUR": '"Total (EUR)"', "own_total_eur": "total_eur", "own_9_lives": '"9.lives"', "groe": "größe",
    }  # fmt: skip
    assert found["categorical"]["own"] == {"expression": "分"}


@pytest.mark.costly
def test_a_column_of_one_value_becomes_no_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = features(tmp_path, monkeypatch, "'EUR' AS currency, city AS place")
    assert "currency" not in found["categorical"]
    assert "place" in found["categorical"]
    assert not [name for name in found["lagged"] if "currency" in name]
