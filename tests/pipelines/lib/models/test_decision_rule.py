"""When a decision is true: what may be declared, and which rows of a night it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.models.decision_rule import Decided, DecisionRule, decide_within_budget
from pipelines.lib.models.scores_file import scores_writer

SCORES = np.array([0.1, 0.9, 0.5, 0.5, 0.7], dtype=np.float32)


def rule(declared: Any) -> DecisionRule:
    return parse_section({"threshold": declared}, Decided, "score").threshold


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (0.5, [False, True, True, True, True]),
        (0, [True] * 5),
        ({"at": 0.7}, [False, True, False, False, True]),
        ({"alerts_per_night": 2}, [False, True, False, False, True]),
        ({"alerts_per_night": 3}, [False, True, False, False, True]),  # of two equal scores, neither is before the other
        ({"alerts_per_night": 4}, [False, True, True, True, True]),
        ({"alerts_per_night": 5}, [True] * 5),
        ({"alerts_per_night": 200}, [True] * 5),
        ({"false_alarm_cost": 1, "miss_cost": 1}, [False, True, True, True, True]),
        ({"false_alarm_cost": 4, "miss_cost": 1}, [False, True, False, False, False]),  # from 0.8 on
        ({"false_alarm_cost": 0.2, "miss_cost": 3}, [True] * 5),  # from 1 / 16 on
    ],
)
def test_a_rule_decides_on_the_rows_of_a_night(declared: Any, expected: list[bool]) -> None:
    assert rule(declared).decisions(SCORES).tolist() == expected


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("0.5", r"is '0\.5'; write a number from 0 to 1, \{alerts_per_night: 200\}, or \{false_alarm_cost: 1, miss_cost: 50\}"),
        (True, "is True; write a number"),
        ({}, "must be one rule; write a number"),
        ({"at": 0.5, "alerts_per_night": 3}, "must be one rule"),
        ({"miss_cost": 3}, "must be one rule"),
        ({"alerts_per_night": 3, "miss_cost": 3, "false_alarm_cost": 1}, "must be one rule"),
        (1.5, r"threshold\.at: Input should be less than or equal to 1"),
        ({"alerts_per_night": 0}, r"threshold\.alerts_per_night"),
        ({"alerts_per_nigth": 5}, r"threshold\.alerts_per_nigth"),
        ({"false_alarm_cost": 0, "miss_cost": 3}, r"threshold\.false_alarm_cost"),
    ],
)
def test_anything_else_is_refused(declared: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        rule(declared)


@given(st.lists(st.floats(0, 1, width=32), max_size=60), st.integers(1, 70))
def test_a_budget_is_never_exceeded_and_leaves_out_no_row_above_one_that_it_takes(drawn: list[float], most: int) -> None:
    scores = np.array(drawn, dtype=np.float32)
    found = rule({"alerts_per_night": most}).decisions(scores)
    assert found.sum() <= most
    if 0 < found.sum() < len(scores):
        assert scores[found].min() > scores[~found].max()
    if found.sum() < min(most, len(scores)):  # room is left only where the next score is shared by too many rows
        left = scores[~found]
        assert (left == left.max()).sum() + found.sum() > most


def test_costs_are_worth_the_alert_from_the_probability_at_which_both_mistakes_cost_the_same() -> None:
    found = rule({"false_alarm_cost": 5, "miss_cost": 95})
    threshold = found.fixed
    assert threshold == pytest.approx(0.05)
    assert (1 - threshold) * 5 == pytest.approx(threshold * 95)
    assert str(found) == "a score from 0.05 on, since a false alarm costs 5 and a miss 95"


@pytest.mark.costly
def test_a_file_of_several_row_groups_is_decided_as_one_night(tmp_path: Path) -> None:
    schema = pa.schema([("key", pa.string()), ("score", pa.float32()), ("decision", pa.bool_())])
    scores = np.random.default_rng(3).random(150_000).astype(np.float32)
    path = tmp_path / "scores.parquet"
    with scores_writer(path, schema) as writer:
        for start in range(0, len(scores), 40_000):
            part = scores[start : start + 40_000]
            keys = [str(start + number) for number in range(len(part))]
            writer.write_batch(pa.record_batch([pa.array(keys), pa.array(part), pa.array(np.ones(len(part), dtype=bool))], schema=schema))
    before = pq.read_table(path)
    decide_within_budget(path, rule({"alerts_per_night": 200}))
    after = pq.read_table(path)
    assert after.schema == before.schema
    assert after.drop_columns("decision") == before.drop_columns("decision")
    decisions = after["decision"].to_numpy()
    assert decisions.sum() == 200
    assert set(np.flatnonzero(decisions)) == set(np.argsort(scores)[-200:])
    assert [file.name for file in tmp_path.iterdir()] == ["scores.parquet"]
