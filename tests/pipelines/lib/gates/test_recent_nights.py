"""A night whose columns are not distributed as before is a warning, never a failure; an ordinary night is none."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.data.validate_batch import ValidateBatch, validate_batch
from pipelines.lib.core.params import parse_section
from pipelines.lib.gates import NOT_JUDGED, PASSED, WARNING, Finding, recent_nights
from pipelines.lib.gates.recent_nights import compare_with_recent
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset
from tests.gate_data import NIGHT

COLUMNS = {
    "id": {"type": "string"},
    "customer": {"type": "string"},
    "at": {"type": "timestamp"},
    "ordered_at": {"type": "timestamp", "nulls": 0.5},
    "number": {"type": "integer"},
    "price": {"type": "float"},
    "weight": {"type": "float", "nulls": 0.5},
    "channel": {"type": "string"},
    "country": {"type": "string"},
    "gift": {"type": "boolean"},
    "returned": {"type": "boolean", "nulls": 1},
}

Change = Callable[[pd.DataFrame], pd.DataFrame]


def dataset(path: Path) -> Dataset:
    content = {"name": "orders", "source": {"kind": "parquet", "path": str(path)}, "key": ["id"], "event_time": "at", "columns": COLUMNS}
    return parse_section(
        content | {"label": {"name": "late", "expression": "returned", "delay_days": 1}, "known_later": ["returned"]}, Dataset, "dataset"
    )


def rows(date: dt.date, count: int = 300) -> pd.DataFrame:
    random = np.random.default_rng(date.toordinal())
    first = (date - dt.date(2024, 1, 1)).days * count
    at = pd.Timestamp(date) + pd.to_timedelta(random.integers(0, 86_400, count), unit="s")
    return pd.DataFrame(
        {
            "id": [f"A-{first + number:07d}" for number in range(count)],
            "customer": [f"c{number}" for number in random.integers(0, 100_000, count)],
            "at": at,
            "ordered_at": at - pd.to_timedelta(random.integers(3_600, 7_200, count), unit="s"),
            "number": range(first, first + count),
            "price": np.round(random.lognormal(3.0, 0.5, count), 2),
            "weight": np.where(random.random(count) < 0.1, np.nan, random.lognormal(0.0, 0.5, count)),
            "channel": random.choice(["app", "web", "shop"], count, p=[0.5, 0.3, 0.2]),
            "country": random.choice(["DE", "FR", "US"], count, p=[0.6, 0.3, 0.1]),
            "gift": random.random(count) < 0.1,
            "returned": None,
        }
    )


def compared(
    directory: Path, change: Change = lambda night: night, *, nights: int = 28, night: dt.date = NIGHT
) -> dict[str | None, Finding]:
    before = [rows(night - dt.timedelta(days=days)) for days in range(1, nights + 1)]
    table = pd.concat([*before, change(rows(night))], ignore_index=True).astype({"returned": "boolean"})
    directory.mkdir(exist_ok=True)
    table.to_parquet(directory / "orders.parquet", index=False, coerce_timestamps="us")
    declared = dataset(directory / "orders.parquet")
    raw = directory / "raw"
    extract(declared, partition=night, start=night, end=night + dt.timedelta(days=1), lookback_days=60, target=raw)
    return {finding.column: finding for finding in compare_with_recent(declared, raw, night)}


def warned(findings: dict[str | None, Finding]) -> set[str | None]:
    assert {finding.verdict for finding in findings.values()} <= {PASSED, WARNING, NOT_JUDGED}
    return {column for column, finding in findings.items() if finding.verdict == WARNING}


def swapped(one: str, other: str) -> Change:
    return lambda night: night.assign(**{one: night[other], other: night[one]})


@pytest.mark.slow
def test_ordinary_nights_give_no_warning(tmp_path: Path) -> None:
    for day in range(14):
        findings = compared(tmp_path / str(day), night=NIGHT + dt.timedelta(days=day))
        assert warned(findings) == set()
        assert set(findings) == set(COLUMNS) - {"at", "returned", "number"}  # a number that counts up is another one each night


@pytest.mark.costly
@pytest.mark.parametrize(("one", "other"), [("price", "weight"), ("channel", "country"), ("id", "customer")])
def test_two_columns_that_are_swapped_are_named(one: str, other: str, tmp_path: Path) -> None:
    findings = compared(tmp_path, swapped(one, other))
    assert warned(findings) == {one, other}
    assert findings[one].observed.endswith(f"they look like {other!r}: were the columns swapped?")
    assert findings[other].observed.endswith(f"they look like {one!r}: were the columns swapped?")


@pytest.mark.costly
@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("price", lambda night: night.assign(price=night["price"] * 100)),  # in cents
        ("weight", lambda night: night.assign(weight=np.nan)),
        ("country", lambda night: night.assign(country="DE")),
        ("gift", lambda night: night.assign(gift=~night["gift"])),
        ("ordered_at", lambda night: night.assign(ordered_at=night["ordered_at"] - pd.Timedelta(hours=2))),
    ],
)
def test_a_column_that_is_not_as_before_is_a_warning(column: str, change: Change, tmp_path: Path) -> None:
    assert warned(compared(tmp_path, change)) == {column}


@pytest.mark.costly
def test_few_nights_say_nothing(tmp_path: Path) -> None:
    for nights, judged in ((4, False), (5, True)):
        findings = compared(tmp_path / str(nights), nights=nights)
        assert (set(findings) != {None}) == judged
    [finding] = compared(tmp_path / "none", nights=0).values()
    assert (finding.verdict, finding.observed) == (NOT_JUDGED, "not judged: 0 of 5 nights before it are known")
    assert [finding.observed for finding in compared(tmp_path / "empty", lambda night: night.head(0)).values()] == ["not judged: no rows"]


@pytest.mark.costly
def test_of_very_many_rows_some_are_compared_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_nights, "_ROWS", 2_000)
    findings = compared(tmp_path, swapped("price", "weight"))
    assert warned(findings) == {"price", "weight"}
    assert findings == {one.column: one for one in compare_with_recent(dataset(tmp_path / "orders.parquet"), tmp_path / "raw", NIGHT)}


@pytest.mark.costly
def test_the_gate_passes_with_the_warning_in_its_note(tmp_path: Path) -> None:
    compared(tmp_path, swapped("channel", "country"))
    report = validate_batch(
        dataset(tmp_path / "orders.parquet"), ValidateBatch(minimum_outcomes_known=0.0), partition=NIGHT, raw=tmp_path / "raw"
    )
    assert report.passed, report.failures
    assert report.note.startswith("validate_batch: WARNING: channel: ")
    assert "were the columns swapped?" in report.note
