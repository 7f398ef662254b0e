"""What a run is pinned to, where nothing of a registry is needed to tell; the rest is tested with `pin_run` and `register`."""

import datetime as dt

import pytest

from pipelines.lib.errors import ConfigError
from pipelines.lib.pins import months


@pytest.mark.parametrize(
    ("start", "last", "expected"),
    [
        ("2013-01-01", dt.date(2013, 3, 30), ("2013-01", "2013-02", "2013-03")),
        ("2013-11-15", dt.date(2014, 1, 1), ("2013-11", "2013-12", "2014-01")),
        ("2013-03-31", dt.date(2013, 3, 31), ("2013-03",)),
        ("2013-04-01", dt.date(2013, 3, 31), ()),
    ],
)
def test_the_months_of_the_shards_hold_every_date_and_no_month_twice(start: str, last: dt.date, expected: tuple[str, ...]) -> None:
    assert months(start, last) == expected


def test_an_open_start_has_no_first_month() -> None:
    with pytest.raises(ConfigError, match=r"ingest_history\.start is null"):
        months(None, dt.date(2013, 3, 31))
