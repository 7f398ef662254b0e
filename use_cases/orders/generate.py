"""Make the data of the use case *orders*: orders of a shop, some of which are sent back.

``python -m use_cases.orders.generate`` writes to ``var/examples/orders``: one file of orders per night, and the products.
The same seed makes the same bytes. The tests of this repository use the same orders, fewer of them.

An order is sent back more often if it is dear or a gift, and some products come back more often than others. From `SHIFT` on there is another world:
buyers move to the app, order several sizes there, and send back those that do not fit. Some values are missing, as they are in a real shop.

A file also holds the refunds of its orders, which the shop knows 3 days later. Nightshift hides them from each night that could not know them:
``refund`` is listed in ``dataset.known_later``.
"""

import argparse
import datetime as dt
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from use_cases.files import EXAMPLES, File, write_missing

SEED = 7
FIRST = dt.date(2024, 1, 1)
NIGHTS = 300
SHIFT = dt.date(2024, 7, 1)
"""The date from which on most buyers use the app, order several sizes there, and send back those that do not fit."""

PER_DAY = 1_000
WEEK = (1.1, 1.0, 0.95, 0.95, 1.0, 0.8, 1.2)
"""Orders from Monday to Sunday, as a multiple of the average."""

CHANNELS = ("web", "app", "shop")
CUSTOMERS = 900
PRODUCTS = [f"P{number:03d}" for number in range(40)]


def orders(
    days: int = NIGHTS,
    per_day: int = PER_DAY,
    first: dt.date = FIRST,
    shift: dt.date = SHIFT,
    week: tuple[float, ...] = WEEK,
    seed: int = SEED,
) -> pa.Table:
    """Return `days` × about `per_day` orders, sorted by time. `refund` is NULL if nothing came back, and known three days later."""
    random = np.random.default_rng(seed)
    expected = [per_day * week[(first.weekday() + number) % 7] for number in range(days)]
    counts = random.poisson(expected)
    day = np.repeat(np.arange(days), counts)
    size = len(day)

    # When and what: between 6 and 23 o'clock, any product, one order in ten as a gift.
    seconds = np.sort(day * 86_400 + random.integers(6 * 3600, 23 * 3600, size))
    shifted = day >= (shift - first).days
    channel = np.where(random.random(size) < np.where(shifted, 0.6, 0.25), 1, random.choice([0, 2], size))
    product = random.integers(0, len(PRODUCTS), size)
    amount = np.round(random.lognormal(3.5, 0.7, size), 2)
    items = random.integers(1, 6, size)
    gift = random.random(size) < 0.1

    # The chance that it comes back: a logistic function of what was ordered, and after the shift also of how many sizes.
    sizes = np.where(shifted & (channel == 1), 1.2 + 0.9 * (items - 3), 0.0)
    chance = -2.6 + 0.06 * (product - 20) + 0.012 * np.minimum(amount, 150) + 1.2 * gift + sizes
    returned = random.random(size) < 1 / (1 + np.exp(-chance))
    return pa.table(
        {
            "order_id": pa.array([f"A-{number:07d}" for number in range(size)]),
            "placed_at": pa.array(np.datetime64(first, "s") + seconds.astype("timedelta64[s]"), pa.timestamp("us")),
            "customer": pa.array([f"c{number}" for number in random.integers(0, CUSTOMERS, size)]),
            "product": pa.array([PRODUCTS[number] for number in product]),
            "channel": pa.array([CHANNELS[number] for number in channel], mask=random.random(size) < 0.03),
            "amount": pa.array(amount, mask=random.random(size) < 0.05),
            "items": pa.array(items),
            "gift": pa.array(gift),
            "refund": pa.array(amount, mask=~returned),
        }
    )


def products() -> pa.Table:
    """Return the side table: one row per product, some without a weight."""
    weights = [None if number % 9 == 0 else 0.2 + number / 10 for number in range(len(PRODUCTS))]
    return pa.table(
        {"product": PRODUCTS, "weight": pa.array(weights, pa.float64()), "fragile": [number % 3 == 0 for number in range(len(PRODUCTS))]}
    )


def of_night(table: pa.Table, night: dt.date) -> pa.Table:
    """Return the rows of `table` that were placed on `night`."""
    return table.filter(pc.equal(pc.cast(table["placed_at"], pa.date32()), pa.scalar(night)))


def main(arguments: list[str] | None = None) -> None:
    """Write the files that are missing."""
    parser = argparse.ArgumentParser(description="Make the data of the use case orders.")
    parser.add_argument("--nights", type=int, default=NIGHTS, help=f"how many files, from {FIRST} on (default {NIGHTS})")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--again", action="store_true", help="write the files again that are there already")
    parser.add_argument("--to", type=Path, default=EXAMPLES / "orders", help="the folder to write to")
    given = parser.parse_args(arguments)
    table = orders(days=given.nights, seed=given.seed)
    nights = [FIRST + dt.timedelta(days=number) for number in range(given.nights)]
    files: list[File] = [(given.to / "orders" / f"{night}.parquet", partial(of_night, table, night)) for night in nights]
    files.append((given.to / "products.csv", products))
    print(f"{given.to}: {write_missing(files, again=given.again)}")


if __name__ == "__main__":
    main()
