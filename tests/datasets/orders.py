"""The second table of the tests, shaped unlike the flights: the orders of `use_cases.orders`, fewer of them and as many on each weekday.

Key, time, types, label and its delay differ; there are missing values, a side table and, from `SHIFT` on, another world.
"""

import datetime as dt
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import yaml

from pipelines.lib.core.yaml_text import parse_yaml
from use_cases.orders import generate
from use_cases.orders.generate import products

__all__ = ["FIRST", "SHIFT", "orders", "params", "prepare", "products", "write"]

PARAMS = Path(__file__).with_name("orders_params.yaml")
FIRST = generate.FIRST
SHIFT = dt.date(2024, 4, 1)
EVERY_WEEKDAY_ALIKE = (1.0,) * 7


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
    """Return the content of `orders_params.yaml`, with the source of the orders replaced by `source` if one is given."""
    content: dict[str, Any] = parse_yaml(PARAMS.read_text(encoding="utf-8"))
    if source:
        content["dataset"]["source"] = source
    return content


def prepare(directory: Path, table: pa.Table | None = None) -> None:
    """Make `directory` a place where the stages run on the orders: its data, its params.yaml and a run.yaml."""
    write(orders() if table is None else table, directory / "orders.parquet")
    write(products(), directory / "products.csv")
    (directory / "params.yaml").write_text(PARAMS.read_text(encoding="utf-8"), encoding="utf-8")
    run = {"partition": "2024-03-15", "model": {"path": "data/models/model.onnx", "name": "Orders"}}
    (directory / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
