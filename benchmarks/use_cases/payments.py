"""A table of card payments with rare fraud, made from a seed: any number of rows, half a year, about one payment in a hundred a fraud.

Customers pay at terminals near them. Three frauds, as in Le Borgne et al. 2022, *Reproducible Machine Learning for Credit Card Fraud Detection*: an amount
that nobody else pays, a terminal that is compromised for four weeks, and a stolen card with which large sums are paid for two weeks.
"""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FIRST, DAYS = date(2025, 1, 1), 183
CUSTOMERS, TERMINALS = 5_000, 10_000
SEED = 7

PARAMS = """
dataset:
  name: payments
  source: {kind: parquet, path: events.parquet}
  key: [payment]
  event_time: paid_at
  label: {name: fraud, expression: confirmed, delay_days: 7}
  columns:
    payment: {type: integer}
    paid_at: {type: timestamp}
    customer: {type: integer}
    terminal: {type: integer}
    amount: {type: float, minimum: 0}
    confirmed: {type: boolean, nulls: 1}
  known_later: [confirmed]
features:
  numeric:
    amount: {missing: -1}
  calendar: [hour, weekday]
  same_day:
    payments_of_customer: {by: [customer]}
  lagged:
    payments_7d: {by: [customer], statistic: count, window_days: 7}
    payments_30d: {by: [customer], statistic: count, window_days: 30}
    amount_7d: {by: [customer], value: amount, window_days: 7, prior_weight: 1}
    amount_30d: {by: [customer], value: amount, window_days: 30, prior_weight: 1}
    fraud_terminal_7d: {by: [terminal], window_days: 7, prior_weight: 5}
    fraud_terminal_30d: {by: [terminal], window_days: 30, prior_weight: 5}
profile: {bins: 10, window_nights: 7, floor: 0.0001}
"""
"""Table and features. The sections of the stages are those of the default use case."""


def payments(rows: int) -> pa.Table:
    """Return `rows` payments in the order of their time; the same for the same number."""
    rng = np.random.default_rng(SEED)
    day = np.sort(rng.integers(0, DAYS, rows))
    second = np.clip(rng.normal(43_200, 20_000, rows), 0, 86_399).astype(np.int64)
    moment = np.sort(day * 86_400 + second)
    day = moment // 86_400
    habit = rng.gamma(2.0, 1.0, CUSTOMERS)
    customer = rng.choice(CUSTOMERS, rows, p=habit / habit.sum())
    usual = rng.uniform(5, 100, CUSTOMERS)[customer]
    near = rng.integers(0, TERMINALS, (CUSTOMERS, 20))
    terminal = near[customer, rng.integers(0, 20, rows)]
    amount = np.abs(rng.normal(usual, usual / 2))
    stolen = _held(rng, CUSTOMERS, each_day=3, days=14)[customer, day] & (rng.random(rows) < 1 / 3)
    amount = np.round(np.where(stolen, 5 * amount, amount), 2)
    compromised = _held(rng, TERMINALS, each_day=2, days=28)[terminal, day] & (rng.random(rows) < 0.9)
    fraud = (amount > 220) & (rng.random(rows) < 0.7) | compromised | stolen
    epoch = np.datetime64(FIRST.isoformat(), "us")
    return pa.table(
        {
            "payment": np.arange(rows, dtype=np.int64),
            "paid_at": epoch + moment.astype("timedelta64[s]").astype("timedelta64[us]"),
            "customer": customer.astype(np.int64),
            "terminal": terminal.astype(np.int64),
            "amount": amount,
            "confirmed": fraud,
        }
    )


def write_payments(rows: int, directory: Path) -> None:
    """Write ``events.parquet`` to `directory`."""
    pq.write_table(payments(rows), directory / "events.parquet", compression="zstd")


def partition() -> date:
    """Return the date as of which all labels but those of the last week are known."""
    return FIRST + timedelta(days=DAYS)


def _held(rng: np.random.Generator, count: int, *, each_day: int, days: int) -> np.ndarray:
    """Return which of `count` things a thief holds on which day [count, DAYS]: `each_day` are taken every day, for `days`."""
    held = np.zeros((count, DAYS), dtype=bool)
    for start in range(DAYS):
        held[rng.choice(count, each_day, replace=False), start : start + days] = True
    return held
