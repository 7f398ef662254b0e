"""Types of columns that nobody declared: those of the source, and for text the narrowest that every value has."""

from pathlib import Path

import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.declarations.column_types import column_types, declarable
from pipelines.lib.sources import adapters
from pipelines.lib.tables.dataset import Source
from pipelines.lib.tables.engine import UTC, connect
from tests import rides


def types(query: str, path: Path, **dialect: str) -> dict[str, str]:
    rides.write(path, query)
    source = parse_section({"kind": path.suffix.removeprefix("."), "path": str(path), **dialect}, Source, "source")
    with connect(UTC) as (connection, scratch):
        scanned = adapters.scan(connection, source, {}, None, scratch)
        return column_types(connection, scanned, scanned.columns)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "20", "-3"], "integer"),
        (["1", "2.5"], "float"),
        (["007", "008"], "string"),
        (["12345678901234567890"], "string"),
        (["true", "false"], "boolean"),
        (["2024-01-05"], "date"),
        (["2024-01-05 10:00:00"], "timestamp"),
        (["2024-01-05", "soon"], "string"),
        (["no", "yes"], "string"),
    ],
)
def test_text_gets_the_narrowest_type_that_each_value_has(values: list[str], kind: str, tmp_path: Path) -> None:
    listed = ", ".join(f"('{value}')" for value in values)
    assert types(f"SELECT x, 'a' AS other FROM (VALUES {listed}) AS v(x)", tmp_path / "a.csv") == {"x": kind, "other": "string"}


def test_one_value_after_the_first_rows_decides(tmp_path: Path) -> None:
    query = "SELECT CASE WHEN range = 19999 THEN 'n/a' ELSE range::VARCHAR END AS x, 'a' AS other FROM range(20000)"
    assert types(query, tmp_path / "a.csv")["x"] == "string"


def test_the_declared_notation_counts(tmp_path: Path) -> None:
    query = "SELECT '1,5' AS price, '05.01.2024' AS day"
    assert types(query, tmp_path / "a.csv", decimal=",", date_format="%d.%m.%Y") == {"price": "float", "day": "date"}


def test_text_of_a_parquet_file_stays_text(tmp_path: Path) -> None:
    assert types("SELECT '7' AS x, 7::SMALLINT AS y, 7.5::DECIMAL(9, 2) AS z", tmp_path / "a.parquet") == {
        "x": "string",
        "y": "integer",
        "z": "float",
    }


def test_a_type_that_cannot_be_declared_is_named(tmp_path: Path) -> None:
    assert not declarable("INTEGER[]")
    with pytest.raises(DataError, match=r"column 'x' of .*a\.parquet is of type INTEGER\[\], which cannot be declared"):
        types("SELECT [1, 2]::INTEGER[] AS x", tmp_path / "a.parquet")
