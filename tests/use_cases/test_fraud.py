"""The data of the use case fraud: the same bytes each time, rare positives, and a pattern that sets in."""

import datetime as dt
import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from use_cases.fraud import generate

BEFORE = [generate.NEW_PATTERN - dt.timedelta(days=days) for days in range(20, 0, -1)]
AFTER = [generate.NEW_PATTERN + dt.timedelta(days=days) for days in range(20)]


@functools.cache
def night(day: dt.date) -> pd.DataFrame:
    return generate.transactions(day).to_pandas().assign(day=day)


def payments(days: list[dt.date]) -> pd.DataFrame:
    return pd.concat([night(day) for day in days], ignore_index=True)


def series_of_small_payments(rows: pd.DataFrame) -> pd.Series:
    """Return which rows are one of at least three payments below 10 that a customer makes on one day."""
    small = rows[rows["amount"] < 10]
    return small.groupby(["customer", "day"])["amount"].transform("size") >= 3


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("one", "other"):
        generate.main(["--nights", "2", "--to", str(tmp_path / folder)])
    generate.main(["--nights", "2", "--to", str(tmp_path / "seeded"), "--seed", "12"])
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert [str(path) for path in files] == [
        "customers.parquet",
        "terminals.parquet",
        "transactions/2025-01-01.parquet",
        "transactions/2025-01-02.parquet",
    ]
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "other" / path).read_bytes()
        assert (tmp_path / "one" / path).read_bytes() != (tmp_path / "seeded" / path).read_bytes()
    assert "4 files with" in capsys.readouterr().out


def test_a_file_that_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate.main(["--nights", "1", "--to", str(tmp_path)])
    file = tmp_path / "transactions" / "2025-01-01.parquet"
    made = file.read_bytes()
    file.write_bytes(b"of somebody else")
    generate.main(["--nights", "2", "--to", str(tmp_path)])
    assert file.read_bytes() == b"of somebody else"
    assert "1 files" in capsys.readouterr().out
    generate.main(["--nights", "1", "--to", str(tmp_path), "--again"])
    assert file.read_bytes() == made


def test_a_night_is_the_same_regardless_of_the_other_nights() -> None:
    day = dt.date(2025, 3, 1)
    assert generate.transactions(day).equals(generate.transactions(day))
    assert not generate.transactions(day).equals(generate.transactions(day, seed=12))


def test_the_side_tables_hold_every_customer_and_terminal() -> None:
    rows = payments(BEFORE[:2])
    assert set(rows["customer"]) <= set(generate.customers()["customer"])
    assert set(rows["terminal"]) <= set(generate.terminals()["terminal"])
    assert rows["transaction_id"].is_unique
    assert rows.groupby("day")["paid_at"].is_monotonic_increasing.all()


@pytest.mark.costly
def test_fraud_is_rare_before_and_after() -> None:
    assert 0.005 < payments(BEFORE)["is_fraud"].mean() < 0.01
    assert 0.007 < payments(AFTER)["is_fraud"].mean() < 0.013


@pytest.mark.costly
def test_a_new_pattern_sets_in_on_its_date() -> None:
    before, after = payments(BEFORE), payments(AFTER)
    assert (before["amount"] < 10).mean() < 0.3 < 0.4 < (after["amount"] < 10).mean(), "everybody pays small amounts more often"
    share = {
        name: rows[rows["amount"] < 10].loc[series_of_small_payments(rows), "is_fraud"].mean()
        for name, rows in (("before", before), ("after", after))
    }
    assert share["before"] < 0.05
    assert share["after"] > 0.15, "thieves test stolen cards with a series of small payments"


def test_fewer_rows_can_be_asked_for() -> None:
    few = generate.transactions(dt.date(2025, 3, 1), per_night=200)
    assert isinstance(few, pa.Table)
    assert 200 < few.num_rows < 300, "a Saturday has 1.2 of an average day"
    assert np.ptp(few["amount"].to_numpy()) > 0
