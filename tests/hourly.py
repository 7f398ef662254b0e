"""A table of one reading an hour in a time zone, through a change of its clocks. Its dates are computed with zoneinfo and pandas alone."""

import datetime as dt
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from deltalake import write_deltalake

from pipelines.lib.core.params import parse_section
from pipelines.lib.tables.dataset import Dataset

KINDS = (
    "parquet", "parquet of nanoseconds", "parquet in UTC without a zone", "parquet a day", "parquet a UTC day", "hive folders", "csv", "csv in UTC without a zone",
    "csv with a format", "delta", "sql", "sql in UTC without a zone",
)  # fmt: skip

CHANGES = [
    ("Europe/Berlin", "2025-03-30", 23),
    ("Europe/Berlin", "2025-10-26", 25),
    ("America/New_York", "2025-03-09", 23),
    ("America/New_York", "2025-11-02", 25),
    ("America/Santiago", "2025-09-07", 23),  # there is no midnight: 00:00 is 01:00
    ("Asia/Beirut", "2025-03-30", 23),  # the same
    ("America/Havana", "2025-11-02", 25),  # midnight comes twice
]
"""Zone, date of a change, and the hours of that date."""


def readings(zone: str, around: str, days: int = 12) -> pd.DataFrame:
    """Return a reading for each hour of the local dates from `days` before to `days` after `around`: meter, instant, date, value and outcome."""
    first, last = (pd.Timestamp(around) + pd.Timedelta(days=days * sign) for sign in (-1, 1))
    instants = pd.date_range(first - pd.Timedelta(days=2), last + pd.Timedelta(days=2), freq="h", tz="UTC")
    frame = pd.DataFrame({"read_at": instants, "date": [moment.astimezone(ZoneInfo(zone)).date() for moment in instants]})
    frame = frame[(frame["date"] >= first.date()) & (frame["date"] <= last.date())].reset_index(drop=True)
    number = frame.index.to_numpy()
    return frame.assign(meter=[f"m{place % 3}" for place in number], value=(number * 37 % 101).astype("int64"), outcome=number * 13 % 7 < 3)


def dataset(kind: str, frame: pd.DataFrame, zone: str, folder: Path, **more: Any) -> Dataset:
    """Write `frame` as a source of `kind` into `folder`, and return the section that declares it."""
    source, time = _written(kind, frame, folder)
    declared: dict[str, Any] = {
        "name": "readings", "source": source, "key": ["meter", "read_at"], "event_time": "read_at", "time_zone": zone, "known_later": ["outcome"],
        "label": {"name": "failed", "expression": "outcome", "delay_days": 1},
        "columns": {
            "meter": {"type": "string"}, "read_at": {"type": "timestamp", **time}, "value": {"type": "integer"}, "outcome": {"type": "boolean", "nulls": 1.0},
        },
    }  # fmt: skip
    return parse_section({**declared, **more}, Dataset, "dataset")


def _written(kind: str, frame: pd.DataFrame, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    naive = {"written_in": "UTC"} if "without a zone" in kind else {}
    rows = pa.table({column: frame[column] for column in ("meter", "value", "outcome")})
    unit = "ns" if "nanoseconds" in kind else "us"
    read_at = pa.array(frame["read_at"].dt.tz_localize(None)).cast(pa.timestamp(unit, tz=None if naive else "UTC"))
    table = rows.append_column("read_at", read_at)
    if kind in ("parquet a day", "parquet a UTC day", "hive folders"):
        dates = frame["date"] if kind == "parquet a day" else frame["read_at"].dt.date
        for day in sorted(set(dates)):
            name = f"day={day}/part-0.parquet" if kind == "hive folders" else f"{day}.parquet"
            (folder / name).parent.mkdir(exist_ok=True)
            pq.write_table(table.filter(pa.array(dates == day)), folder / name)
        path = f"{folder}/" if kind == "hive folders" else f"{folder}/{{partition}}.parquet"
        return {"kind": "parquet", "path": path.rstrip("/")}, {}
    if kind.startswith("parquet"):
        pq.write_table(table, folder / "readings.parquet", row_group_size=50)
        return {"kind": "parquet", "path": str(folder / "readings.parquet")}, naive
    if kind == "delta":
        write_deltalake(str(folder / "table"), table)
        return {"kind": "delta", "path": str(folder / "table")}, {}
    if kind.startswith("csv"):
        forms = {"csv": "%Y-%m-%dT%H:%M:%S+00:00", "csv with a format": "%d.%m.%Y %H:%M +0000"}
        text = frame.assign(read_at=frame["read_at"].dt.strftime(forms.get(kind, "%Y-%m-%d %H:%M:%S")))[
            ["meter", "read_at", "value", "outcome"]
        ]
        text.to_csv(folder / "readings.csv", index=False)
        more = {"timestamp_format": "%d.%m.%Y %H:%M %z"} if "format" in kind else {}
        return {"kind": "csv", "path": str(folder / "readings.csv"), **more}, naive
    url = f"sqlite:///{folder / 'readings.db'}"
    shown = frame["read_at"].dt.strftime("%Y-%m-%d %H:%M:%S" + ("" if naive else "+00:00"))
    engine = sa.create_engine(url)
    frame.assign(read_at=shown)[["meter", "read_at", "value", "outcome"]].to_sql("readings", engine, index=False)
    engine.dispose()
    return {"kind": "sql", "url": url, "table": "readings"}, naive


def moved(day: str, days: int) -> dt.date:
    return dt.date.fromisoformat(day) + dt.timedelta(days=days)
