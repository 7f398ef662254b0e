"""A column by itself: its type in the engine, its zone, and what may be declared for it. test_dataset.py has the columns of a table."""

from typing import Any

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.tables.column import SQL_TYPES, Column, sql_type


def column(**fields: Any) -> Column:
    return parse_section({"type": "timestamp", **fields}, Column, "column")


@pytest.mark.parametrize("kind", SQL_TYPES)
def test_only_a_timestamp_becomes_an_instant_in_a_dataset_with_a_zone(kind: Any) -> None:
    plain, zoned = column(type=kind), column(type=kind).in_zone("Europe/Berlin")
    assert sql_type(plain) == SQL_TYPES[kind]
    assert (plain.zone, plain.in_time_zone) == (None, False)
    assert sql_type(zoned) == ("TIMESTAMP WITH TIME ZONE" if kind == "timestamp" else SQL_TYPES[kind])
    assert (zoned.zone, zoned.in_time_zone) == ("Europe/Berlin" if kind == "timestamp" else None, True)


def test_a_column_in_a_zone_is_another_one_and_the_first_stays_as_it_was() -> None:
    first = column(written_in="UTC")
    assert first.in_zone("Europe/Berlin").written_in == "UTC"
    assert first.zone is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"type": "date", "written_in": "UTC"}, "written_in is of a timestamp, the column is a date; take it out"),
        ({"written_in": "Europe/Berln"}, "written_in is 'Europe/Berln', which is not in the IANA database"),
        ({"repeated_hour": "first"}, "repeated_hour needs written_in, the zone whose clocks show the hour twice"),
        ({"written_in": "UTC", "repeated_hour": "third"}, "repeated_hour"),
        ({"type": "string", "minimum": 1}, "minimum and maximum are of a number, the column is a string"),
        ({"type": "float", "values": ["1.5"]}, "values of a float column cannot be listed; give minimum and maximum"),
        ({"type": "boolean", "values": ["yes"]}, "values has 'yes', which is not a boolean; write true or false"),
        ({"type": "integer", "values": ["007"]}, "values has '007', which is not an integer; write it as a whole number"),
        ({"nulls": 1.5}, "nulls"),
        ({"unseen": -0.1}, "unseen"),
    ],
)
def test_a_declaration_that_no_value_could_keep_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        column(**fields)


@pytest.mark.parametrize(
    ("kind", "values", "text", "typed"),
    [
        ("integer", [7, "-1", 0], ("7", "-1", "0"), [7, -1, 0]),
        ("boolean", [True, "false"], ("true", "false"), [True, False]),
        ("string", ["no", "7"], ("no", "7"), ["no", "7"]),
        ("string", None, None, []),
    ],
)
def test_values_are_kept_as_the_engine_writes_them(kind: Any, values: Any, text: Any, typed: list[object]) -> None:
    found = column(type=kind, values=values)
    assert (found.values, found.typed_values()) == (text, typed)
