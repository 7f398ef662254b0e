"""Features: no leak, the same bits in history and in the night, and each kind computed as documented."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.params import load_section, parse_section
from pipelines.lib.features.compute import Features, featurize, identity, lookback_days
from pipelines.lib.features.signature import KEY
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset
from tests.datasets import orders

DAY = dt.timedelta(days=1)
FIRST = dt.date(2024, 1, 1)
REPOSITORY = Path(__file__).resolve().parents[4]


class World:
    """A small dataset in a directory of its own: {id, t, k, x, out}, `out` known `delay` days after the date."""

    def __init__(self, directory: Path, rows: list[dict[str, Any]], delay: int = 1, **features: Any) -> None:
        self.directory = directory
        columns = {"id": "integer", "t": "timestamp", "k": "string", "x": "float", "out": "float"}
        types = {"id": pa.int64(), "t": pa.timestamp("us"), "k": pa.string(), "x": pa.float64(), "out": pa.float64()}
        self.table = pa.Table.from_pylist(
            [{"id": number, "t": at(0), "k": None, "x": None, "out": None, **row} for number, row in enumerate(rows)], pa.schema(types)
        )
        pq.write_table(self.table, directory / "t.parquet")
        self.dataset = parse_section(
            {
                "name": "t",
                "source": {"kind": "parquet", "path": str(directory / "t.parquet")},
                "key": ["id"],
                "event_time": "t",
                "label": {"name": "bad", "expression": "out > 0.5", "delay_days": delay},
                "columns": {column: {"type": kind} for column, kind in columns.items()},
                "known_later": ["out"],
                "tables": {
                    "side": {
                        "source": {"kind": "csv", "path": str(directory / "side.csv")},
                        "key": ["k"],
                        "columns": {"k": {"type": "string"}, "v": {"type": "float"}},
                    }
                },
            },
            Dataset,
            "dataset",
        )
        self.features = parse_section(features, Features, "features")
        self.side("k,v\na,1\nb,2\n")

    def side(self, content: str) -> None:
        (self.directory / "side.csv").write_text(content)

    def _run(self, *, partition: dt.date, start: dt.date, end: dt.date, labelled: bool) -> pa.Table:
        raw = self.directory / f"raw-{partition}-{labelled}-{len(list(self.directory.iterdir()))}"
        extract(
            self.dataset, partition=partition, start=start, end=end, lookback_days=lookback_days(self.dataset, self.features), target=raw
        )
        featurize(self.dataset, self.features, raw=raw, first=start, end=end, labelled=labelled, target=raw / "features.parquet")
        return pq.read_table(raw / "features.parquet")

    def night(self, date: dt.date) -> pa.Table:
        return self._run(partition=date, start=date, end=date + DAY, labelled=False)

    def history(self, partition: dt.date, start: dt.date = FIRST) -> pa.Table:
        return self._run(partition=partition, start=start, end=partition, labelled=True)


def at(day: int, hour: int = 12) -> dt.datetime:
    return dt.datetime.combine(FIRST + day * DAY, dt.time(hour))


def bits(table: pa.Table, names: list[str]) -> dict[Any, bytes]:
    """Return the exact bytes of each row's features by its id, numbers first, then text."""
    texts = [name for name in names if table.schema.field(name).type == pa.string()]
    matrix = np.column_stack([table[name].to_numpy() for name in names if name not in texts]).astype("<f4")
    words = list(zip(*(table[name].to_pylist() for name in texts), strict=True)) or [()] * len(matrix)
    return {
        key: matrix[number].tobytes() + (repr(words[number]).encode() if texts else b"")
        for number, key in enumerate(table.column(0).to_pylist())
    }


HELD = "CASE WHEN abs(x) BETWEEN 1e30 AND 3.5e38 THEN 1 ELSE x END"
"""`x` without the finite numbers that a lagged value refuses; NaN and infinities stay."""

ALL_KINDS: dict[str, Any] = {
    "joins": {"side": {"key": {"k": "k"}}},
    "numeric": {"x": {"missing": -5}, "twice": {"expression": "x * 2 + coalesce(side_v, 0)", "missing": 0}},
    "categorical": {"k_code": {"expression": "k", "values": ["a", "b"]}, "word": {"expression": "k || hour(t)"}},
    "calendar": ["hour", "minute_of_day", "weekday", "day_of_month", "day_of_year", "month"],
    "holidays": {"dates": ["2024-01-03"], "within_days": 2},
    "same_day": {"same_k": {"by": ["k"]}, "same_day": {"by": []}},
    "lagged": {
        "bad_all": {"window_days": 2, "nothing_seen": 0.25},
        "bad_k": {"by": ["k"], "window_days": 3, "prior_weight": 2},
        "bad_joined": {"by": ["side_v", "hour(t) > 11"], "window_days": 5, "prior_weight": 0.5},
        "out_k": {"by": ["k"], "value": f"out * ({HELD})", "window_days": 4, "prior_weight": 1},
        "n_k": {"by": ["k"], "statistic": "count", "window_days": 4},
        "x_k_at_once": {"by": ["k"], "value": HELD, "known": "at_once", "window_days": 3, "prior_weight": 1},
        "x_k": {"by": ["k"], "value": HELD, "window_days": 3, "prior_weight": 1},
        "rows_k_at_once": {"by": ["k"], "value": "1", "known": "at_once", "statistic": "count", "window_days": 2},
    },
}

row_strategy = st.fixed_dictionaries(
    {
        "t": st.builds(at, st.integers(0, 9), st.integers(0, 23)),
        "k": st.sampled_from(["a", "b", "c", None]),
        "x": st.one_of(st.none(), st.floats(width=32, allow_nan=True, allow_infinity=True)),
        "out": st.one_of(st.none(), st.floats(-1e6, 1e6)),
    }
)


few = settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
"""Each example runs whole stages, so there are few, and none is shrunk."""


@pytest.mark.costly
@few
@given(
    rows=st.lists(row_strategy, min_size=5, max_size=40),
    delay=st.integers(0, 3),
    start=st.integers(0, 3),
    nights=st.sets(st.integers(4, 9), max_size=3),
)
def test_history_and_night_agree_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], delay: int, start: int, nights: set[int]
) -> None:
    """Invariant I6, for any rows, any delay and any beginning of the history."""
    world = World(tmp_path_factory.mktemp("world"), rows, delay, **ALL_KINDS)
    names = world.features.names
    history = bits(world.history(FIRST + 11 * DAY, FIRST + start * DAY), names)
    for day in {start, *nights}:
        night = bits(world.night(FIRST + day * DAY), names)
        assert {key: vector for key, vector in night.items() if key in history} == {key: history[key] for key in night if key in history}
        numbers = 4 * (len(names) - 1)
        assert all(np.isfinite(np.frombuffer(vector[:numbers], "<f4")).all() for vector in night.values())


@pytest.mark.costly
@few
@given(rows=st.lists(row_strategy, min_size=5, max_size=25), delay=st.integers(0, 3), night=st.integers(0, 9), data=st.data())
def test_what_is_not_known_yet_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], delay: int, night: int, data: st.DataObject
) -> None:
    """The features of a night do not depend on its own outcomes, nor on those of rows that have not matured."""
    changed = [
        row if (row["t"].date() - FIRST).days + delay < night else {**row, "out": data.draw(st.one_of(st.none(), st.floats(-1e6, 1e6)))}
        for row in rows
    ]
    date = FIRST + night * DAY
    worlds = [World(tmp_path_factory.mktemp("world"), content, delay, **ALL_KINDS) for content in (rows, changed)]
    before, after = (bits(world.night(date), world.features.names) for world in worlds)
    assert before == after


def test_lagged_means_are_what_the_formula_says(tmp_path: Path) -> None:
    rows = [
        {"t": at(0), "k": "a", "out": 1.0},
        {"t": at(1), "k": "a", "out": 0.0},
        {"t": at(1), "k": "b", "out": 1.0},
        {"t": at(2), "k": "a", "out": 1.0},  # known at the start of day 4, not of day 3
        {"t": at(3), "k": "a"},
        {"t": at(3), "k": "c"},
        {"t": at(3)},
    ]
    lagged = {
        "plain": {"by": ["k"], "window_days": 9, "nothing_seen": 0.5},
        "smooth": {"by": ["k"], "window_days": 9, "prior_weight": 4},
        "short": {"by": ["k"], "window_days": 1, "prior_weight": 4},
        "all": {"window_days": 9},
        "value": {"by": ["k"], "window_days": 9, "value": "out * 0.1", "nothing_seen": 7},
        "count": {"by": ["k"], "window_days": 9, "statistic": "count"},
    }
    night = World(tmp_path, rows, lagged=lagged).night(FIRST + 3 * DAY).to_pylist()
    mean = 2 / 3
    seen, unseen, missing = ({name: row[name] for name in lagged} for row in night)
    approximately = {"plain": 0.5, "smooth": (1 + 4 * mean) / 6, "short": (0 + 4 * 0.5) / 5, "all": mean, "value": 0.05, "count": 2}
    assert seen == pytest.approx(approximately)
    never = {"plain": 0.5, "smooth": mean, "short": 0.5, "all": mean, "value": 7, "count": 0}
    assert unseen == pytest.approx(never)
    assert missing == pytest.approx(never)


@pytest.mark.costly
def test_a_value_that_is_known_at_once_does_not_wait_for_the_label(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"t": at(0), "k": "a", "x": 100.0},
        {"t": at(1), "k": "a", "x": 10.0, "out": 1.0},
        {"t": at(3), "k": "a", "x": 20.0},
        {"t": at(4, 23), "k": "a", "x": 40.0},
        {"t": at(4), "k": "b", "x": 5.0},
        {"t": at(5), "k": "a", "x": 7000.0},
    ]
    of_k: dict[str, Any] = {"by": ["k"], "value": "x"}
    lagged: dict[str, Any] = {
        "at_once": {**of_k, "known": "at_once", "window_days": 2},  # days 3 and 4
        "longer": {**of_k, "known": "at_once", "window_days": 4},  # days 1 to 4
        "smooth": {**of_k, "known": "at_once", "window_days": 2, "prior_weight": 2},
        "all": {"value": "x", "known": "at_once", "window_days": 1},
        "rows": {"by": ["k"], "value": "1", "known": "at_once", "statistic": "count", "window_days": 5},
        "late": {**of_k, "window_days": 2},  # the label has a delay of 3: days 0 and 1
        "outcomes": {"by": ["k"], "statistic": "count", "window_days": 5},
    }
    world = World(tmp_path, rows, delay=3, lagged=lagged)
    wanted = {
        "at_once": 30.0,
        "longer": 70 / 3,
        "smooth": (60 + 2 * 65 / 3) / 4,
        "all": 22.5,
        "rows": 4,
        "late": 55.0,
        "outcomes": 1,
    }
    [row] = world.night(FIRST + 5 * DAY).to_pylist()
    assert {name: row[name] for name in lagged} == pytest.approx(wanted)
    world.table = world.table.set_column(4, "out", pa.array([1.0] * len(rows)))
    pq.write_table(world.table, tmp_path / "t.parquet")
    [later] = [found for found in world.history(FIRST + 9 * DAY).to_pylist() if found["id"] == 5]
    assert {name: later[name] for name in lagged if name != "outcomes"} == {name: row[name] for name in lagged if name != "outcomes"}
    assert lookback_days(world.dataset, world.features) == 3 + 5
    at_once = parse_section({"lagged": {"v": lagged["longer"]}}, Features, "features")
    assert lookback_days(world.dataset, at_once) == 4


def test_only_a_value_that_waits_for_the_label_keeps_the_identity(tmp_path: Path) -> None:
    world, declared = World(tmp_path, []), {"by": ["k"], "value": "x", "window_days": 2}
    digests = [
        identity(world.dataset, parse_section({"lagged": {"v": {**declared, **known}}}, Features, "features"))["sha256"]
        for known in ({}, {"known": "with_label"}, {"known": "at_once"})
    ]
    assert digests[0] == digests[1] != digests[2]


def test_the_first_day_has_seen_nothing(tmp_path: Path) -> None:
    lagged = {"rate": {"by": ["k"], "window_days": 3, "prior_weight": 10, "nothing_seen": 0.125}}
    [row] = World(tmp_path, [{"k": "a", "out": 1.0}], lagged=lagged).night(FIRST).to_pylist()
    assert row["rate"] == 0.125


def test_missing_and_unseen_are_told_apart(tmp_path: Path) -> None:
    features = {
        "numeric": {
            "x": {"missing": -5},
            "large": {"expression": "x * 1e300", "missing": 0},
            "flag": {"expression": "k = 'a'", "missing": -1},
        },
        "categorical": {"code": {"expression": "k", "values": ["b", "a"]}},
    }
    rows = [{"k": "a", "x": 1.5}, {"k": "z", "x": float("nan")}, {"k": None, "x": float("inf")}, {"k": "b", "x": None}]
    night = World(tmp_path, rows, **features).night(FIRST)
    assert night["x"].to_pylist() == [1.5, -5, -5, -5]
    assert night["code"].to_pylist() == [1, -1, -2, 0]
    assert night["flag"].to_pylist() == [1, 0, -1, 0]
    assert np.isfinite(night["large"].to_numpy()).all()


@pytest.mark.costly
def test_calendar_and_holidays(tmp_path: Path) -> None:
    features = {"calendar": ALL_KINDS["calendar"], "holidays": {"dates": ["2024-01-03", "2024-01-04"], "within_days": 2}}
    rows = [{"t": at(day, 5)} for day in range(8)]
    world = World(tmp_path, rows, **features)
    nights = [world.night(FIRST + day * DAY).to_pylist()[0] for day in range(8)]
    assert [row["days_from_holiday"] for row in nights] == [-2, -1, 0, 0, 1, 2, 3, 3]
    assert {name: nights[6][name] for name in ALL_KINDS["calendar"]} == {
        "hour": 5, "minute_of_day": 300, "weekday": 7, "day_of_month": 7, "day_of_year": 7, "month": 1,
    }  # fmt: skip


def test_same_day_counts_rows_of_that_date_only(tmp_path: Path) -> None:
    rows = [{"k": "a"}, {"k": "a"}, {"k": "b"}, {"k": None}, {"k": "a", "t": at(1)}]
    night = World(tmp_path, rows, same_day={"n": {"by": ["k"]}, "all": {"by": []}}).night(FIRST)
    assert night["n"].to_pylist() == [2, 2, 1, 0]
    assert night["all"].to_pylist() == [4, 4, 4, 4]


@pytest.mark.costly
def test_a_side_table_with_a_repeated_key_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path, [{"k": "a"}], joins={"side": {"key": {"k": "k"}}}, numeric={"v": {"expression": "side_v", "missing": 0}})
    assert world.night(FIRST)["v"].to_pylist() == [1]
    world.side("k,v\na,1\nb,2\na,3\n")
    with pytest.raises(DataError, match=r"side table side holds 2 rows with the key .* = \(a\)"):
        world.night(FIRST)


@pytest.mark.costly
def test_a_side_table_with_a_time_shows_only_what_was_up_to_the_row_s_date(tmp_path: Path) -> None:
    """Rows of the night before and of the next morning are read, but a row of the day must not join the morning."""
    world = World(tmp_path, [{"t": at(0)}, {"t": at(1)}, {"t": at(2)}])
    content = world.dataset.model_dump(mode="json")
    content["tables"] = {
        "side": {
            "source": {"kind": "csv", "path": str(tmp_path / "side.csv")}, "key": ["t"], "event_time": "t",
            "columns": {"t": {"type": "timestamp"}, "v": {"type": "float"}},
        }
    }  # fmt: skip
    world.side("t,v\n2024-01-01 12:00:00,1\n2024-01-02 12:00:00,2\n2024-01-03 12:00:00,3\n")
    world.dataset = parse_section(content, Dataset, "dataset")
    for shift, expected in (("0", 2.0), ("24", -1.0), ("-24", 1.0)):
        declared = {
            "joins": {"side": {"key": {"t": f"t + INTERVAL ({shift}) HOUR"}}},
            "numeric": {"v": {"expression": "side_v", "missing": -1}},
        }
        world.features = parse_section(declared, Features, "features")
        assert world.night(FIRST + DAY)["v"].to_pylist() == [expected]


@pytest.mark.costly
@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"numeric": {"out": {"missing": 0}}}, r"numeric\.out .*known only after the event"),
        ({"numeric": {"y": {"expression": "x + out", "missing": 0}}}, r"numeric\.y .*'out' is known only after"),
        ({"categorical": {"y": {"expression": "out", "values": ["1"]}}}, r"categorical\.y .*known only after"),
        ({"same_day": {"y": {"by": ["out > 1"]}}}, r"same_day\.y\.by .*known only after"),
        ({"lagged": {"y": {"by": ["out > 1"], "window_days": 3}}}, r"lagged\.y\.by .*known only after"),
        ({"joins": {"side": {"key": {"k": "CASE WHEN out > 1 THEN 'a' END"}}}}, r"joins\.side\.key\.k .*known only after"),
        ({"numeric": {"k": {"missing": 0}}}, "is a VARCHAR; it must be a number"),
        ({"lagged": {"y": {"value": "k", "window_days": 3}}}, r"lagged\.y\.value is a VARCHAR"),
        (
            {"lagged": {"y": {"value": "x + OUT", "known": "at_once", "window_days": 3}}},
            r"lagged\.y\.value is declared as known: at_once, but 'OUT' is known only after",
        ),
        ({"lagged": {"y": {"known": "at_once", "window_days": 3}}}, r"lagged\.y: .*known: at_once needs a `value`"),
        ({"categorical": {"k": {"values": []}}}, r"categorical\.k\.values: .*at least 1 item"),
        ({"categorical": {"k": {"most": 0}}}, r"categorical\.k\.most"),
        ({"numeric": {"id": {"missing": 0}}}, "'id' shares its name"),
        ({"numeric": {"bad": {"expression": "x", "missing": 0}}}, "'bad' shares its name"),
        ({"numeric": {"Bad": {"expression": "x", "missing": 0}}}, "'Bad' shares its name"),
        ({"numeric": {"Hour": {"expression": "x", "missing": 0}}, "calendar": ["hour"]}, "'Hour' shares its name"),
        ({"numeric": {"hour": {"expression": "x", "missing": 0}}, "calendar": ["hour"]}, "'hour' shares its name"),
        ({"numeric": {"a b": {"expression": "x", "missing": 0}}}, "use letters"),
        ({"joins": {"planes": {"key": {"k": "k"}}}}, "names 'planes', not among"),
        ({"joins": {"side": {"key": {}}}}, "join on the whole key"),
        ({"numeric": {"v": {"expression": "1) UNION ALL (SELECT 1", "missing": 0}}}, r"numeric\.v is .*exactly one"),
        ({"numeric": {"v": {"expression": "epoch(age(t))", "missing": 0}}}, r"numeric\.v is .*age\(\) is not known"),
        ({"joins": {"side": {"key": {"k": "x"}}}, "numeric": {"v": {"expression": "side_w", "missing": 0}}}, "no column 'side_w'"),
    ],
)
def test_a_declaration_that_leaks_or_cannot_be_is_refused(tmp_path: Path, features: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        World(tmp_path, [{"k": "a"}], **features).night(FIRST)


def test_a_column_of_the_label_is_not_known_at_once_though_nobody_said_that_it_is_late(tmp_path: Path) -> None:
    world = World(tmp_path, [{"k": "a"}], lagged={"y": {"value": "x * 2", "known": "at_once", "window_days": 3}})
    content = world.dataset.model_dump(mode="json")
    content["label"]["expression"] = "X > 3"
    world.dataset = parse_section(content, Dataset, "dataset")
    with pytest.raises(ConfigError, match=r"lagged\.y\.value is declared as known: at_once, but 'x' decides the label"):
        world.night(FIRST)


def test_a_label_must_be_a_boolean(tmp_path: Path) -> None:
    world = World(tmp_path, [{"out": 1.0}])
    content = world.dataset.model_dump(mode="json")
    content["label"]["expression"] = "out"
    world.dataset = parse_section(content, Dataset, "dataset")
    with pytest.raises(ConfigError, match=r"is a DOUBLE; it must be a BOOLEAN: 'out' is not .*`expression: out > 0`"):
        world.history(FIRST + DAY)


@pytest.mark.costly
def test_history_has_only_rows_whose_outcome_was_known(tmp_path: Path) -> None:
    """Also for a label that never is NULL: `refund IS NOT NULL` says False of what is simply not known yet."""
    orders.prepare(tmp_path)
    content = orders.params()
    content["dataset"]["source"]["path"] = str(tmp_path / "orders.parquet")
    content["dataset"]["tables"]["products"]["source"]["path"] = str(tmp_path / "products.csv")
    dataset, features = parse_section(content["dataset"], Dataset, "dataset"), parse_section(content["features"], Features, "features")
    partition = dt.date(2024, 2, 1)
    extract(
        dataset, partition=partition, start=FIRST, end=partition, lookback_days=lookback_days(dataset, features), target=tmp_path / "raw"
    )
    featurize(dataset, features, raw=tmp_path / "raw", first=FIRST, end=partition, labelled=True, target=tmp_path / "f.parquet")
    table = pq.read_table(tmp_path / "f.parquet")
    assert max(table["partition"].to_pylist()) == "2024-01-28"
    assert 0.05 < np.mean(table["returned"].to_numpy()) < 0.4
    assert table.schema.field("returned").type == pa.int8()
    assert table.column_names == ["order_id", "placed_at", "partition", "returned", *features.names]
    assert {str(table.schema.field(name).type) for name in features.names} == {"float"}


@pytest.mark.costly
def test_the_file_carries_the_identity_of_its_features(tmp_path: Path) -> None:
    world = World(tmp_path, [{"k": "a"}], **ALL_KINDS)
    assert json.loads(world.night(FIRST).schema.metadata[KEY.encode()]) == identity(world.dataset, world.features)


@pytest.mark.costly
def test_how_many_dates_are_held_at_a_time_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"t": at(number % 9), "k": "abc"[number % 3], "x": number, "out": number % 2} for number in range(60)]
    world = World(tmp_path, rows, **ALL_KINDS)
    whole = world.history(FIRST + 8 * DAY)
    for rows_at_a_time in (1, 20):
        monkeypatch.setattr("pipelines.lib.features.query._CHUNK", rows_at_a_time)
        assert world.history(FIRST + 8 * DAY).equals(whole)
    assert whole.num_rows > 40


def test_the_identity_follows_the_declaration_and_not_the_place(tmp_path: Path) -> None:
    world = World(tmp_path, [], **ALL_KINDS)
    before = identity(world.dataset, world.features)["sha256"]
    changed = {**ALL_KINDS, "numeric": {**ALL_KINDS["numeric"], "x": {"missing": -6}}}
    assert identity(world.dataset, parse_section(changed, Features, "features"))["sha256"] != before
    reordered = {**ALL_KINDS, "numeric": dict(reversed(ALL_KINDS["numeric"].items()))}
    assert identity(world.dataset, parse_section(reordered, Features, "features"))["sha256"] != before
    moved = world.dataset.model_copy(update={"source": world.dataset.source.model_copy(update={"path": "elsewhere.parquet"})})
    assert identity(moved, world.features)["sha256"] == before
    later = world.dataset.model_copy(update={"label": world.dataset.label.model_copy(update={"delay_days": 9})})
    assert identity(later, world.features)["sha256"] != before


def test_the_lookback_is_the_longest_window_and_the_delay(tmp_path: Path) -> None:
    assert lookback_days(*_of(World(tmp_path, [], delay=3, **ALL_KINDS))) == 3 + 5
    assert lookback_days(*_of(World(tmp_path, [], delay=3))) == 0


@pytest.mark.slow
def test_real_flights_agree_in_history_and_in_their_night(tmp_path: Path) -> None:
    dataset = load_section("dataset", Dataset, REPOSITORY / "params.yaml")
    features = load_section("features", Features, REPOSITORY / "params.yaml")
    lookback = lookback_days(dataset, features)
    start, partition = dt.date(2013, 3, 8), dt.date(2013, 3, 13)
    extract(dataset, partition=partition, start=start, end=partition, lookback_days=lookback, target=tmp_path / "history")
    featurize(dataset, features, raw=tmp_path / "history", first=start, end=partition, labelled=True, target=tmp_path / "h.parquet")
    history = _flights(tmp_path / "h.parquet", features.names)
    compared = 0
    for date in (start, dt.date(2013, 3, 10), dt.date(2013, 3, 11)):  # among them the Sunday on which summer time began
        raw, target = tmp_path / str(date), tmp_path / f"{date}.parquet"
        extract(dataset, partition=date, start=date, end=date + DAY, lookback_days=lookback, target=raw)
        rows = featurize(dataset, features, raw=raw, first=date, end=date + DAY, labelled=False, target=target)
        night = _flights(target, features.names)
        assert len(night) == rows  # no two flights share a key
        both = night.keys() & history.keys()
        assert all(night[key] == history[key] for key in both)
        compared += len(both)
    assert compared > 2_500


def _of(world: World) -> tuple[Dataset, Features]:
    return world.dataset, world.features


def _flights(path: Path, names: list[str]) -> dict[tuple[Any, ...], bytes]:
    table = pq.read_table(path)
    matrix = np.column_stack([table[name].to_numpy() for name in names])
    keys = zip(*(table[column].to_pylist() for column in ("carrier", "flight", "origin", "scheduled_departure")), strict=True)
    return {key: matrix[number].tobytes() for number, key in enumerate(keys)}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_a_number_that_no_feature_can_hold_is_refused(number: float) -> None:
    declared: list[dict[str, Any]] = [
        {"numeric": {"v": {"missing": number}}},
        {"lagged": {"v": {"window_days": 2, "nothing_seen": number}}},
        {"lagged": {"v": {"window_days": 2, "prior_weight": number}}},
    ]
    for content in declared:
        with pytest.raises(ConfigError, match=r"features\..*\.v\.(missing|nothing_seen|prior_weight): "):
            parse_section(content, Features, "features")
    with pytest.raises(ConfigError, match="window_days"):
        parse_section({"lagged": {"v": {"window_days": 10**12}}}, Features, "features")


def test_only_means_of_fractions_are_another_declaration(tmp_path: Path) -> None:
    """Whole numbers and outcomes were summed exactly before, so models that were trained on them stay valid."""
    world = World(tmp_path, [])
    digests = []
    for value in (None, "id", "out"):
        features = parse_section({"lagged": {"v": {"window_days": 2, "value": value}}}, Features, "features")
        digests.append(identity(world.dataset, features)["sha256"])
    assert digests == [
        "d2ecb6e6c0a3b5960218d3e7c2024ad73941af735123d7873e562a1505220436",
        "b361b0058ffde619ac1c69ae1cb2d78487acd9bfc79d1f3f079fbcdf0add95f4",
        "1b60b28083a71acf2d4dc3cbd4241d2b483597fb130f1269eb3cc6de67473877",
    ]
