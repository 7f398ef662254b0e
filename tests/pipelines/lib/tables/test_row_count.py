"""The band of a night's size, on every real night of 2013."""

import datetime as dt
import statistics
from fractions import Fraction

import pytest

from pipelines.data.validate_batch import ValidateBatch
from pipelines.lib.core.params import load_section
from pipelines.lib.sources import flights
from pipelines.lib.tables.engine import UTC, connect
from pipelines.lib.tables.row_count import RowCount

NIGHT = dt.date(2024, 5, 29)


@pytest.fixture(scope="module")
def counts() -> dict[str, int]:
    """Return how many flights each date of 2013 had."""
    with connect(UTC) as (connection, _):
        per_date = f"SELECT scheduled_departure::DATE::VARCHAR, count(*) FROM {flights.scan(connection, 'flights')} GROUP BY 1"
        return dict(connection.sql(per_date).fetchall())


@pytest.mark.costly
def test_no_night_of_2013_is_stopped_for_its_size(counts: dict[str, int]) -> None:
    band = load_section("validate_batch", ValidateBatch).row_count.band
    judged = {night: (band(counts, dt.date.fromisoformat(night)), rows) for night, rows in counts.items()}
    assert len(judged) == 365
    assert [night for night, (limits, rows) in judged.items() if not limits.low <= rows <= (limits.high or rows)] == []


@pytest.mark.costly
def test_a_cut_of_a_fifth_is_seen_on_nearly_every_night_of_2013(counts: dict[str, int]) -> None:
    band = load_section("validate_batch", ValidateBatch).row_count.band
    compared = sorted(counts.items())[7:]
    smallest = [(rows - band(counts, dt.date.fromisoformat(night)).low + 1) / rows for night, rows in compared]
    assert statistics.median(smallest) < 0.16
    assert statistics.quantiles(smallest, n=20)[-1] < 0.21
    assert max(smallest) < 0.30


def test_a_band_without_earlier_nights_is_the_minimum_alone() -> None:
    band = RowCount(minimum_rows=7).band({str(NIGHT): 1_000_000}, NIGHT)
    assert (band.low, band.high, band.reference) == (7, None, None)


@pytest.mark.costly
@pytest.mark.parametrize("low", [0.07, 0.29, 0.5, 0.85])
def test_the_band_is_the_declared_share_to_the_last_row(low: float) -> None:
    """A half rounded to the even row, or 0.07 x 100 = 7.000000000000001, would let a night pass that is too thin or stop one that is
    not.
    """
    for rows in range(1, 3_000):
        band = RowCount(minimum_ratio=low, maximum_ratio=1 + low, minimum_rows=0).band({"2024-05-22": rows}, NIGHT)
        assert (band.low - 1) < Fraction(repr(low)) * rows <= band.low
        assert band.high is not None
        assert band.high <= Fraction(repr(1 + low)) * rows < band.high + 1


def test_a_date_without_rows_does_not_pull_the_reference_down() -> None:
    earlier = {"2024-05-22": 100, "2024-05-15": 0, "2024-05-08": 110}
    assert RowCount(minimum_ratio=0.5, maximum_ratio=2.0).band(earlier, NIGHT).reference == 105
