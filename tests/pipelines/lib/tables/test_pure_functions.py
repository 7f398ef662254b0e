"""Every function and cast that an expression may use gives the same value under two clocks, time zones, calendars and languages."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from pipelines.lib.tables.pure_functions import PURE_FUNCTIONS, PURE_TYPES
from tests.servers import missing

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)

SAMPLES = {
    "VARCHAR": ["'day'", "'abc'", "'7'", "'%s'", "'2024-05-06 07:08:09'"],
    "BIGINT": ["3", "65"],
    "DOUBLE": ["0.5::DOUBLE", "2.25::DOUBLE"],
    "DECIMAL": ["2.5"],
    "BOOLEAN": ["true"],
    "TIMESTAMP": ["TIMESTAMP '2024-05-06 07:08:09'"],
    "DATE": ["DATE '2024-05-06'"],
    "TIME": ["TIME '07:08:09'"],
    "INTERVAL": ["INTERVAL 3 DAY"],
}
"""Values of every type that an expression can hold."""

ANY = [values[0] for values in SAMPLES.values()]
INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
BY_HAND = ['"if"(true, 1, 2)']
OFFSET = "'2024-05-06 07:08:09+02'"

CLOCKS = ["age(TIMESTAMP '2020-01-01')", "ago(INTERVAL 1 DAY)", "current_localtime()", "current_localtimestamp()", "now()", "today()"]
ZONES = ["hour(TIMESTAMPTZ '2024-05-06 07:08:09+00')", "strptime('2024-05-06 +02', '%Y-%m-%d %z')::VARCHAR", "to_timestamp(0)::DATE"]
"""Not allowed: they show that the two surroundings differ in clock and in time zone."""


def values() -> dict[str, str]:
    """Return the value of every call, as text, by the call."""
    connection = duckdb.connect()
    connection.execute(f"SET TimeZone = '{os.environ['SAMPLE_ZONE']}'")
    connection.execute(f"SET Calendar = '{os.environ['SAMPLE_CALENDAR']}'")
    found: dict[str, str] = {}
    overloads: dict[str, list[tuple[list[str], str | None]]] = {}
    for function, types, rest in connection.sql(
        "SELECT DISTINCT function_name, parameter_types, varargs FROM duckdb_functions() ORDER BY ALL"
    ).fetchall():
        overloads.setdefault(function, []).append((types or [], rest))
    for function in sorted(PURE_FUNCTIONS):
        for types, rest in overloads[function]:
            taken = 0
            for arguments in itertools.islice(combinations(types, rest), 60):
                call = f'"{function}"({", ".join(arguments)})'
                value = attempt(connection, call)
                found |= {} if value is None else {call: value}
                taken += value is not None
                if taken == 4:
                    break
    for sample, wanted in itertools.product([*itertools.chain.from_iterable(SAMPLES.values()), OFFSET], sorted(PURE_TYPES)):
        found[f"TRY_CAST({sample} AS {wanted})"] = str(attempt(connection, f"TRY_CAST({sample} AS {wanted})"))
    return found | {call: str(attempt(connection, call)) for call in [*BY_HAND, *CLOCKS, *ZONES]}


def combinations(types: list[str], rest: str | None) -> Iterator[tuple[str, ...]]:
    offered = [candidates(kind) for kind in types]
    yield from itertools.product(*offered)
    if rest:
        yield from itertools.product(*offered, candidates(rest))


def candidates(kind: str | None) -> list[str]:
    if kind in INTEGERS:
        return [f"3::{kind}"]
    return SAMPLES.get(str(kind), []) if kind in SAMPLES or kind == "TIMESTAMP WITH TIME ZONE" else ANY


def attempt(connection: duckdb.DuckDBPyConnection, call: str) -> str | None:
    """Return the value of `call` as text; None if DuckDB refuses it or it is NULL."""
    try:
        row = connection.execute(f"SELECT ({call})::VARCHAR").fetchone()
    except duckdb.Error:
        return None
    return None if row is None or row[0] is None else str(row[0])


def run(**environment: str) -> dict[str, str]:
    inherited = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[4])}
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.lib.tables.test_pure_functions"],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))


@pytest.mark.slow
def test_every_allowed_function_gives_the_same_under_two_clocks_zones_and_languages() -> None:
    if FAKETIME is None:
        missing("libfaketime is not installed; apt-get install libfaketime")
    here = run(TZ="UTC", LANG="C.UTF-8", LC_ALL="C.UTF-8", SAMPLE_ZONE="UTC", SAMPLE_CALENDAR="gregorian")
    there = run(
        TZ="America/New_York",
        LANG="th_TH.UTF-8",
        LC_ALL="th_TH.UTF-8",
        SAMPLE_ZONE="Asia/Kolkata",
        SAMPLE_CALENDAR="buddhist",
        LD_PRELOAD=str(FAKETIME),
        FAKETIME="2031-11-12 13:14:15",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    assert here.keys() == there.keys()
    differing = {call for call in here if here[call] != there[call]}
    assert differing == {*CLOCKS, *ZONES}
    called = {call[1:].split('"')[0] for call in here if call.startswith('"')}
    assert called == PURE_FUNCTIONS


def test_an_allowed_function_exists_and_is_a_function_of_one_row() -> None:
    kinds: dict[str, set[str]] = {}
    for function, kind in duckdb.connect().sql("SELECT function_name, function_type FROM duckdb_functions()").fetchall():
        kinds.setdefault(function, set()).add(kind)
    assert {function for function in PURE_FUNCTIONS if not kinds.get(function, {"missing"}) <= {"scalar", "macro", "table"}} == set()


def test_the_documentation_lists_every_function() -> None:
    page = (Path(__file__).resolve().parents[4] / "docs" / "reference" / "features.md").read_text(encoding="utf-8").replace("\\|", "|")
    assert {function for function in PURE_FUNCTIONS if f"`{function}`" not in page} == set()


if __name__ == "__main__":
    print(json.dumps(values()))
