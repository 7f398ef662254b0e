"""Clocks in another time zone than the dates, and which dates are whole if files have the date in UTC in their path."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from pipelines.lib.core.use_cases import CLOCKS
from pipelines.lib.declarations.clock_zones import whole_dates, zone_warnings
from pipelines.lib.declarations.facts import EVENTS, Day, Facts
from pipelines.lib.tables.engine import connect
from tests import hourly

DAY = "2025-05-20"


def facts_of(frame: pd.DataFrame) -> Facts:
    counts: Mapping[dt.date, int] = frame["date"].value_counts().to_dict()
    return Facts({date: Day(rows, rows, 1, 1439) for date, rows in sorted(counts.items())})


@pytest.mark.parametrize(
    ("zone", "kind", "late"),
    [
        ("America/New_York", "parquet a UTC day", 1),
        ("America/New_York", "parquet a day", 0),
        ("America/New_York", "parquet", 0),
        ("Europe/Berlin", "parquet a UTC day", 0),
        ("UTC", "parquet a UTC day", 0),
    ],
)
def test_the_last_date_is_left_out_if_its_last_rows_come_with_the_next_file(tmp_path: Path, zone: str, kind: str, late: int) -> None:
    frame = hourly.readings(zone, DAY, days=3)
    in_utc = pd.Series(frame["read_at"].dt.date)
    frame = frame[
        (in_utc if "UTC" in kind else frame["date"]) < hourly.moved(DAY, 3)
    ]  # as delivered when the date of the last file has just ended
    dataset = hourly.dataset(kind, frame, zone, tmp_path)
    facts = facts_of(frame)
    with connect(zone) as (connection, _):
        connection.register("given", pa.Table.from_pandas(frame[["read_at"]], preserve_index=False))
        connection.execute(f"CREATE TEMP TABLE {EVENTS} AS SELECT * FROM given")
        found = whole_dates(connection, facts, dataset)
    assert found.days_late == late
    assert found.last == facts.last - dt.timedelta(days=late)
    assert found.days[found.last].rows == 24 or zone == "Europe/Berlin"  # there the last file begins the next date


def params(zone: object, **clocks: Any) -> dict[str, Any]:
    return {"dataset": {"time_zone": zone}, **clocks}


@pytest.mark.parametrize("section", CLOCKS)
def test_a_clock_of_another_zone_is_a_warning(section: str) -> None:
    [warning] = zone_warnings(params("Europe/Berlin", **{section: {"timezone": "UTC", "cron": "0 2 * * *"}}))
    assert (warning.key, warning.fact) == (
        f"{section}.timezone", "is UTC, but the dates of the dataset end at midnight in Europe/Berlin (dataset.time_zone)",
    )  # fmt: skip
    assert warning.remedy == "write timezone: Europe/Berlin or take it out, unless '0 2 * * *' in UTC is after that midnight all year"


@pytest.mark.parametrize(
    "silent",
    [
        params("Europe/Berlin"),
        params("Europe/Berlin", nightly_batch_scoring={"timezone": "Europe/Berlin"}),
        params("Europe/Berlin", drift_monitoring={"timezone": "UTC"}),
        params("Europe/Berlin", nightly_batch_scoring={"timezone": 7}),
        params(None, nightly_batch_scoring={"timezone": "UTC"}),
        params(7, nightly_batch_scoring={"timezone": "UTC"}),
        {},
    ],
    ids=["no clock", "same zone", "no clock's section", "no text", "no zone", "no text as zone", "nothing"],
)
def test_nothing_is_said_otherwise(silent: dict[str, Any]) -> None:
    assert list(zone_warnings(silent)) == []
