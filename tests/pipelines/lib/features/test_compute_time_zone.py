"""Features in a time zone: calendar, windows and joins go by the local clock and the instant, and a night has the bits of its history."""

import datetime as dt
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.ingest_batch import IngestBatch, ingest_batch
from pipelines.data.ingest_history import IngestHistory, ingest_history
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.features.compute import Features, featurize, identity, lookback_days
from pipelines.lib.tables.dataset import Dataset
from tests import hourly

FEATURES = {
    "numeric": {"value": {"missing": -1}, "local_hour": {"expression": "hour(read_at)", "missing": -1}, "next_hour": {"expression": "hour(read_at + INTERVAL 1 HOUR)", "missing": -1}},
    "calendar": ["hour", "minute_of_day", "weekday", "day_of_month", "day_of_year", "month"],
    "holidays": {"dates": ["2025-10-26", "2025-03-30"], "within_days": 1},
    "same_day": {"readings": {"by": ["meter"]}},
    "lagged": {
        "value_3": {"by": ["meter"], "value": "value", "known": "at_once", "window_days": 3},
        "failures_3": {"by": ["meter"], "window_days": 3},
        "count_2": {"by": [], "value": "value", "known": "at_once", "statistic": "count", "window_days": 2},
    },
}  # fmt: skip


def computed(dataset: Dataset, features: Features, first: dt.date, end: dt.date, folder: Path, *, history: bool) -> pa.Table:
    lookback = lookback_days(dataset, features)
    if history:
        ingest_history(dataset, IngestHistory(start=str(first)), partition=end, lookback=lookback, raw=folder / "raw")
    else:
        ingest_batch(dataset, IngestBatch(), partition=first, lookback=lookback, raw=folder / "raw")
    featurize(dataset, features, raw=folder / "raw", first=first, end=end, labelled=history, target=folder / "features.parquet")
    return pq.read_table(folder / "features.parquet")


@pytest.mark.slow
@pytest.mark.parametrize(("zone", "day", "hours"), hourly.CHANGES)
def test_a_night_equals_its_history_bit_for_bit_and_pandas(tmp_path: Path, zone: str, day: str, hours: int) -> None:
    frame = hourly.readings(zone, day)
    dataset, features = hourly.dataset("parquet", frame, zone, tmp_path), parse_section(FEATURES, Features, "features")
    first, end = hourly.moved(day, -2), hourly.moved(day, 5)
    history = computed(dataset, features, first, end, tmp_path / "history", history=True)
    nights = [hourly.moved(day, days) for days in range(-2, 3)]
    wanted = expected(frame, zone, nights)
    for night in nights:
        alone = computed(dataset, features, night, night + dt.timedelta(days=1), tmp_path / str(night), history=False)
        assert alone.num_rows == (hours if str(night) == day else 24)
        of_history = history.filter(pa.compute.equal(history["partition"], str(night))).drop_columns(["failed"])
        assert of_history.equals(alone, check_metadata=False)
        for row in alone.to_pylist():
            assert row["partition"] == str(night)
            assert {name: row[name] for name in features.names} == pytest.approx(wanted[row["read_at"]], rel=1e-6), row["read_at"]


def expected(frame: pd.DataFrame, zone: str, nights: list[dt.date]) -> dict[dt.datetime, dict[str, float]]:
    """Recompute the features of each reading of the `nights` without DuckDB."""
    found: dict[dt.datetime, dict[str, float]] = {}
    holidays = [dt.date(2025, 10, 26), dt.date(2025, 3, 30)]
    row: Any
    for row in frame[frame["date"].isin(nights)].itertuples():
        local = row.read_at.to_pydatetime().astimezone(ZoneInfo(zone))
        day, later = local.date(), (row.read_at.to_pydatetime() + dt.timedelta(hours=1)).astimezone(ZoneInfo(zone))
        same = frame[frame["meter"] == row.meter]
        known = same[(same["date"] >= day - dt.timedelta(days=3)) & (same["date"] < day)]
        late = same[(same["date"] >= day - dt.timedelta(days=4)) & (same["date"] < day - dt.timedelta(days=1))]
        two = frame[(frame["date"] >= day - dt.timedelta(days=2)) & (frame["date"] < day)]
        near = [(day - holiday).days for holiday in holidays if abs((day - holiday).days) <= 1]
        found[row.read_at.to_pydatetime()] = {
            "value": row.value, "local_hour": local.hour, "next_hour": later.hour, "hour": local.hour, "minute_of_day": local.hour * 60 + local.minute,
            "weekday": local.isoweekday(), "day_of_month": local.day, "day_of_year": local.timetuple().tm_yday, "month": local.month,
            "days_from_holiday": min(near, key=abs, default=2), "readings": len(same[same["date"] == day]),
            "value_3": np.float32(known["value"].mean()), "failures_3": np.float32(late["outcome"].mean()), "count_2": len(two),
        }  # fmt: skip
    return found


DOUBLED = "2025-10-26"


def side(folder: Path, **more: Any) -> dict[str, Any]:
    """Return a side table with a value every half hour of three dates around the hour that Berlin's clocks show twice."""
    times = pd.date_range("2025-10-24 22:00", "2025-10-27 23:00", freq="30min", tz="UTC")
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"read_at": pa.array(times), "price": pa.array(range(len(times)), pa.int64())}), folder / "prices.parquet")
    columns = {"read_at": {"type": "timestamp"}, "price": {"type": "integer"}}
    declared = {
        "source": {"kind": "parquet", "path": str(folder / "prices.parquet")},
        "columns": columns,
        "key": ["read_at"],
        "event_time": "read_at",
    }
    return {"prices": {**declared, **more}}


def test_a_join_on_an_instant_tells_the_two_halves_of_the_doubled_hour_apart(tmp_path: Path) -> None:
    frame = hourly.readings("Europe/Berlin", DOUBLED, days=5)
    dataset = hourly.dataset("parquet", frame, "Europe/Berlin", tmp_path, tables=side(tmp_path))
    features = parse_section(
        {"joins": {"prices": {"key": {"read_at": "time_bucket(INTERVAL 1 HOUR, read_at)"}}}, "numeric": {"prices_price": {"missing": -1}}},
        Features,
        "features",
    )
    night = dt.date.fromisoformat(DOUBLED)
    rows = computed(dataset, features, night, night + dt.timedelta(days=1), tmp_path / "night", history=False).to_pylist()
    start = dt.datetime(2025, 10, 24, 22, tzinfo=dt.UTC)
    assert [row["prices_price"] for row in rows] == [2 * (row["read_at"] - start) / dt.timedelta(hours=1) for row in rows]
    assert len({row["prices_price"] for row in rows}) == 25


@pytest.mark.costly
@pytest.mark.parametrize(
    ("minutes", "known_at"), [(0, "2025-10-25T22:00"), (90, "2025-10-25T20:30"), (-1440, "2025-10-26T22:00"), (-180, "2025-10-26T01:00")]
)
def test_an_as_of_join_goes_by_the_instant(tmp_path: Path, minutes: int, known_at: str) -> None:
    """The date begins at 22:00 in UTC. A day of 1440 minutes later is 22:00 in UTC again, although the clocks then show 23:00."""
    frame = hourly.readings("Europe/Berlin", DOUBLED, days=5)
    dataset = hourly.dataset("parquet", frame, "Europe/Berlin", tmp_path, tables=side(tmp_path))
    joins = {"prices": {"key": {}, "available_after_minutes": minutes}}
    features = parse_section({"joins": joins, "numeric": {"prices_price": {"missing": -1}}}, Features, "features")
    night = dt.date.fromisoformat(DOUBLED)
    rows = computed(dataset, features, night, night + dt.timedelta(days=1), tmp_path / "night", history=False).to_pylist()
    start, limit = dt.datetime(2025, 10, 24, 22, tzinfo=dt.UTC), dt.datetime.fromisoformat(f"{known_at}+00:00")
    assert [row["prices_price"] for row in rows] == [2 * (min(row["read_at"], limit) - start) / dt.timedelta(hours=1) for row in rows]


@pytest.mark.costly
@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("hour(date_trunc('hour', read_at))", r"date_trunc\(\) of an instant is wrong in the hour that the clocks show twice.*time_bucket"),
        ("date_diff('hour', read_at, read_at + INTERVAL 1 HOUR)", r"date_diff\(\) of an instant is wrong"),
        ("hour(read_at AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Paris')", "AT TIME ZONE"),
        ("hour(current_timestamp)", "current_timestamp"),
        ("epoch(read_at - date_trunc('hour', read_at::TIMESTAMP))", "takes an instant and a time without a zone together"),
        ("read_at > DATE '2025-10-26'", "takes an instant and a time without a zone together.*write t::DATE"),
        ("read_at BETWEEN '2025-10-26 02:30:00' AND read_at", "takes an instant and a time without a zone together"),
        ("coalesce(read_at, make_timestamp(2025, 1, 1, 0, 0, 0)) IS NULL", "takes an instant and a time without a zone together"),
        ("coalesce(read_at, '2025-10-26 02:30:00') IS NULL", "takes an instant and a time without a zone together"),
        ("hour(CASE WHEN true THEN read_at ELSE '2025-10-26 02:30:00' END)", "takes an instant and a time without a zone together"),
        ("date_sub('hour', read_at, '2025-10-26 02:30:00')", "takes an instant and a time without a zone together"),
        ("read_at = right('on 2025-10-26 02:30:00', 19)", "takes an instant and a time without a zone together"),
        ("hour('2025-10-26 02:30'::TIMESTAMPTZ)", "a cast to TIMESTAMP"),
    ],
)
def test_what_would_guess_an_hour_is_refused(tmp_path: Path, expression: str, named: str) -> None:
    frame = hourly.readings("Europe/Berlin", DOUBLED, days=2)
    dataset = hourly.dataset("parquet", frame, "Europe/Berlin", tmp_path)
    features = parse_section({"numeric": {"guess": {"expression": expression, "missing": 0}}}, Features, "features")
    night = dt.date.fromisoformat(DOUBLED)
    with pytest.raises(ConfigError, match=named):
        computed(dataset, features, night, night + dt.timedelta(days=1), tmp_path / "night", history=False)


@pytest.mark.costly
def test_wall_clock_times_of_instants_are_pure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = hourly.readings("Europe/Berlin", DOUBLED, days=2)
    dataset = hourly.dataset("parquet", frame, "Europe/Berlin", tmp_path)
    numeric = {
        "in_tokyo": "hour(read_at AT TIME ZONE 'Asia/Tokyo')", "wall_hour": "hour(date_trunc('hour', read_at::TIMESTAMP))", "day_number": "day(read_at::DATE)",
        "from_half_past": "read_at::DATE > DATE '2025-10-25' AND read_at >= '2025-10-26 02:30:00+01:00'", "passed": "date_sub('hour', read_at, read_at + INTERVAL 1 HOUR)",
    }  # fmt: skip
    features = parse_section({"numeric": {name: {"expression": one, "missing": -1} for name, one in numeric.items()}}, Features, "features")
    night, tables = dt.date.fromisoformat(DOUBLED), []
    for machine in ("Asia/Tokyo", "America/New_York"):
        monkeypatch.setenv("TZ", machine)
        tables.append(computed(dataset, features, night, night + dt.timedelta(days=1), tmp_path / machine, history=False))
    assert tables[0].equals(tables[1])
    for row in tables[0].to_pylist():
        local = row["read_at"].astimezone(ZoneInfo("Europe/Berlin"))
        assert row["from_half_past"] == (row["read_at"] >= dt.datetime(2025, 10, 26, 1, 30, tzinfo=dt.UTC))
        assert (row["in_tokyo"], row["wall_hour"], row["day_number"], row["passed"]) == (
            row["read_at"].astimezone(ZoneInfo("Asia/Tokyo")).hour,
            local.hour,
            26,
            1,
        )


def test_a_model_is_of_one_zone(tmp_path: Path) -> None:
    frame, features = hourly.readings("Europe/Berlin", DOUBLED, days=2), parse_section(FEATURES, Features, "features")
    zones = [hourly.dataset("parquet", frame, zone, tmp_path / zone) for zone in ("Europe/Berlin", "Europe/Helsinki")]
    assert len({identity(dataset, features)["sha256"] for dataset in zones}) == 2
