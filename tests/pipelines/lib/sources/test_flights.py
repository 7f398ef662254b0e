"""The embedded source: complete, unique, and its hours the right ones."""

from collections.abc import Iterator

import duckdb
import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.sources import flights
from pipelines.lib.tables.engine import UTC, connect


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(UTC) as (opened, _):
        yield opened


@pytest.mark.costly
def test_every_flight_is_there_once(connection: duckdb.DuckDBPyConnection) -> None:
    relation = flights.scan(connection, "flights")
    [row] = connection.sql(
        f"SELECT count(*), count(DISTINCT (carrier, flight, origin, scheduled_departure)), min(scheduled_departure)::VARCHAR, "
        f"count(*) FILTER (tailnum IS NULL), count(*) FILTER (arr_delay IS NULL) FROM {relation}"
    ).fetchall()
    assert row == (336_776, 336_776, "2013-01-01 05:15:00", 2_512, 9_430)


def test_weather_has_one_row_an_hour_also_when_summer_time_ends(connection: duckdb.DuckDBPyConnection) -> None:
    relation = flights.scan(connection, "weather")
    [(rows, keys)] = connection.sql(f"SELECT count(*), count(DISTINCT (origin, hour_start)) FROM {relation}").fetchall()
    assert rows == keys > 26_000


@pytest.mark.costly
def test_the_hour_of_a_flight_is_the_hour_of_its_weather(connection: duckdb.DuckDBPyConnection) -> None:
    """Both files also carry the moment in UTC: the local hours must agree with it, in summer and in winter."""
    joined = f"{flights.scan(connection, 'flights')} f JOIN {flights.scan(connection, 'weather')} w"
    [(wrong, right)] = connection.sql(
        f"SELECT count(*) FILTER (f.time_hour <> w.time_hour), count(*) FILTER (f.time_hour = w.time_hour) "
        f"FROM {joined} ON f.origin = w.origin AND date_trunc('hour', f.scheduled_departure) = w.hour_start"
    ).fetchall()
    assert wrong == 0
    assert right > 330_000


def test_an_aircraft_is_there_once(connection: duckdb.DuckDBPyConnection) -> None:
    [(rows, keys)] = connection.sql(f"SELECT count(*), count(DISTINCT tailnum) FROM {flights.scan(connection, 'planes')}").fetchall()
    assert rows == keys == 3_322


def test_another_table_is_refused(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ConfigError, match="no table 'pilots'; it has flights, weather, planes"):
        flights.scan(connection, "pilots")


def test_the_revision_tells_tables_apart_and_stays() -> None:
    assert flights.revision("flights") == flights.revision("flights") != flights.revision("weather")
