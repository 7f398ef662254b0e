"""The second table of the tests, shaped unlike the flights: the use case *orders* that ships, with fewer orders and as many on each weekday.

Key, time, types, label and its delay differ; there are missing values, a side table and, from `SHIFT` on, another world.
The declaration is the one that ships, use_cases/orders/params.yaml: `CHANGED` holds what a small table in the working directory needs to be different.
"""

import copy
import datetime as dt
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import yaml

from pipelines.lib.core.use_cases import SECTION, effective, find
from use_cases.orders import generate
from use_cases.orders.generate import products

__all__ = ["FIRST", "SHIFT", "orders", "params", "prepare", "products", "write"]

ROOT = Path(__file__).resolve().parents[2]
FIRST = generate.FIRST
SHIFT = dt.date(2024, 4, 1)
EVERY_WEEKDAY_ALIKE = (1.0,) * 7

CHANGED: Mapping[str, Any] = {
    "dataset": {
        "source": {"kind": "parquet", "path": "orders.parquet"},
        "tables": {"products": {"source": {"kind": "csv", "path": "products.csv"}}},
    },
    "ingest_history": {"start": "2024-01-01"},  # derived for the use case: the shards of its index begin with this month
    # Three weeks of few orders, which are as many on each weekday, are judged as well.
    "validate_history": {"row_count": {"every_days": 1, "minimum_rows": 20}},
    "validate_batch": {"row_count": {"every_days": 1, "minimum_rows": 20}},
    # The network that is derived for so small a table.
    "train_encoder": {"layers": [64, 16], "epochs": 5, "batch_size": 256, "learning_rate": 0.001, "alpha": 0.001},
    # What the page of an evaluation shows.
    "evaluate": {
        "slices": ["channel"],
        "slice_minimum_rows": 100,
        "golden": [{"change": {"gift": 1}, "expect": "higher"}],  # holds before and after the shift
    },
    # Other processes of the tests run at the same time.
    "evaluate_index": {"latency_p99_limit_ms": 50.0},
}
"""Values that differ from the effective parameters of the use case. What was derived belongs to the whole table, so the defaults hold instead."""


def orders(days: int = 120, per_day: int = 200, first: dt.date = FIRST) -> pa.Table:
    """Return `days` × about `per_day` orders, sorted by time."""
    return generate.orders(days, per_day, first, SHIFT, EVERY_WEEKDAY_ALIKE)


def write(table: pa.Table, path: Path) -> None:
    """Write `table` to `path`; its suffix says how: .parquet, .csv, or .db for an SQLite file with a table of the file's stem."""
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".csv":
        pc.write_csv(table, path, pc.WriteOptions(quoting_style="needed"))
    else:
        types = {"string": "TEXT", "int64": "INTEGER", "double": "REAL", "bool": "BOOLEAN", "timestamp[us]": "TEXT"}
        columns = ", ".join(f"{field.name} {types[str(field.type)]}" for field in table.schema)
        rows = [tuple(str(cell) if isinstance(cell, dt.datetime) else cell for cell in row.values()) for row in table.to_pylist()]
        with sqlite3.connect(path) as database:
            database.execute(f"CREATE TABLE {path.stem} ({columns})")
            database.executemany(f"INSERT INTO {path.stem} VALUES ({', '.join('?' * table.num_columns)})", rows)
        database.close()


def params(**source: Any) -> dict[str, Any]:
    """Return the parameters of the orders as of a default use case, with the source of the orders replaced by `source` if one is given."""
    content = copy.deepcopy(effective(find("orders", ROOT), derived=False).params)
    del content[SECTION], content["first_run"]
    _change(content, CHANGED)
    if source:
        content["dataset"]["source"] = source
    return content


def _change(content: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put the values of `changes` into `content`, key by key."""
    for key, value in changes.items():
        if isinstance(value, Mapping):
            _change(content[key], value)
        else:
            content[key] = value


def prepare(directory: Path, table: pa.Table | None = None) -> None:
    """Make `directory` a place where the stages run on the orders: its data, its params.yaml and a run.yaml."""
    write(orders() if table is None else table, directory / "orders.parquet")
    write(products(), directory / "products.csv")
    (directory / "params.yaml").write_text(yaml.safe_dump(params(), sort_keys=False), encoding="utf-8")
    run = {"partition": "2024-03-15", "model": {"path": "data/models/model.onnx", "name": "Orders"}}
    (directory / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
