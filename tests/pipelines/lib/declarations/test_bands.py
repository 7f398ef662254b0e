"""Bands of row counts: from which nights they are counted, and how much headroom they have."""

import datetime as dt

from pipelines.lib.declarations.bands import DerivedBand, ceil_to, derive_band, floor_to, quantile, significant

FIRST = dt.date(2024, 1, 1)


def counted(*rows: int) -> dict[dt.date, int]:
    return {FIRST + dt.timedelta(days=day): count for day, count in enumerate(rows)}


def test_a_week_is_compared_with_the_same_weekdays() -> None:
    assert derive_band(counted(*[100, 100, 100, 100, 100, 30, 20] * 8), nights=4, every_days=None) == DerivedBand(7, 0.8, 1.25, 5, 0.0)


def test_even_nights_are_compared_with_the_nights_before() -> None:
    assert derive_band(counted(*[100, 101, 99] * 20), nights=4, every_days=None).every_days == 1


def test_one_odd_date_in_a_hundred_does_not_widen_the_band() -> None:
    band = derive_band(counted(*[100] * 100, 3, *[100] * 100), nights=4, every_days=1)
    assert (band.minimum_ratio, band.maximum_ratio) == (0.8, 1.25)
    assert 0 < band.odd_share < 0.01


def test_thin_nights_have_a_wide_band() -> None:
    band = derive_band(counted(*[10, 5, 20] * 20), nights=4, every_days=1)
    assert band.minimum_ratio <= 0.8 * 5 / 10
    assert band.maximum_ratio >= 1.25 * 20 / 10
    assert band.minimum_rows == 1


def test_a_table_with_ten_rows_per_night_is_given_what_chance_does() -> None:
    band = derive_band(counted(*[10, 8, 12] * 20), nights=4, every_days=1)
    assert (band.minimum_ratio, band.maximum_ratio, band.minimum_rows) == (0.0, 2.27, 2)
    assert derive_band(counted(*[100, 80, 120] * 20), nights=4, every_days=1).minimum_ratio > 0.6, "a history of many rows shows it"
    assert derive_band(counted(*[24] * 60), nights=4, every_days=1).minimum_ratio == 0.8, "a row per hour is not by chance"


def test_a_weekly_table_is_compared_with_its_weeks() -> None:
    assert derive_band(counted(*[100, 0, 0, 0, 0, 0, 0] * 10), nights=4, every_days=None).every_days == 7
    assert derive_band(counted(*[100] * 6, 0, *([100] * 6 + [0]) * 9), nights=4, every_days=None).every_days == 1, "closed on one day"


def test_numbers_are_rounded_away_from_what_was_seen() -> None:
    assert (floor_to(0.759, 2), ceil_to(1.231, 2), floor_to(0.3, 2), ceil_to(0.3, 2)) == (0.75, 1.24, 0.3, 0.3)
    assert [significant(value) for value in (0.4, 7, 99, 1249, 83_999)] == [0, 7, 99, 1200, 83_000]
    assert (quantile([3, 1, 2], 0.01), quantile([3, 1, 2], 0.99)) == (1, 3)
