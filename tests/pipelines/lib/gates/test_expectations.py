"""The generated expectations: the band on every real night of 2013, and what a declared column turns into."""

import datetime as dt
from pathlib import Path

import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.gates import expectations
from pipelines.lib.tables.dataset import Column

NIGHT = dt.date(2024, 5, 29)


def test_a_column_becomes_what_it_declares() -> None:
    column = Column(type="string", nulls=0.1, values=("a", "b"), unseen=0.05)
    wanted = [(one.type, one.kwargs.get("mostly")) for one in expectations.of_columns({"x": column})]
    assert wanted == [("expect_column_values_to_not_be_null", 0.9), ("expect_column_values_to_be_in_set", 0.95)]
    assert expectations.of_columns({"x": Column(type="string", nulls=1)}) == []
    [finite] = expectations.of_columns({"x": Column(type="float", nulls=1)})
    assert finite.kwargs == {"column": "x", "min_value": -expectations.LARGEST_FLOAT64, "max_value": expectations.LARGEST_FLOAT64}


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"rows_per_date": 3}'])
def test_a_torn_source_file_is_a_data_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "source.json").write_text(content)
    with pytest.raises(DataError, match=r"source\.json"):
        expectations.rows_per_date(tmp_path)
