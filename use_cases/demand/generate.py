"""Make the data of the use case *demand*: what a chain of shops sells tomorrow, by product and shop.

``python -m use_cases.demand.generate`` writes to ``var/examples/demand``: one file per day, a row for each product in each shop.
The same seed makes the same bytes.

Sales follow the product, the size of the shop, the weekday and the season of the year, and double on a promotion. Counts are Poisson, so a part of the error is
chance. From `SHIFT` on half of the shops sell more: a competitor next door has closed. On some days a shelf is empty; what was sold then says nothing of demand.

A row is written in the evening. ``sold_tomorrow`` and ``empty_tomorrow`` become known on the next evening: Nightshift hides them from a night that could not know them.
"""

import argparse
import datetime as dt
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from use_cases.files import EXAMPLES, File, write_missing

SEED = 3
FIRST = dt.date(2025, 1, 1)
NIGHTS = 300
SHIFT = dt.date(2025, 7, 1)
"""The date from which on the first half of the shops sell half as much again."""

PRODUCTS, SHOPS = 60, 8
WEEK = (0.8, 0.8, 0.9, 1.0, 1.3, 1.7, 0.5)
"""Demand from Monday to Sunday, as a multiple of the average."""

PROMOTED, PROMOTION = 0.06, 2.0
"""Share of the rows with a promotion, and the demand with it as a multiple."""

EMPTY = 0.03
"""Share of the rows with an empty shelf."""


def demand(days: int = NIGHTS, first: dt.date = FIRST, shift: dt.date = SHIFT, seed: int = SEED) -> pa.Table:
    """Return `days` × `PRODUCTS` × `SHOPS` rows, sorted by day."""
    random = np.random.default_rng(seed)
    popular = random.lognormal(2.0, 0.8, PRODUCTS)
    size = random.uniform(0.6, 1.6, SHOPS)
    price = np.round(random.uniform(1, 30, PRODUCTS), 2)
    summer = random.uniform(-0.3, 0.3, PRODUCTS)

    # One more day than there are files: the last row of a product has a tomorrow, too.
    dates = [first + dt.timedelta(days=day) for day in range(days + 1)]
    week = np.array([WEEK[date.weekday()] for date in dates])
    season = np.sin(2 * np.pi * (np.array([date.timetuple().tm_yday for date in dates]) - 80) / 365)
    shape = (days + 1, PRODUCTS, SHOPS)
    promoted = random.random(shape) < PROMOTED
    busier = np.array([date >= shift for date in dates])[:, None] & (np.arange(SHOPS) < SHOPS // 2)
    expected = week[:, None, None] * (1 + season[:, None] * summer)[:, :, None] * popular[:, None] * size
    expected = expected * np.where(promoted, PROMOTION, 1.0) * np.where(busier, 1.5, 1.0)[:, None, :]
    empty = random.random(shape) < EMPTY
    sold = np.where(empty, random.binomial(random.poisson(expected), 0.4), random.poisson(expected))

    day, product, shop = (axis.ravel() for axis in np.meshgrid(np.arange(days), np.arange(PRODUCTS), np.arange(SHOPS), indexing="ij"))
    return pa.table(
        {
            "day": pa.array(np.datetime64(first, "D") + day, pa.date32()),
            "product": pa.array([f"P{number:02d}" for number in product]),
            "shop": pa.array([f"S{number}" for number in shop]),
            "price": pa.array(price[product]),
            "sold_today": pa.array(sold[:-1].ravel()),
            "promotion_tomorrow": pa.array(promoted[1:].ravel()),
            "sold_tomorrow": pa.array(sold[1:].ravel()),
            "empty_tomorrow": pa.array(empty[1:].ravel()),
        }
    )


def of_night(table: pa.Table, night: dt.date) -> pa.Table:
    """Return the rows of `table` that are dated `night`."""
    return table.filter(pc.equal(table["day"], pa.scalar(night)))


def main(arguments: list[str] | None = None) -> None:
    """Write the files that are missing."""
    parser = argparse.ArgumentParser(description="Make the data of the use case demand.")
    parser.add_argument("--nights", type=int, default=NIGHTS, help=f"how many files, from {FIRST} on (default {NIGHTS})")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--again", action="store_true", help="write the files again that are there already")
    parser.add_argument("--to", type=Path, default=EXAMPLES / "demand", help="the folder to write to")
    given = parser.parse_args(arguments)
    table = demand(days=given.nights, seed=given.seed)
    nights = [FIRST + dt.timedelta(days=number) for number in range(given.nights)]
    files: list[File] = [(given.to / "sales" / f"{night}.parquet", partial(of_night, table, night)) for night in nights]
    print(f"{given.to}: {write_missing(files, again=given.again)}")


if __name__ == "__main__":
    main()
