"""SQL of instants and local dates, compared with zoneinfo at every change of many zones."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from pipelines.lib.tables.engine import connect
from pipelines.lib.tables.local_time import dates_within, day_start, instant
from tests import hourly

ZONES = [*dict.fromkeys(zone for zone, _, _ in hourly.CHANGES), "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "UTC"]
"""Lord Howe's clocks move by half an hour. Apia has had no 2011-12-30."""


def walls(zone: str) -> list[dt.datetime]:
    """Return wall-clock times every quarter of an hour within two days of each change of `zone` in 2011 and 2025."""
    found = set()
    for year in (2011, 2025):
        start = dt.datetime(year, 1, 1, tzinfo=dt.UTC)
        moments = [start + dt.timedelta(hours=hour) for hour in range(366 * 24)]
        offsets = [moment.astimezone(ZoneInfo(zone)).utcoffset() for moment in moments]
        for before, after, moment in zip(offsets, offsets[1:], moments[1:], strict=False):
            if before != after:
                found |= {(moment + dt.timedelta(minutes=15 * step)).replace(tzinfo=None) for step in range(-96, 97)}
    return sorted(found or {dt.datetime(2025, 6, 1, 12)})  # noqa: DTZ001 - a wall-clock time


def instants_of(wall: dt.datetime, zone: str) -> list[dt.datetime]:
    """Return the instants at which the clocks of `zone` show `wall`, in order."""
    both = {wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(dt.UTC) for fold in (0, 1)}
    return sorted(one for one in both if one.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall)


@pytest.mark.costly
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("session", ["UTC", "America/New_York"])
def test_a_wall_clock_time_is_its_instant_or_is_named(zone: str, session: str) -> None:
    times = walls(zone)
    shown = {"first": "first", "second": "second", "none": "NULL"}
    expressions = {name: instant("wall", zone, missing="TIMESTAMPTZ '1900-01-01 00:00:00+00'", repeated=one) for name, one in shown.items()}
    with connect(session) as (connection, _):
        listed = ", ".join(f"(TIMESTAMP '{wall}')" for wall in times)
        columns = ", ".join(f"timezone('UTC', {one}) AS {name}" for name, one in expressions.items())
        rows = connection.sql(f"SELECT wall, {columns} FROM (VALUES {listed}) AS walls(wall) ORDER BY wall").fetchall()
    for (wall, first, second, only), given in zip(rows, times, strict=True):
        wanted = [one.replace(tzinfo=None) for one in instants_of(given, zone)]
        assert wall == given
        if not wanted:
            assert first == second == only == dt.datetime(1900, 1, 1)  # noqa: DTZ001
        else:
            assert (first, second, only) == (wanted[0], wanted[-1], wanted[0] if len(wanted) == 1 else None)


@pytest.mark.parametrize("zone", ZONES)
def test_a_day_starts_with_the_first_instant_of_its_date(zone: str) -> None:
    days = [dt.date(2025, 1, 1) + dt.timedelta(days=day) for day in range(365)]
    with connect(zone) as (connection, _):
        listed = ", ".join(f"(DATE '{day}')" for day in days)
        rows = connection.sql(
            f"SELECT timezone('UTC', {day_start('day', zone)}) FROM (VALUES {listed}) AS days(day) ORDER BY day"
        ).fetchall()
    for day, (found,) in zip(days, rows, strict=True):
        start = found.replace(tzinfo=dt.UTC)
        assert start.astimezone(ZoneInfo(zone)).date() == day
        assert (start - dt.timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date() == day - dt.timedelta(days=1)


@pytest.mark.parametrize(("zone", "day", "hours"), hourly.CHANGES)
def test_dates_within_a_day_are_its_hours(zone: str, day: str, hours: int) -> None:
    date = dt.date.fromisoformat(day)
    instants = (
        "SELECT unnest(generate_series(TIMESTAMPTZ '2025-01-01 00:00:00+00', TIMESTAMPTZ '2025-12-31 00:00:00+00', INTERVAL 1 HOUR)) AS t"
    )
    with connect(zone) as (connection, _):
        inside = dates_within("t", date, date + dt.timedelta(days=1), zone)
        assert connection.sql(f"SELECT count(*) FROM ({instants}) WHERE {inside}").fetchall() == [(hours,)]
        whole = dates_within("t", None, dt.date.max, zone)  # the margins leave the calendar
        assert connection.sql(f"SELECT count(*) FROM ({instants}) WHERE {whole}").fetchall() == [(364 * 24 + 1,)]
