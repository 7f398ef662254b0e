"""A small table of orders with which the gates are tested, as `ingest` leaves it: another key, another time, other columns than flights."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lib.core.params import parse_section
from pipelines.lib.sources.casts import ARROW_TYPES
from pipelines.lib.tables.dataset import Dataset

NIGHT = dt.date(2024, 5, 29)
ROWS = 100
COUNTRIES = ("DE", "FR", "US")

ORDERS = parse_section(
    {
        "name": "orders",
        "source": {"kind": "parquet", "path": "orders.parquet"},
        "key": ["shop", "order_id"],
        "event_time": "placed_at",
        "label": {"name": "came_late", "expression": "days_late >= 1", "delay_days": 2},
        "columns": {
            "placed_at": {"type": "timestamp"},
            "shop": {"type": "string"},
            "order_id": {"type": "integer", "minimum": 1},
            "country": {"type": "string", "values": list(COUNTRIES), "unseen": 0.05},
            "amount": {"type": "float", "minimum": 0, "nulls": 0.1},
            "weight": {"type": "float", "nulls": 1},
            "days_late": {"type": "integer", "nulls": 0.2},
        },
        "known_later": ["days_late"],
    },
    Dataset,
    "orders",
)

NOTHING_MISDATED = {"first": None, "last": None, "next": None, "too_early": 0, "too_late": 0}

Change = Callable[[pd.DataFrame], pd.DataFrame]


def orders(date: dt.date, rows: int = ROWS, *, days_late: bool = False) -> pd.DataFrame:
    """Return `rows` ordinary orders of `date`, sorted by time, the last one at half past eleven."""
    number = range(rows)
    return pd.DataFrame(
        {
            "placed_at": [pd.Timestamp(date) + pd.Timedelta(minutes=int(1410 * (n + 1) / rows)) for n in number],
            "shop": ["north" if n % 2 else "south" for n in number],
            "order_id": [1 + n + 1000 * (date - dt.date(2024, 1, 1)).days for n in number],
            "country": [COUNTRIES[n % 3] for n in number],
            "amount": [10.0 + n for n in number],
            "weight": [1.5 if n % 4 else None for n in number],
            "days_late": [n % 4 - 1 if days_late else None for n in number],
        }
    )


def write_raw(directory: Path, events: pd.DataFrame) -> Path:
    """Return a raw directory that holds `events`."""
    directory.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([(column, ARROW_TYPES[kind.type]) for column, kind in ORDERS.columns.items()])
    pq.write_table(pa.Table.from_pandas(events, schema=schema, preserve_index=False), directory / "events.parquet")
    counts = pd.to_datetime(events["placed_at"]).dropna().dt.strftime("%Y-%m-%d").value_counts().sort_index()
    facts = {
        "rows_per_date": counts.to_dict(),
        "last": counts.index.max(),
        "next": min(counts.index[counts.index >= str(NIGHT)], default=None),
    }
    (directory / "source.json").write_text(
        json.dumps(facts | {"too_early": 0, "too_late": 0, "reach_of_tables": {"rates": NOTHING_MISDATED}})
    )
    return directory


def write_night(directory: Path, change: Change = lambda night: night) -> Path:
    """Return a raw directory with the four same weekdays before `NIGHT`, the newest date with outcomes, and `NIGHT` as `change` leaves
    it.
    """
    before = [orders(NIGHT - dt.timedelta(days=days), days_late=True) for days in (28, 21, 14, 7, ORDERS.label.delay_days + 1)]
    return write_raw(directory, pd.concat([*before, change(orders(NIGHT))], ignore_index=True))
