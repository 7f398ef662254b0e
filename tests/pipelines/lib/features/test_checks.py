"""The checks of a declaration, before anything is computed."""

from typing import Any

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.features.checks import check_declaration
from pipelines.lib.features.declaration import Features
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.engine import bare_connection

ZONE = "America/New_York"


def check(kind: str, expression: str, zone: str | None = ZONE) -> None:
    """Check a join of times of `zone` with a side table whose key, of type `kind`, is joined by `expression`."""
    declared: dict[str, Any] = {
        "name": "readings", "source": {"kind": "parquet", "path": "t.parquet"}, "key": ["id"], "event_time": "t", "time_zone": zone,
        "label": {"name": "failed", "expression": "id > 3", "delay_days": 1}, "columns": {"id": {"type": "integer"}, "t": {"type": "timestamp"}},
        "tables": {"weather": {
            "source": {"kind": "parquet", "path": "w.parquet"}, "key": ["at"], "columns": {"at": {"type": kind}, "rain": {"type": "float"}},
        }},
    }  # fmt: skip
    features = parse_section(
        {"joins": {"weather": {"key": {"at": expression}}}, "numeric": {"weather_rain": {"missing": -1}}}, Features, "features"
    )
    check_declaration(bare_connection(zone or "UTC"), parse_section(declared, Dataset, "dataset"), features)


@pytest.mark.parametrize(
    ("kind", "expression"), [("timestamp", "t"), ("date", "t::DATE"), ("string", "t::DATE::VARCHAR"), ("integer", "id")]
)
def test_a_join_compares_instants_with_instants_and_dates_with_dates(kind: str, expression: str) -> None:
    check(kind, expression)


@pytest.mark.parametrize(("kind", "expression"), [("date", "t"), ("string", "t"), ("timestamp", "t::DATE"), ("timestamp", "t::TIMESTAMP")])
def test_a_join_of_an_instant_with_a_time_without_a_zone_is_refused(kind: str, expression: str) -> None:
    """It found the rows at midnight alone, and all others had no weather."""
    with pytest.raises(
        ConfigError, match=r"features\.joins\.weather\.key\.at is '.*'at' of weather is a .*dates with dates, as in t::DATE"
    ):
        check(kind, expression)


@pytest.mark.parametrize(
    ("kind", "expression", "remedy"),
    [
        ("date", "t", r"only events of midnight would find a row: write \(t\)::DATE"),
        ("timestamp", "t::DATE", "only rows of midnight would be found: give a time, or declare the column with type: date"),
    ],
)
def test_without_a_time_zone_a_join_of_a_time_with_a_date_is_refused_too(kind: str, expression: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy):
        check(kind, expression, zone=None)
    check(kind, "t" if kind == "timestamp" else "t::DATE", zone=None)
