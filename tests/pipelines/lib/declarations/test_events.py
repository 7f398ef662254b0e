"""The events of a use case in DuckDB: columns that nobody declared are completed, values of another type are refused."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.declarations.events import load_events, scan_events
from pipelines.lib.declarations.facts import EVENTS
from pipelines.lib.tables.engine import UTC, connect
from tests import rides


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rides.write(tmp_path / "rides.parquet", rides.rides(days=10))
    monkeypatch.chdir(tmp_path)


def params(**dataset: Any) -> dict[str, Any]:
    return {"dataset": {**rides.DECLARED["dataset"], "name": "rides", **dataset}, "features": rides.DECLARED["features"]}


def loaded(params: dict[str, Any]) -> tuple[list[str], dict[str, str], int]:
    with connect(UTC) as (connection, scratch):
        scanned, dataset, new = scan_events(connection, params, scratch, "file: dataset")
        load_events(connection, scanned, dataset)
        [(rows,)] = connection.sql(f"SELECT count(*) FROM {EVENTS}").fetchall()
        return new, {column: declared.type for column, declared in dataset.columns.items()}, rows


def test_columns_that_features_use_are_completed_and_no_others() -> None:
    new, types, rows = loaded(params(columns={"distance": {"type": "float"}}))
    assert new == ["started_at", "ride", "minutes_late", "electric", "city"]
    assert types["distance"] == "float"
    assert set(types) == {*new, "distance"}
    assert rows == 880


def test_a_value_of_another_type_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"column 'city' of rides\.parquet holds 'K?"):
        loaded(params(columns={"city": {"type": "integer"}}))


def test_a_column_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="has no column 'colour'"):
        loaded(params(columns={"colour": {"type": "string"}}))


def test_a_declaration_that_cannot_be_read_names_its_file() -> None:
    with pytest.raises(ConfigError, match=r"file: dataset\.source"):
        loaded(params(source={"kind": "parquet", "pfad": "rides.parquet"}))
    with pytest.raises(ConfigError, match=r"dataset\.key is missing"):
        loaded(params(key=[]))
