"""Make the data of the use case *fraud*: card payments, of which fewer than 1 in 100 is fraud.

``python -m use_cases.fraud.generate`` writes to ``var/examples/fraud``: one file of transactions per night, the customers and the terminals.
The same seed makes the same bytes.

A thief first uses a stolen card (large amounts, at night, far from home) or a manipulated terminal (ordinary amounts, for three weeks at one place).
From `NEW_PATTERN` on there is another world: everybody pays small amounts online, and thieves test stolen cards with a series of such payments.
A model that learned before does not know this pattern, and its AUC falls until it is trained again.

A file also holds the outcome of its payments, which a bank knows 7 days later. Nightshift hides it from each night that could not know it:
``is_fraud`` is listed in ``dataset.known_later``.
"""

import argparse
import datetime as dt
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from use_cases.files import EXAMPLES, File, write_missing

SEED = 11
FIRST = dt.date(2025, 1, 1)
NIGHTS = 300
NEW_PATTERN = dt.date(2025, 7, 1)
"""The date from which on thieves test stolen cards online, and everybody pays more often there."""

PER_NIGHT = 2_500
WEEK = (0.95, 0.95, 1.0, 1.0, 1.15, 1.2, 0.75)
"""Payments from Monday to Sunday, as a multiple of `PER_NIGHT`."""

CUSTOMERS, TERMINALS = 4_000, 600
COUNTRIES = ("AT", "CH", "DE", "FR", "IT")
CATEGORIES = ("grocery", "fuel", "restaurant", "travel", "online")
SIZE = np.array([0.8, 1.2, 0.7, 3.0, 0.9])
"""A customer's usual amount is multiplied by this in each of `CATEGORIES`."""

HOURS = np.array([1, 1, 1, 1, 1, 2, 4, 8, 10, 10, 10, 11, 13, 12, 10, 10, 11, 13, 14, 12, 9, 6, 4, 2])
NIGHT_HOURS = np.array([9, 10, 10, 9, 7, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 4, 5, 6, 7, 8])
"""How many payments begin in each hour, relative to the others: of customers, and of thieves with a stolen card."""

STOLEN, STOLEN_LATER = 9, 6
"""Payments with stolen cards per night, before and after `NEW_PATTERN`."""

MANIPULATED, WEEKS_MANIPULATED, SHARE_MANIPULATED = 3, 3, 0.25
"""Terminals that thieves manipulate per week, for how many weeks, and the share of their payments that is then fraud."""

SERIES, PAYMENTS_OF_A_SERIES = 2.5, 4
"""Series of test payments per night from `NEW_PATTERN` on, and the average number of payments in one."""


def customers(seed: int = SEED) -> pd.DataFrame:
    """Return the side table of customers: where they live, since when they have the card, and what they usually spend."""
    random = np.random.default_rng([seed, 1])
    return pd.DataFrame(
        {
            "customer": [f"C{number:04d}" for number in range(CUSTOMERS)],
            "home": random.choice(COUNTRIES, CUSTOMERS, p=[0.15, 0.1, 0.4, 0.2, 0.15]),
            "card_since": np.datetime64(FIRST) - random.integers(30, 3_650, CUSTOMERS),
            "usual_amount": np.round(random.lognormal(3.2, 0.5, CUSTOMERS), 2),
        }
    )


def terminals(seed: int = SEED) -> pd.DataFrame:
    """Return the side table of terminals: in which country they are, and what is sold there."""
    random = np.random.default_rng([seed, 2])
    return pd.DataFrame(
        {
            "terminal": [f"T{number:03d}" for number in range(TERMINALS)],
            "country": random.choice(COUNTRIES, TERMINALS, p=[0.15, 0.1, 0.4, 0.2, 0.15]),
            "category": random.choice(CATEGORIES, TERMINALS, p=[0.3, 0.15, 0.25, 0.1, 0.2]),
        }
    )


def usual_terminals(people: pd.DataFrame, places: pd.DataFrame, seed: int = SEED) -> np.ndarray:
    """Return the positions of the 8 terminals at which each customer usually pays: 6 in the country where they live, 2 anywhere."""
    random = np.random.default_rng([seed, 3])
    usual = random.integers(0, TERMINALS, (len(people), 8))
    for country in COUNTRIES:
        live_here = np.flatnonzero(people["home"] == country)
        usual[live_here, :6] = random.choice(np.flatnonzero(places["country"] == country), (len(live_here), 6))
    return usual


def manipulated(day: dt.date, seed: int = SEED) -> np.ndarray:
    """Return the positions of the terminals that are manipulated on `day`: those chosen in this week and in the weeks before it."""
    week = day.toordinal() // 7
    chosen = [np.random.default_rng([seed, 4, week - age]).integers(0, TERMINALS, MANIPULATED) for age in range(WEEKS_MANIPULATED)]
    return np.unique(np.concatenate(chosen))


def transactions(day: dt.date, seed: int = SEED, per_night: int = PER_NIGHT) -> pa.Table:
    """Return the payments of `day`, sorted by time. No other day is needed for that."""
    random = np.random.default_rng([seed, 5, day.toordinal()])
    people, places = customers(seed), terminals(seed)
    usual = usual_terminals(people, places, seed)
    spends, category = people["usual_amount"].to_numpy(), pd.Categorical(places["category"], CATEGORIES).codes
    online = np.flatnonzero(places["category"] == "online")
    new = day >= NEW_PATTERN

    # Customers pay at their usual terminals, and one time in ten at another one.
    size = random.poisson(per_night * WEEK[day.weekday()])
    customer = random.integers(0, CUSTOMERS, size)
    terminal = np.where(random.random(size) < 0.9, usual[customer, random.integers(0, 8, size)], random.integers(0, TERMINALS, size))
    amount = spends[customer] * SIZE[category[terminal]] * random.lognormal(0, 0.5, size)
    small = random.random(size) < (0.35 if new else 0.1)  # a song, a game, a ride
    terminal = np.where(small, random.choice(online, size), terminal)
    amount = np.where(small, random.lognormal(1.2, 0.6, size), amount)
    fraud = np.isin(terminal, manipulated(day, seed)) & (random.random(size) < SHARE_MANIPULATED)
    ordinary = pd.DataFrame(
        {"customer": customer, "terminal": terminal, "amount": amount, "hour": hours(random, HOURS, size), "fraud": fraud}
    )

    # A thief with a stolen card pays several times what its owner does, anywhere, often at night.
    size = random.poisson((STOLEN_LATER if new else STOLEN) * per_night / PER_NIGHT)
    customer = random.integers(0, CUSTOMERS, size)
    stolen = pd.DataFrame({"customer": customer, "terminal": random.integers(0, TERMINALS, size), "fraud": True})
    stolen["amount"] = spends[customer] * random.lognormal(1.1, 0.7, size)
    stolen["hour"] = hours(random, NIGHT_HOURS, size)

    # The new pattern: a series of small payments online within an hour, to see whether a card works.
    count = 1 + random.poisson(PAYMENTS_OF_A_SERIES - 1, random.poisson(SERIES * per_night / PER_NIGHT) if new else 0)
    size = int(count.sum())
    tested = pd.DataFrame({"customer": np.repeat(random.integers(0, CUSTOMERS, len(count)), count), "fraud": True})
    tested["terminal"] = random.choice(online, size)
    tested["amount"] = random.lognormal(1.2, 0.6, size)
    tested["hour"] = np.repeat(hours(random, HOURS, len(count)), count)

    rows = pd.concat([ordinary, stolen, tested], ignore_index=True)
    rows["second"] = rows["hour"] * 3_600 + random.integers(0, 3_600, len(rows))
    rows = rows.sort_values("second", kind="stable", ignore_index=True)
    midnight = np.datetime64(day, "us")
    return pa.table(
        {
            "transaction_id": [f"{day:%Y%m%d}-{number:05d}" for number in range(len(rows))],
            "paid_at": pa.array(midnight + rows["second"].to_numpy().astype("timedelta64[s]"), pa.timestamp("us")),
            "customer": people["customer"].to_numpy()[rows["customer"]],
            "terminal": places["terminal"].to_numpy()[rows["terminal"]],
            "amount": np.maximum(np.round(rows["amount"], 2), 0.5),
            "is_fraud": rows["fraud"].to_numpy(bool),
        }
    )


def hours(random: np.random.Generator, weights: np.ndarray, size: int) -> np.ndarray:
    """Return `size` hours of a day, drawn with these `weights`."""
    return random.choice(24, size, p=weights / weights.sum())


def main(arguments: list[str] | None = None) -> None:
    """Write the files that are missing."""
    parser = argparse.ArgumentParser(description="Make the data of the use case fraud.")
    parser.add_argument("--nights", type=int, default=NIGHTS, help=f"how many files, from {FIRST} on (default {NIGHTS})")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--again", action="store_true", help="write the files again that are there already")
    parser.add_argument("--to", type=Path, default=EXAMPLES / "fraud", help="the folder to write to")
    given = parser.parse_args(arguments)
    days = [FIRST + dt.timedelta(days=number) for number in range(given.nights)]
    files: list[File] = [(given.to / "transactions" / f"{day}.parquet", partial(transactions, day, given.seed)) for day in days]
    files.append((given.to / "customers.parquet", lambda: pa.Table.from_pandas(customers(given.seed), preserve_index=False)))
    files.append((given.to / "terminals.parquet", lambda: pa.Table.from_pandas(terminals(given.seed), preserve_index=False)))
    print(f"{given.to}: {write_missing(files, again=given.again)}")


if __name__ == "__main__":
    main()
