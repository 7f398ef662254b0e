"""A join that finds nothing gives a column without a value, and no gate sees it: the check counts what each join finds."""

import copy
from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.use_cases import find
from pipelines.lib.declarations import derivation
from pipelines.use_case.check import look
from pipelines.use_case.derive import derive
from tests import rides

KEY = "features.joins.towns.key"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rides.repository(tmp_path)
    rides.write(tmp_path / "rides.parquet", rides.rides())
    monkeypatch.chdir(tmp_path)


def findings(towns: str, on: str = "city", kind: str = "string") -> list[str]:
    """Join the rides with the side table `towns` (SQL with columns town, people) where its town equals `on`; return what derive, or else the check, says of joins."""
    rides.write(Path("towns.parquet"), towns)
    declared: dict[str, Any] = copy.deepcopy(rides.DECLARED)
    declared["dataset"]["tables"] = {
        "towns": {
            "source": {"kind": "parquet", "path": "towns.parquet"},
            "key": ["town"],
            "columns": {"town": {"type": kind}, "people": {"type": "integer"}},
        }
    }
    declared["features"]["joins"] = {"towns": {"key": {"town": on}}}
    declared["features"]["numeric"]["towns_people"] = {"missing": -1}
    rides.declare(Path(), declared)
    try:
        derivation.write(find("rides", Path()), derivation.derive(find("rides", Path()), rides.TODAY))
    except ConfigError as refused:
        return str(refused).splitlines()
    return [
        ("WARNING " if fault.finding.warning else "") + str(fault.finding)
        for fault in look(Path(), ["rides"])
        if "joins" in fault.finding.key
    ]


def town(*names: str) -> str:
    return f"SELECT unnest([{', '.join(map(repr, names))}]) AS town, 1000 AS people"


@pytest.mark.costly
def test_a_join_that_finds_its_rows_is_not_worth_a_word() -> None:
    assert findings(town("Bonn", "Köln", "Mainz")) == []


@pytest.mark.costly
def test_a_join_that_finds_no_row_is_a_fault() -> None:
    assert findings(town("BONN", "KÖLN", "MAINZ")) == [
        f"{KEY}: is town = city, which finds a row of towns for no event; compare how both sides write it"
    ]


@pytest.mark.costly
def test_a_join_that_finds_few_rows_is_a_warning_with_their_share() -> None:
    [found] = findings(town("Bonn", "Koeln", "MAINZ"))
    assert found.startswith(f"WARNING {KEY}: is town = city, which finds a row of towns for 3")
    assert found.endswith("% of the events; compare how both sides write it, unless so few are meant")
    derive(find("rides", Path()), rides.TODAY, again=True)  # a warning does not refuse


@pytest.mark.costly
def test_an_expression_that_fails_on_a_value_is_a_fault() -> None:
    [found] = findings("SELECT 1 AS town, 1000 AS people", on="city::INT", kind="integer")
    assert found.startswith(f"{KEY}: fails: Conversion Error") and found.endswith("; correct it, or write TRY(…)")


@pytest.mark.costly
def test_a_time_is_not_joined_with_a_date() -> None:
    """Only the rides of midnight found a row, and the night was green."""
    dates = f"SELECT unnest(generate_series(DATE '{rides.FIRST}', DATE '{rides.FIRST}' + {rides.DAYS}, INTERVAL 1 DAY))::DATE AS town, 1000 AS people"
    [found, *more] = findings(dates, on="started_at", kind="date")
    assert (
        "is 'started_at', a TIMESTAMP, but the column 'town' of towns is a DATE; only events of midnight would find a row: write (started_at)::DATE"
        in found
    )
    assert all("midnight" not in fault for fault in more)
    assert findings(dates, on="started_at::DATE", kind="date") == []
