"""A second table, shaped unlike the flights: orders of a shop, some of which are sent back.

Key, time, types, label and its delay differ; there are missing values, a side table and, from `SHIFT` on, another world:
buyers move to the app, and the app's orders begin to come back. Everything follows from the seed.
"""

import datetime as dt
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import yaml

from pipelines.lib.core.yaml_text import parse_yaml

PARAMS = Path(__file__).with_name("orders_params.yaml")
FIRST = dt.date(2024, 1, 1)
SHIFT = dt.date(2024, 4, 1)
CHANNELS = ("web", "app", "shop")
PRODUCTS = [f"P{number:03d}" for number in range(40)]


def orders(days: int = 120, per_day: int = 200, first: dt.date = FIRST, shift: dt.date = SHIFT, seed: int = 7) -> pa.Table:
    """Return `days` × about `per_day` orders, sorted by time. `refund` is NULL where nothing came back, and known three days later."""
    random = np.random.default_rng(seed)
    counts = random.poisson(per_day, days)
    day = np.repeat(np.arange(days), counts)
    size = len(day)
    seconds = np.sort(day * 86_400 + random.integers(6 * 3600, 23 * 3600, size))
    shifted = day >= (shift - first).days
    channel = np.where(random.random(size) < np.where(shifted, 0.6, 0.25), 1, random.choice([0, 2], size))
    product = random.integers(0, len(PRODUCTS), size)
    amount = np.round(random.lognormal(3.5, 0.7, size), 2)
    items = random.integers(1, 6, size)
    gift = random.random(size) < 0.1
    chance = -2.6 + 0.06 * (product - 20) + 0.012 * np.minimum(amount, 150) + 1.2 * gift + np.where(shifted & (channel == 1), 1.5, 0.0)
    returned = random.random(size) < 1 / (1 + np.exp(-chance))
    start = np.datetime64(first, "s")
    return pa.table(
        {
            "order_id": pa.array([f"A-{number:07d}" for number in range(size)]),
            "placed_at": pa.array(start + seconds.astype("timedelta64[s]"), pa.timestamp("us")),
            "customer": pa.array([f"c{number}" for number in random.integers(0, 900, size)]),
            "product": pa.array([PRODUCTS[number] for number in product]),
            "channel": pa.array([CHANNELS[number] for number in channel], mask=random.random(size) < 0.03),
            "amount": pa.array(amount, mask=random.random(size) < 0.05),
            "items": pa.array(items),
            "gift": pa.array(gift),
            "refund": pa.array(amount, mask=~returned),
        }
    )


def products() -> pa.Table:
    """Return the side table: one row a product, some without a weight."""
    weights = [None if number % 9 == 0 else 0.2 + number / 10 for number in range(len(PRODUCTS))]
    return pa.table(
        {"product": PRODUCTS, "weight": pa.array(weights, pa.float64()), "fragile": [number % 3 == 0 for number in range(len(PRODUCTS))]}
    )


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
