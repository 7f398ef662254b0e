"""Outcomes come late, twice and corrected; what is known of them is distinguished by date, and by digest."""

import datetime as dt
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.home import REPOSITORY
from pipelines.lib.core.params import load_section, parse_section
from pipelines.lib.sources.adapters import scan, typed
from pipelines.lib.sources.outcomes import known_outcomes
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.engine import UTC, connect
from tests.datasets import orders

PARTITION = dt.date(2024, 1, 12)
FIRST = dt.date(2024, 1, 2)
KNOWN = [f"2024-01-{day:02d}" for day in range(2, 9)]
"""With three days' delay the 8th is the last date whose outcome is known at the start of the 12th."""


def dataset(path: Path, **label: Any) -> Dataset:
    content = orders.params(kind="parquet", path=str(path))["dataset"]
    content["label"] |= label
    return parse_section(content, Dataset, "test")


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return orders.orders(days=14, per_day=60)


@pytest.fixture
def source(tmp_path: Path, table: pa.Table) -> Path:
    pq.write_table(table, tmp_path / "orders.parquet")
    return tmp_path / "orders.parquet"


def test_columns_that_the_rows_have_are_not_joined_again(source: Path, table: pa.Table, tmp_path: Path) -> None:
    """A feature has the name and not the value of its column: a slice by the column must not make it appear twice."""
    scored = of_date(table, "2024-01-05").select(["order_id"])
    features = scored.append_column("items", pa.array([7.0] * scored.num_rows, pa.float32()))
    pq.write_table(features, tmp_path / "features.parquet")
    with known_outcomes(dataset(source), partition=PARTITION, first=FIRST, extra_columns=("items", "channel")) as known:
        rows = known.join_outcomes("2024-01-05", tmp_path / "features.parquet")
    assert rows.column_names == ["order_id", "items", "channel", "outcome"]
    assert rows["items"].to_pylist() == [7.0] * scored.num_rows


def test_a_table_may_have_columns_of_our_names(tmp_path: Path, table: pa.Table) -> None:
    returned = pc.if_else(pc.is_valid(table["refund"]), "yes", "no")
    named = table.append_column("outcome", returned).append_column("partition", table["channel"]).append_column("contradicted", returned)
    pq.write_table(named, tmp_path / "orders.parquet")
    content = orders.params(kind="parquet", path=str(tmp_path / "orders.parquet"))["dataset"]
    content["columns"] |= {column: {"type": "string", "nulls": 1} for column in ("outcome", "partition", "contradicted")}
    content["known_later"] = ["refund", "outcome"]
    content["label"]["expression"] = "outcome = 'yes'"
    with known_outcomes(parse_section(content, Dataset, "test"), partition=PARTITION, first=FIRST) as known:
        rows = known.join_outcomes("2024-01-08", table.select(["order_id"]))
        assert known.contradicted == {}
    expected = of_date(table, "2024-01-08").sort_by("order_id")
    assert rows["order_id"].to_pylist() == expected["order_id"].to_pylist()
    assert rows["outcome"].to_pylist() == pc.cast(pc.is_valid(expected["refund"]), pa.int8()).to_pylist()
    with (
        pytest.raises(ConfigError, match=r"measure_performance\.slices names 'outcome', as a column of the published rows"),
        known_outcomes(parse_section(content, Dataset, "test"), partition=PARTITION, first=FIRST, extra_columns=["outcome"]),
    ):
        pass


def digests(declared: Dataset) -> dict[str, str]:
    with known_outcomes(declared, partition=PARTITION, first=FIRST) as known:
        return known.sha256()


def of_date(table: pa.Table, date: str) -> pa.Table:
    return table.filter(pc.equal(pc.strftime(table["placed_at"], "%Y-%m-%d"), date))


def test_the_outcomes_of_matured_dates_are_known_and_of_no_other(source: Path, table: pa.Table) -> None:
    with known_outcomes(dataset(source), partition=PARTITION, first=FIRST) as known:
        assert known.partitions == KNOWN
        for date in ("2024-01-08", "2024-01-09"):
            rows = known.join_outcomes(date, table.select(["order_id", "items"]))
            expected = of_date(table, date).sort_by("order_id") if date in KNOWN else table.slice(0, 0)
            assert rows["order_id"].to_pylist() == expected["order_id"].to_pylist()
            assert rows["outcome"].to_pylist() == pc.cast(pc.is_valid(expected["refund"]), pa.int8()).to_pylist()
            assert rows["items"].to_pylist() == expected["items"].to_pylist()


def test_columns_of_the_source_are_joined_and_rows_that_were_not_scored_are_not(source: Path, table: pa.Table, tmp_path: Path) -> None:
    scored = of_date(table, "2024-01-05").slice(10).select(["order_id"])
    pq.write_table(scored, tmp_path / "scored.parquet")
    with known_outcomes(dataset(source), partition=PARTITION, first=FIRST, extra_columns=("channel", "order_id")) as known:
        rows = known.join_outcomes("2024-01-05", tmp_path / "scored.parquet")
        assert rows.column_names == ["order_id", "channel", "outcome"]
        assert rows.num_rows == scored.num_rows
        assert rows.equals(known.join_outcomes("2024-01-05", scored))


def test_nothing_is_known_before_the_first_outcome_has_matured(source: Path) -> None:
    with known_outcomes(dataset(source), partition=FIRST, first=FIRST) as known:
        assert known.partitions == []
        assert known.sha256() == {}
        assert known.join_outcomes("2024-01-02", pa.table({"order_id": ["A-0000001"]})).num_rows == 0


@pytest.mark.costly
def test_the_same_rows_in_another_order_or_twice_are_the_same_outcomes(source: Path, table: pa.Table) -> None:
    before = digests(dataset(source))
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))
    pq.write_table(pa.concat_tables([shuffled, table.slice(100, 200)]), source)
    assert digests(dataset(source)) == before
    with known_outcomes(dataset(source), partition=PARTITION, first=FIRST) as known:
        assert known.join_outcomes("2024-01-05", table.select(["order_id"])).num_rows == of_date(table, "2024-01-05").num_rows


def test_a_correction_changes_the_digest_of_its_date_alone(source: Path, table: pa.Table) -> None:
    before = digests(dataset(source))
    row = pc.index(table["order_id"], of_date(table, "2024-01-05")["order_id"][3]).as_py()
    refunds = table["refund"].to_pylist()
    refunds[row] = None if refunds[row] else 9.5
    pq.write_table(table.set_column(table.column_names.index("refund"), "refund", pa.array(refunds)), source)
    after = digests(dataset(source))
    assert {date for date in KNOWN if before[date] != after[date]} == {"2024-01-05"}


def test_late_outcomes_are_none_and_then_some(source: Path, table: pa.Table) -> None:
    late = dataset(source, expression="refund > 20")  # NULL where nothing has come
    refunds = [
        None if str(placed)[:10] == "2024-01-05" else refund or 0.0
        for placed, refund in zip(*(table[c].to_pylist() for c in ("placed_at", "refund")), strict=True)
    ]
    whole = table.set_column(
        table.column_names.index("refund"), "refund", pa.array([refund or 0.0 for refund in table["refund"].to_pylist()])
    )
    pq.write_table(table.set_column(table.column_names.index("refund"), "refund", pa.array(refunds)), source)
    with known_outcomes(late, partition=PARTITION, first=FIRST) as known:
        before = known.sha256()
        assert known.join_outcomes("2024-01-05", table.select(["order_id"])).num_rows == 0
    pq.write_table(whole, source)
    after = digests(late)
    assert {date for date in KNOWN if before[date] != after[date]} == {"2024-01-05"}


def test_a_row_that_contradicts_itself_makes_its_date_unknown_and_is_reported_with_its_key_and_values(
    source: Path, table: pa.Table
) -> None:
    before = digests(dataset(source))
    twice = of_date(table, "2024-01-05").slice(3, 1)
    refund = None if twice["refund"][0].as_py() else 9.5
    other = twice.set_column(table.column_names.index("refund"), "refund", pa.array([refund], pa.float64()))
    pq.write_table(pa.concat_tables([table, other]), source)
    with known_outcomes(dataset(source), partition=PARTITION, first=FIRST) as known:
        [(date, fault)] = known.contradicted.items()
        assert date == "2024-01-05"
        assert re.match(f"the row with order_id {twice['order_id'][0]} was delivered 2 times .*'returned': refund", fault)
        assert str(refund) in fault
        assert known.partitions == [other for other in KNOWN if other != date]
        assert known.sha256() == {other: digest for other, digest in before.items() if other != date}
        assert known.join_outcomes(date, table.select(["order_id"])).num_rows == 0
        assert known.join_outcomes("2024-01-06", table.select(["order_id"])).num_rows > 0


def test_each_date_tells_its_first_contradiction(source: Path, table: pa.Table) -> None:
    """An append-only feed that corrects everything: no more of it is read than is reported."""
    refunds = pa.array([None if refund else 9.5 for refund in table["refund"].to_pylist()], pa.float64())
    pq.write_table(pa.concat_tables([table, table.set_column(table.column_names.index("refund"), "refund", refunds)]), source)
    with known_outcomes(dataset(source), partition=PARTITION, first=FIRST) as known:
        assert list(known.contradicted) == KNOWN
        assert (known.partitions, known.sha256()) == ([], {})
        for date, fault in known.contradicted.items():
            assert f"order_id {min(of_date(table, date)['order_id'].to_pylist())} was delivered 2 times" in fault


def test_no_outcome_and_an_outcome_do_not_contradict_each_other(source: Path, table: pa.Table) -> None:
    declared = dataset(source, expression="refund > 20")
    date = of_date(table, "2024-01-05")
    row = date.filter(pc.is_valid(date["refund"])).slice(1, 1)
    none = row.set_column(table.column_names.index("refund"), "refund", pa.array([None], pa.float64()))
    pq.write_table(pa.concat_tables([none, table]), source)
    with known_outcomes(declared, partition=PARTITION, first=FIRST) as known:
        [outcome] = known.join_outcomes("2024-01-05", row.select(["order_id"]))["outcome"].to_pylist()
        assert outcome == (row["refund"][0].as_py() > 20)


def test_an_expression_that_looks_elsewhere_is_refused(source: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"dataset\.label\.expression"),
        known_outcomes(dataset(source, expression="now() > placed_at"), partition=PARTITION, first=FIRST),
    ):
        pass


def test_a_slice_that_is_not_a_column_is_refused(source: Path) -> None:
    with (
        pytest.raises(ConfigError, match="slices names chanel, not among"),
        known_outcomes(dataset(source), partition=PARTITION, first=FIRST, extra_columns=("chanel",)),
    ):
        pass


@pytest.mark.costly
def test_of_the_flights_those_that_never_arrived_have_no_outcome() -> None:
    flights = load_section("dataset", Dataset, REPOSITORY / "params.yaml")
    with known_outcomes(flights, partition=dt.date(2013, 2, 11), first=dt.date(2013, 2, 8), extra_columns=("arr_delay", "origin")) as known:
        assert known.partitions == ["2013-02-08", "2013-02-09"]
        with connect(UTC) as (connection, scratch):
            scanned = scan(connection, flights.source, flights.columns, None, scratch)
            departed = connection.sql(
                f"SELECT {', '.join(flights.key)} FROM ({typed(scanned, flights.columns)}) WHERE scheduled_departure::DATE = '2013-02-09'"
            ).to_arrow_table()
        rows = known.join_outcomes("2013-02-09", departed)
        assert 0 < rows.num_rows < departed.num_rows  # the blizzard: more were cancelled than flew
        assert [late == (delay >= 15) for late, delay in zip(*(rows[c].to_pylist() for c in ("outcome", "arr_delay")), strict=True)] == [
            True
        ] * len(rows)


def test_a_label_that_fails_on_a_row_names_the_row(source: Path, table: pa.Table) -> None:
    declared = dataset(source, expression="order_id::INTEGER > 1")
    with (
        pytest.raises(DataError, match=r"dataset\.label\.expression is 'order_id::INTEGER > 1', .*row with order_id 'A-"),
        known_outcomes(declared, partition=PARTITION, first=FIRST),
    ):
        pass


def test_outcomes_that_are_numbers_are_known_and_infinite_ones_are_none(tmp_path: Path, table: pa.Table) -> None:
    refunds = table["refund"].to_numpy().copy()
    refunds[:200:20] = [np.inf, -np.inf] * 5
    refunds[5::50] = 1e12
    pq.write_table(
        table.set_column(table.column_names.index("refund"), "refund", pa.array(refunds, from_pandas=True)), tmp_path / "orders.parquet"
    )
    declared = dataset(tmp_path / "orders.parquet", task="regression", expression="refund")
    dates = np.array(pc.strftime(table["placed_at"], "%Y-%m-%d").to_pylist())
    with known_outcomes(declared, partition=PARTITION, first=FIRST) as known:
        for date in KNOWN:
            rows = known.join_outcomes(date, table.select(["order_id"]))
            expected = refunds[(dates == date) & np.isfinite(refunds)]
            assert rows["outcome"].type == pa.float64()
            assert sorted(rows["outcome"].to_pylist()) == sorted(expected.tolist())
