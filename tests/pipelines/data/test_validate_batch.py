"""The gate before the night's features: every way in which a night can be bad, and the nights that only look it."""

import datetime as dt
import json
import math
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.ingest_batch import IngestBatch, ingest_batch
from pipelines.data.validate_batch import ValidateBatch, main, validate_batch
from pipelines.lib.core.errors import DataError, GateFailed
from pipelines.lib.core.params import parse_section
from pipelines.lib.gates import Report, deliver, expect
from pipelines.lib.sources.casts import ARROW_TYPES
from pipelines.lib.tables.dataset import Source
from tests.gate_data import NIGHT, ORDERS, ROWS, Change, orders, write_night, write_raw

PARAMS = ValidateBatch(row_count={"minimum_ratio": 0.85, "maximum_ratio": 1.3}, last_event_minutes=60)  # type: ignore[arg-type]


def judged(directory: Path, change: Change = lambda night: night, params: ValidateBatch = PARAMS) -> Report:
    return validate_batch(ORDERS, params, partition=NIGHT, raw=write_night(directory, change))


def put(column: str, value: object, rows: slice | None = None) -> Change:
    def change(night: pd.DataFrame) -> pd.DataFrame:
        night = night.astype({column: object})
        night.loc[night.index[rows or slice(None)], column] = value
        return night

    return change


def failed(report: Report) -> dict[str, str | None]:
    return {finding.type.removeprefix("expect_"): finding.column for finding in report.failures}


@pytest.mark.costly
def test_an_ordinary_night_passes_and_earlier_nights_are_not_part_of_it(tmp_path: Path) -> None:
    report = judged(tmp_path)
    assert report.passed, failed(report)
    assert report.rows == ROWS


def twice(night: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([night, night.tail(3)], ignore_index=True)


def moved(days: int) -> Change:
    return lambda night: pd.concat(
        [
            night,
            night.tail(4).assign(
                placed_at=lambda rows: rows["placed_at"] + pd.Timedelta(days=days), order_id=lambda rows: rows["order_id"] + 500
            ),
        ]
    )


BAD_NIGHTS = {
    "duplicate keys": (twice, {"compound_columns_to_be_unique": "shop, order_id"}),
    "all of a column missing": (put("country", None), {"column_values_to_not_be_null": "country"}),
    "more missing than declared": (put("amount", None, slice(0, 11)), {"column_values_to_not_be_null": "amount"}),
    "NaN where missing is normal for some": (put("amount", math.nan, slice(0, 11)), {"column_values_to_not_be_null": "amount"}),
    "infinity": (put("weight", math.inf, slice(0, 1)), {"column_values_to_be_between": "weight"}),
    "minus infinity": (put("weight", -math.inf, slice(0, 1)), {"column_values_to_be_between": "weight"}),
    "out of range": (put("amount", -1.0, slice(0, 1)), {"column_values_to_be_between": "amount"}),
    "future dates": (moved(2), {"column_values_to_be_between": "placed_at"}),
    "a date no clock has shown": (moved(365 * 400), {"column_values_to_be_between": "placed_at"}),
    "no time": (put("placed_at", pd.NaT, slice(0, 1)), {"column_values_to_not_be_null": "placed_at"}),
    "many unknown countries": (put("country", "XX", slice(0, 6)), {"column_values_to_be_in_set": "country"}),
    "an outcome that is not known yet": (put("days_late", 1, slice(0, 1)), {"column_values_to_be_null": "days_late"}),
    "cut at a line end": (lambda night: night.head(84), {"table_row_count_to_be_between": None, "column_max_to_be_between": "placed_at"}),
    "cut at a line end, a little": (lambda night: night.head(90), {"column_max_to_be_between": "placed_at"}),
    "cut in a file that is not sorted": (lambda night: night.tail(84), {"table_row_count_to_be_between": None}),
    "twice the rows": (lambda night: pd.concat([night, night.assign(order_id=night["order_id"] + 500)]), {"table_row_count_to_be_between": None}),
    "one row": (lambda night: night.tail(1), {"table_row_count_to_be_between": None}),
}  # fmt: skip


@pytest.mark.costly
@pytest.mark.parametrize("case", BAD_NIGHTS)
def test_a_bad_night_is_stopped_for_what_is_wrong_with_it_and_nothing_else(case: str, tmp_path: Path) -> None:
    change, expected = BAD_NIGHTS[case]
    assert failed(judged(tmp_path, change)) == expected


@pytest.mark.costly
def test_an_empty_night_is_stopped(tmp_path: Path) -> None:
    report = judged(tmp_path, lambda night: night.head(0))
    assert report.rows == 0
    assert "table_row_count_to_be_between" in failed(report)


@pytest.mark.costly
def test_one_row_where_nothing_can_be_compared_is_stopped_unless_allowed(tmp_path: Path) -> None:
    raw = write_raw(tmp_path, orders(NIGHT, 1))
    assert failed(validate_batch(ORDERS, ValidateBatch(), partition=NIGHT, raw=raw)) == {"table_row_count_to_be_between": None}
    allowed = parse_section({"row_count": {"minimum_rows": 1}}, ValidateBatch, "validate_batch")
    assert validate_batch(ORDERS, allowed, partition=NIGHT, raw=raw).passed


@pytest.mark.costly
def test_a_night_without_recent_ones_is_not_judged_by_its_size_and_says_so(tmp_path: Path) -> None:
    report = validate_batch(ORDERS, PARAMS, partition=NIGHT, raw=write_raw(tmp_path, orders(NIGHT)))
    assert report.passed
    unjudged = {finding.type.removeprefix("expect_"): finding.observed for finding in report.unjudged}
    assert unjudged["table_row_count_to_be_between"] == "not judged: no recent night to compare with"
    assert unjudged["column_max_to_be_between"] == "not judged: no recent night to compare with"


@pytest.mark.costly
def test_a_few_unknown_values_pass_and_are_reported(tmp_path: Path) -> None:
    report = judged(tmp_path, put("country", "XX", slice(0, 5)))
    assert report.passed
    finding_of_column = next(finding for finding in report.findings if finding.type == "expect_column_values_to_be_in_set")
    assert (finding_of_column.unexpected_count, finding_of_column.unexpected_share) == (5, 0.05)
    assert finding_of_column.sample_rows[0] == {"shop": "south", "order_id": 149001, "placed_at": "2024-05-29T00:14:00", "country": "XX"}


@pytest.mark.costly
def test_a_source_that_ends_before_the_night_is_stopped_even_where_a_night_may_be_empty(tmp_path: Path) -> None:
    may_be_empty = parse_section({"row_count": {"minimum_ratio": 0, "minimum_rows": 0}}, ValidateBatch, "validate_batch")
    raw = write_night(tmp_path, lambda night: night.head(0))
    report = validate_batch(ORDERS, may_be_empty, partition=NIGHT, raw=raw)
    assert (
        "expect_column_max_to_be_between on 'placed_at': 2024-05-26 (expected: min_value=2024-05-29; the last date of the whole source"
        in (report.failures[0].summary())
    )
    tomorrow = str(NIGHT + dt.timedelta(days=1))
    tell_source(raw, last=tomorrow, next=tomorrow)
    assert "column_max_to_be_between" not in failed(validate_batch(ORDERS, may_be_empty, partition=NIGHT, raw=raw))
    tell_source(raw, last=None, next=None)
    assert "column_max_to_be_between" in failed(validate_batch(ORDERS, may_be_empty, partition=NIGHT, raw=raw))


@pytest.mark.costly
def test_a_single_row_far_ahead_is_not_a_delivery(tmp_path: Path) -> None:
    """The nights before are a week apart at most, so what comes a month later does not show that this one was delivered."""
    may_be_empty = parse_section({"row_count": {"minimum_ratio": 0, "minimum_rows": 0}}, ValidateBatch, "validate_batch")
    raw = write_night(tmp_path, lambda night: night.head(0))
    for ahead, fresh in ((7, True), (8, False), (3_000, False)):
        tell_source(raw, last="2049-01-01", next=str(NIGHT + dt.timedelta(days=ahead)))
        assert ("column_max_to_be_between" not in failed(validate_batch(ORDERS, may_be_empty, partition=NIGHT, raw=raw))) == fresh
    report = validate_batch(ORDERS, may_be_empty, partition=NIGHT, raw=raw)
    assert "no row from 2024-05-29 up to 2032-08-15" in report.failures[0].summary()


@pytest.mark.costly
def test_years_are_compared_as_dates(tmp_path: Path) -> None:
    """As text, 12000-01-01 comes before 2024."""
    raw = write_night(tmp_path)
    tell_source(raw, next="12000-01-01")
    with pytest.raises(DataError, match="does not tell next"):
        validate_batch(ORDERS, PARAMS, partition=NIGHT, raw=raw)


@pytest.mark.costly
def test_rows_whose_time_is_not_plausible_stop_the_night(tmp_path: Path) -> None:
    raw = write_night(tmp_path)
    tell_source(raw, too_early=20, too_late=25)
    report = validate_batch(ORDERS, PARAMS, partition=NIGHT, raw=raw)
    assert failed(report) == {"column_values_to_be_between": "placed_at"}
    assert "20 rows too early and 25 too late" in report.failures[0].summary()
    known = ORDERS.model_copy(update={"misdated_rows": 45})
    assert validate_batch(known, PARAMS, partition=NIGHT, raw=raw).passed


@pytest.mark.slow
@pytest.mark.parametrize("year", [204, 1970, 2204, 9999])
def test_half_a_night_in_another_century_is_not_a_smaller_night(year: int, tmp_path: Path) -> None:
    """Ingest leaves the misdated rows out, and what is left is within the band of a night's size."""
    delivered = pd.concat([orders(NIGHT - dt.timedelta(days=days), days_late=True) for days in (28, 21, 14, 7, 3)] + [orders(NIGHT)])
    values = [
        moment.to_pydatetime().replace(year=year) if moment.date() == NIGHT and number % 20 < 9 else moment.to_pydatetime()
        for moment, number in zip(delivered["placed_at"], delivered["order_id"], strict=True)
    ]
    schema = pa.schema([(column, ARROW_TYPES[kind.type]) for column, kind in ORDERS.columns.items()])
    table = pa.Table.from_pandas(delivered.drop(columns="placed_at"), schema=schema.remove(0), preserve_index=False)
    pq.write_table(table.add_column(0, schema.field(0), pa.array(values, schema.field(0).type)), tmp_path / "orders.parquet")
    dataset = ORDERS.model_copy(update={"source": Source(kind="parquet", path=str(tmp_path / "orders.parquet"))})
    ingest_batch(dataset, IngestBatch(), partition=NIGHT, lookback=28, raw=tmp_path / "raw")
    report = validate_batch(dataset, ValidateBatch(), partition=NIGHT, raw=tmp_path / "raw")
    assert report.rows == 55
    assert failed(report) == {"column_values_to_be_between": "placed_at"}
    assert report.failures[0].unexpected_count == 45


def tell_source(raw: Path, **facts: object) -> None:
    path = raw / "source.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


@pytest.mark.costly
@pytest.mark.parametrize(("known", "passes"), [(100, True), (25, True), (24, False), (0, False)])
def test_a_night_is_stopped_when_outcomes_have_stopped_to_arrive(known: int, passes: bool, tmp_path: Path) -> None:
    newest = NIGHT - dt.timedelta(days=3)
    before = orders(newest, days_late=True)
    before["days_late"] = before["days_late"].where(before.index < known)
    raw = write_raw(tmp_path, pd.concat([before, orders(NIGHT)], ignore_index=True))
    report = validate_batch(ORDERS, ValidateBatch(), partition=NIGHT, raw=raw)
    assert failed(report) == ({} if passes else {"column_values_to_not_be_null": "came_late"})
    finding_of_column = next(finding for finding in report.findings if finding.column == "came_late")
    assert finding_of_column.unexpected_count == 100 - known
    assert "outcomes of 2024-05-26, which should be known by now" in finding_of_column.notes


def test_a_check_of_outcomes_that_nobody_asks_for_is_not_in_the_report(tmp_path: Path) -> None:
    params = ValidateBatch(minimum_outcomes_known=None)
    report = validate_batch(ORDERS, params, partition=NIGHT, raw=write_raw(tmp_path, orders(NIGHT)))
    assert report.passed
    assert not [finding for finding in report.findings if finding.column == "came_late"]
    assert "came_late" not in {finding.column for finding in report.unjudged}


@pytest.mark.costly
def test_a_date_without_events_tells_nothing_of_outcomes(tmp_path: Path) -> None:
    report = validate_batch(ORDERS, ValidateBatch(), partition=NIGHT, raw=write_raw(tmp_path, orders(NIGHT)))
    assert report.passed
    [outcomes] = [finding for finding in report.unjudged if finding.column == "came_late"]
    assert outcomes.observed == "not judged: 2024-05-26 has no events"


@pytest.mark.costly
def test_a_quiet_date_may_be_thin(tmp_path: Path) -> None:
    quiet = parse_section(
        {"row_count": {"minimum_ratio": 0.85, "quiet_dates": [str(NIGHT)], "quiet_minimum_ratio": 0.6}}, ValidateBatch, "validate_batch"
    )
    assert judged(tmp_path / "thin", lambda night: night.head(60), quiet).passed
    assert not judged(tmp_path / "thinner", lambda night: night.head(59), quiet).passed


@pytest.mark.costly
def test_the_message_names_expectation_column_counts_and_rows_and_stays_short(tmp_path: Path) -> None:
    def change(night: pd.DataFrame) -> pd.DataFrame:
        return night.assign(shop="Ω" * 5_000, country="國" * 100_000, amount=-1.0, weight=math.inf, placed_at=pd.Timestamp(NIGHT))

    report = judged(tmp_path / "raw", change)
    with pytest.raises(GateFailed) as caught:
        deliver(report, tmp_path / "report")
    message = str(caught.value)
    assert re.match(r"\d+ of \d+ checks failed on partition 2024-05-29: ", message)
    assert "expect_column_max_to_be_between on 'placed_at': 2024-05-29T00:00:00 (expected: min_value=2024-05-29T22:30:00; " in message
    assert "nothing was published" in message
    assert len(message) < 2500
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "5000 characters" in page
    assert len(page) < 100_000
    content = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert not content["passed"]


@pytest.mark.costly
def test_the_report_is_the_same_each_time(tmp_path: Path) -> None:
    for run in ("one", "two"):
        with pytest.raises(GateFailed):
            deliver(judged(tmp_path / "raw", twice), tmp_path / run)
    for file in ("report.json", "report.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.costly
def test_what_is_written_by_hand_counts_too(tmp_path: Path) -> None:
    params = PARAMS.model_copy(update={"expectations": (expect("column_mean_to_be_between", column="amount", max_value=20.0),)})
    assert failed(judged(tmp_path, params=params)) == {"column_mean_to_be_between": "amount"}


@pytest.mark.costly
def test_main_leaves_the_report_and_the_reason_of_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_night(tmp_path / "raw", put("country", None, slice(0, 12)))
    dataset = ORDERS.model_dump(mode="json")
    (tmp_path / "params.yaml").write_text(json.dumps({"dataset": dataset, "validate_batch": {"row_count": {"minimum_ratio": 0.85}}}))
    (tmp_path / "run.yaml").write_text(json.dumps({"partition": str(NIGHT), "model": {"path": "model.onnx", "name": "orders"}}))
    assert main(["--raw", "raw", "--report", "report"]) == 1
    failure = json.loads((tmp_path / "failure.json").read_text())
    assert (failure["error"], failure["retryable"]) == ("GateFailed", False)
    assert "expect_column_values_to_not_be_null on 'country': 12 violations in 100 rows (12.00%)" in failure["message"]
    assert not json.loads((tmp_path / "report" / "report.json").read_text())["passed"]


def test_no_ordinary_night_of_a_weekly_rhythm_is_stopped() -> None:
    """Thin weekends are compared with weekends: the band follows the rhythm."""
    monday = dt.date(2024, 1, 1)
    counts = {str(day): 40 if day.weekday() >= 5 else 100 for day in (monday + dt.timedelta(days=n) for n in range(120))}
    for night, rows in counts.items():
        band = PARAMS.row_count.band(counts, dt.date.fromisoformat(night))
        assert band.low <= rows <= (band.high or rows)
