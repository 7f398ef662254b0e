"""Joins as of a moment: the last value that was known, as pandas finds it, and the same in history and in its night."""

import datetime as dt
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.features.compute import Features, featurize
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset

START = dt.datetime.fromisoformat("2024-03-01")
NIGHTS = 6


def declared(directory: Path, after: int | None, days: int = 7, key: tuple[str, ...] = ("k", "since")) -> tuple[Dataset, Features]:
    content = {
        "name": "t",
        "source": {"kind": "parquet", "path": str(directory / "t.parquet")},
        "key": ["id"],
        "event_time": "at",
        "label": {"name": "bad", "expression": "id >= 0", "delay_days": 0},
        "columns": {"id": {"type": "integer"}, "at": {"type": "timestamp"}, "k": {"type": "string", "nulls": 1}},
        "tables": {
            "prices": {
                "source": {"kind": "parquet", "path": str(directory / "prices.parquet")},
                "key": list(key),
                "event_time": "since",
                "join_days": days,
                "columns": {"k": {"type": "string"}, "since": {"type": "timestamp"}, "price": {"type": "integer"}},
            }
        },
    }
    features = {
        "joins": {"prices": {"key": {"k": "k"}, "available_after_minutes": after}},
        "numeric": {"price": {"expression": "prices_price", "missing": -1}},
    }
    return parse_section(content, Dataset, "dataset"), parse_section(features, Features, "features")


def computed(directory: Path, declared: tuple[Dataset, Features], start: dt.date, end: dt.date) -> pa.Table:
    raw = directory / f"raw-{len(list(directory.iterdir()))}"
    extract(declared[0], partition=end, start=start, end=end, lookback_days=0, target=raw)
    featurize(*declared, raw=raw, first=start, end=end, labelled=False, target=raw / "features.parquet")
    return pq.read_table(raw / "features.parquet")


MINUTES = st.integers(0, NIGHTS * 1440 - 1)
KEYS = st.sampled_from(["a", "b", None])


@pytest.mark.costly
@settings(max_examples=12, deadline=None)
@given(
    events=st.lists(st.tuples(MINUTES, KEYS), min_size=1, max_size=12),
    prices=st.lists(st.tuples(MINUTES, st.sampled_from(["a", "b"])), max_size=12, unique=True),
    after=st.sampled_from([0, 90, 1440, -1440, -300]),
    days=st.sampled_from([0, 2, 7]),
)
def test_the_last_known_value_is_that_of_pandas_and_of_the_night(
    events: list[tuple[int, str | None]],
    prices: list[tuple[int, str]],
    after: int,
    days: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory = tmp_path_factory.mktemp("joins")
    left = pd.DataFrame(
        {"id": range(len(events)), "at": [START + dt.timedelta(minutes=one) for one, _ in events], "k": [key for _, key in events]}
    )
    right = pd.DataFrame(
        {
            "k": pd.Series([key for _, key in prices], dtype="str"),
            "since": pd.to_datetime([START + dt.timedelta(minutes=one) for one, _ in prices]),
            "price": pd.Series(range(len(prices)), dtype="int64"),
        }
    )
    micro = pa.timestamp("us")
    pq.write_table(
        pa.table({"id": left["id"], "at": pa.array(left["at"], micro), "k": pa.array([key for _, key in events], pa.string())}),
        directory / "t.parquet",
    )
    pq.write_table(
        pa.table(
            {
                "k": pa.array([key for _, key in prices], pa.string()),
                "since": pa.array(right["since"], micro),
                "price": pa.array(range(len(prices)), pa.int64()),
            }
        ),
        directory / "prices.parquet",
    )
    found = declared(directory, after, days)
    first = START.date()
    history = computed(directory, found, first, first + dt.timedelta(days=NIGHTS))

    midnight = left["at"].dt.normalize()
    left["until"] = pd.concat([left["at"], midnight - pd.Timedelta(minutes=after)], axis=1).min(axis=1)
    known = left[left["k"].notna()].astype({"k": "str", "until": "datetime64[us]"}).sort_values("until")
    right = right.astype({"since": "datetime64[us]"}).sort_values("since")
    last = pd.merge_asof(known, right, left_on="until", right_on="since", by="k")
    near = last[last["since"].dt.normalize() >= last["at"].dt.normalize() - pd.Timedelta(days=days)]
    expected = dict.fromkeys(range(len(events)), -1.0) | dict(zip(near["id"], near["price"], strict=True))
    assert dict(zip(history["id"].to_pylist(), history["price"].to_pylist(), strict=True)) == expected

    night = first + dt.timedelta(days=events[0][0] // 1440)
    of_night = computed(directory, found, night, night + dt.timedelta(days=1))
    assert of_night.equals(history.filter(pc.equal(history["partition"], str(night))))


def test_a_table_whose_time_is_not_in_its_key_cannot_be_joined_as_of(tmp_path: Path) -> None:
    moment = pa.array([START], pa.timestamp("us"))
    pq.write_table(pa.table({"id": [1], "at": moment, "k": ["a"]}), tmp_path / "t.parquet")
    pq.write_table(pa.table({"k": ["a"], "since": moment, "price": [1]}), tmp_path / "prices.parquet")
    with pytest.raises(ConfigError, match=r"joins\.prices\.available_after_minutes is 0, but the time of the table is not in its key"):
        computed(tmp_path, declared(tmp_path, 0, key=("k",)), START.date(), START.date() + dt.timedelta(days=1))
    with pytest.raises(ConfigError, match=r"joins\.prices joins on k; join on the whole key of the table: k, since"):
        computed(tmp_path, declared(tmp_path, None), START.date(), START.date() + dt.timedelta(days=1))
