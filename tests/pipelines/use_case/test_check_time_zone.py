"""``check``, ``init``, ``derive`` and ``show`` of a use case with a time zone."""

import copy
import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.use_cases import effective, find
from pipelines.lib.declarations.draft import Wishes
from pipelines.use_case.__main__ import main
from pipelines.use_case.check import check, look
from pipelines.use_case.derive import derive
from pipelines.use_case.init import init
from pipelines.use_case.show import show
from tests import rides

pytestmark = pytest.mark.costly

ZONE = "Europe/Berlin"
LABEL = Wishes(label="minutes_late >= 10", label_name="late", delay_days=2)


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository with rides of 40 dates around a change of the clocks, whose local times are known to be instants."""
    rides.repository(tmp_path)
    monkeypatch.chdir(tmp_path)
    write()


def write(**changes: Any) -> None:
    """Write the rides as instants; `changes` are SQL of columns."""
    query = rides.rides(first=dt.date(2024, 3, 1), days=40)
    replaced = {"started_at": "started_at AT TIME ZONE 'UTC'", **changes}
    duckdb.sql("SET TimeZone = 'UTC'")
    duckdb.sql(
        f"COPY (SELECT * REPLACE ({', '.join(f'{sql} AS {column}' for column, sql in replaced.items())}) FROM ({query})) TO 'rides.parquet'"
    )


def declare(**dataset: Any) -> None:
    declared = copy.deepcopy(rides.DECLARED)
    declared["dataset"] |= {"time_zone": ZONE, **dataset}
    rides.declare(Path(), declared)


def test_a_use_case_in_a_zone_derives_and_checks_without_a_fault() -> None:
    declare()
    derive(find("rides", Path()), rides.TODAY)
    assert check(Path(), ["rides"]) == []
    assert look(Path(), ["rides"]) == []
    duckdb.sql(f"SET TimeZone = '{ZONE}'")
    [rows] = duckdb.sql("SELECT min(started_at::DATE), max(started_at::DATE) FROM 'rides.parquet'").fetchall()
    derived = yaml.safe_load(Path("use_cases/rides/derived.yaml").read_text())
    assert (derived["derived_from"]["first"], derived["derived_from"]["last"]) == tuple(map(str, rows))


def test_the_schedules_follow_the_zone_of_the_dates() -> None:
    declare()
    derive(find("rides", Path()), rides.TODAY)
    found = effective(find("rides", Path()))
    assert found.params["nightly_batch_scoring"]["timezone"] == found.params["champion_replay"]["timezone"] == ZONE
    shown = show(find("rides", Path()))
    assert any(line.split("#")[0].strip() == f"timezone: {ZONE}" and line.endswith("# time_zone") for line in shown.splitlines())
    assert any(line.split("#")[0].strip() == f"time_zone: {ZONE}" and line.endswith("# declared") for line in shown.splitlines())


def test_a_schedule_in_another_zone_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    declared = copy.deepcopy(rides.DECLARED)
    declared["dataset"]["time_zone"] = "America/New_York"
    declared["nightly_batch_scoring"] = {"timezone": "UTC"}
    rides.declare(Path(), declared)
    derive(find("rides", Path()), rides.TODAY)
    assert main(["check", "rides"]) == 0
    warned = capsys.readouterr().err
    assert (
        "WARNING: use_cases/rides/params.yaml: nightly_batch_scoring.timezone: is UTC, but the dates of the dataset end at midnight in America/New_York"
        in warned
    )
    assert "champion_replay" not in warned


def test_a_zone_that_does_not_exist_is_named_with_the_closest() -> None:
    declare(time_zone="Europe/Berln")
    faults = [str(fault) for fault in check(Path(), ["rides"])]
    said = "is 'Europe/Berln', which is not in the IANA database; did you mean Europe/Berlin?"
    assert f"use_cases/rides/params.yaml: dataset.time_zone: {said}" in faults
    with pytest.raises(ConfigError, match=r"1 fault in rides:\n.*dataset\.time_zone: is 'Europe/Berln'.*did you mean Europe/Berlin\?"):
        derive(find("rides", Path()), rides.TODAY)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (
            {},
            "column 'started_at' of rides.parquet has times without a zone, and dataset.time_zone is Europe/Berlin: write `written_in: UTC` in the column in use_cases/rides/params.yaml",
        ),
        ({"written_in": ZONE}, "a time that the clocks of Europe/Berlin skip"),
    ],
)
def test_times_without_a_zone_are_never_guessed(column: dict[str, str], said: str) -> None:
    write(started_at="started_at")
    declare(columns={"started_at": {"type": "timestamp", **column}})
    faults = [str(fault) for fault in check(Path(), ["rides"])]
    assert any(said in fault for fault in faults), faults
    declare(columns={"started_at": {"type": "timestamp", "written_in": "UTC"}})
    derive(find("rides", Path()), rides.TODAY)
    assert check(Path(), ["rides"]) == []


def drafted(source: str) -> tuple[dict[str, Any], str]:
    init(Path(), "drafted", source, LABEL)
    text = Path("use_cases/drafted/params.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text), " ".join(text.replace("\n#", " ").split())


def test_init_proposes_the_zone_that_the_file_names() -> None:
    table = pq.read_table("rides.parquet")
    instants = table["started_at"].cast(pa.timestamp("us", ZONE))
    pq.write_table(table.set_column(table.schema.get_field_index("started_at"), "started_at", instants), "rides.parquet")
    declared, text = drafted("rides.parquet")
    assert declared["dataset"]["time_zone"] == ZONE
    assert "started_at holds instants and names Europe/Berlin" in text
    derive(find("drafted", Path()), rides.TODAY)
    assert check(Path(), ["drafted"]) == []


def test_init_proposes_utc_for_instants_and_says_what_to_write() -> None:
    declared, text = drafted("rides.parquet")
    assert declared["dataset"]["time_zone"] == "UTC"
    assert "started_at holds instants, in UTC. time_zone is UTC: the dates of that zone are the partitions" in text


def test_init_says_which_offsets_it_has_seen() -> None:
    frame = pd.read_parquet("rides.parquet")
    local = frame["started_at"].dt.tz_convert(ZONE)
    frame.assign(started_at=[moment.isoformat() for moment in local]).to_csv("rides.csv", index=False)
    declared, text = drafted("rides.csv")
    assert declared["dataset"]["time_zone"] == "UTC"
    offsets = local.map(lambda moment: moment.strftime("%z")).value_counts()
    for offset, rows in offsets.items():
        assert f"{offset[:3]}:{offset[3:]} in {rows:,} rows" in text


def test_init_proposes_nothing_for_times_without_a_zone() -> None:
    write(started_at="started_at")
    declared, text = drafted("rides.parquet")
    assert "time_zone" not in declared["dataset"]
    assert "Time zone: started_at has none, so its times are taken as the local clock" in text
