"""The clock of the partitioned DAGs: each night once, in every time zone, next to any backfill."""

import datetime as dt
import functools
import itertools
import json
import os
import subprocess
import sys
import zoneinfo
from collections import Counter
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow.exceptions import AirflowTimetableInvalid
from airflow.timetables.base import TimeRestriction
from airflow.timetables.trigger import CronPartitionTimetable
from croniter import croniter
from nightshift_airflow.plugin import NightshiftPlugin
from nightshift_airflow.timetable import ClockTimetable, NightTimetable, OnRequestTimetable

from pipelines.lib.declarations.weekday_cron import cron_of
from pipelines.lib.tables.night_calendar import NightCalendar

ROOT = Path(__file__).resolve().parents[3]
FIRST, DAYS = dt.date(2026, 1, 1), 730


@functools.cache
def changes_of_the_clocks() -> list[tuple[str, dt.date]]:
    """Return every moment of two years at which the clocks of an IANA zone change, and one zone and day for all days on which none do.

    Two zones that change on one date by the same need not do so at the same time of day: at 23:00 in Nuuk, at 2:00 in New York.
    """
    found: dict[tuple[dt.datetime, dt.timedelta | None, dt.timedelta | None], tuple[str, dt.date]] = {}
    for name in sorted(zoneinfo.available_timezones()):
        zone = zoneinfo.ZoneInfo(name)
        noons = [dt.datetime.combine(FIRST + dt.timedelta(days=day), dt.time(12), tzinfo=dt.UTC) for day in range(DAYS)]
        for day, (noon, next_noon) in enumerate(itertools.pairwise(noons)):
            before, after = noon.astimezone(zone).utcoffset(), next_noon.astimezone(zone).utcoffset()
            if before != after or day == 0:
                quarters = (noon + dt.timedelta(minutes=15 * step) for step in range(97))
                moment = next((one for one in quarters if one.astimezone(zone).utcoffset() == after), noon)
                found.setdefault((moment, before, after), (name, (moment - dt.timedelta(minutes=15)).astimezone(zone).date()))
    return list(found.values())


def partitions(cron: str, zone: str, days_back: int, first: dt.date, runs: int) -> list[str]:
    """Return the partitions of the first `runs` runs that the clock starts from `first` on."""
    timetable = NightTimetable(cron, timezone=zone, days_back=days_back)
    earliest = pendulum.datetime(first.year, first.month, first.day, tz=zone)
    info, found = None, []
    for _ in range(runs):
        info = timetable.next_dagrun_info_v2(last_dagrun_info=info, restriction=TimeRestriction(earliest, None, True))
        assert info is not None
        decoded = timetable.resolve_partition_date(info.partition_key)
        assert decoded is not None
        assert decoded.timestamp() == info.partition_date.timestamp()
        found.append(str(info.partition_key))
    return found


@pytest.mark.costly
@pytest.mark.parametrize("cron", ["0 2 * * *", "30 2 * * *", "30 0 * * *", "0 0 * * *", "30 1 * * *", "59 23 * * *"])
def test_each_night_is_scored_once_in_every_time_zone(cron: str) -> None:
    """Over two years. Days on which no clock changes are all alike, so each change is walked through, from days before it to days after."""
    walked = changes_of_the_clocks()
    assert len(walked) > 100
    for zone, change in walked:
        first = change - dt.timedelta(days=2)
        assert partitions(cron, zone, 7, first, 11) == [str(first + dt.timedelta(days=day - 7)) for day in range(11)], zone


def test_the_offset_is_in_calendar_days_for_any_cron() -> None:
    dates = (FIRST + dt.timedelta(days=day) for day in range(28))
    wanted = [str(date - dt.timedelta(days=4977)) for date in dates if date.isoweekday() <= 5]
    assert partitions("0 2 * * 1-5", "America/New_York", 4977, FIRST, 20) == wanted


@pytest.mark.parametrize("days_back", [0, 1, 364])
def test_the_cron_of_a_weekly_table_gives_the_nights_of_its_weekday(days_back: int) -> None:
    weekly = NightCalendar(("monday",))
    found = partitions(cron_of(weekly, days_back), "Europe/Berlin", days_back, FIRST, 10)
    dates = [dt.date.fromisoformat(partition) for partition in found]
    assert all(weekly.expects_rows(date) for date in dates)
    assert {later - earlier for earlier, later in itertools.pairwise(dates)} == {dt.timedelta(weeks=1)}


@pytest.mark.costly
def test_a_call_asks_for_few_ticks_however_far_the_offset_reaches_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parse of the DAG makes several calls. Airflow's own timetable asks the cron for each tick between a run and its partition."""
    asked: Counter[str] = Counter()

    def counted(name: str) -> Any:
        tick = getattr(croniter, name)

        def count(*arguments: Any, **options: Any) -> Any:
            asked[name] += 1
            return tick(*arguments, **options)

        return count

    for name in ("get_next", "get_prev"):
        monkeypatch.setattr(croniter, name, counted(name))

    def ticks(timetable: CronPartitionTimetable) -> int:
        asked.clear()
        restriction = TimeRestriction(pendulum.datetime(2026, 1, 1), None, True)
        info = timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=restriction)
        assert info is not None
        return asked.total()

    near, far = (ticks(NightTimetable("0 2 * * *", timezone="America/New_York", days_back=days)) for days in (0, 4977))
    assert 0 < near == far < 10
    assert ticks(CronPartitionTimetable("0 2 * * *", timezone="America/New_York", run_offset=-4977)) > 4977, "this test counts ticks"


def test_a_backfill_has_the_partitions_that_the_clock_has() -> None:
    timetable = NightTimetable("0 2 * * 1-5", timezone="Europe/Berlin", days_back=1)
    infos = list(timetable.iter_partition_dagrun_infos(earliest=pendulum.datetime(2026, 3, 26), latest=pendulum.datetime(2026, 3, 31)))
    assert [info.partition_key for info in infos] == ["2026-03-26", "2026-03-29", "2026-03-30", "2026-03-31"]
    assert all(info.partition_date == timetable.resolve_partition_date(info.partition_key) for info in infos)


def test_it_survives_serialization() -> None:
    timetable = NightTimetable("0 2 * * *", timezone="America/New_York", days_back=4977)
    again = NightTimetable.deserialize(json.loads(json.dumps(timetable.serialize())))
    assert again.serialize() == timetable.serialize()


@pytest.mark.parametrize("cron", ["*/5 * * * *", "0 1,2 * * *", "0 * * * *", "0 2 * *"])
def test_a_cron_that_gives_a_date_several_runs_or_none_is_refused(cron: str) -> None:
    with pytest.raises(AirflowTimetableInvalid):
        NightTimetable(cron, timezone="UTC").validate()


@pytest.mark.slow
@pytest.mark.integration
def test_a_backfill_ahead_of_the_clock_or_behind_it_starts_no_other_run(tmp_path: Path) -> None:
    """Through Airflow's database: parse three times after each backfill, and look at the run that the clock would start next."""
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"}
    environment |= {"AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=environment, capture_output=True, check=True)
    done = subprocess.run([sys.executable, "-c", _BACKFILLS], env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    before, *after = json.loads(done.stdout.splitlines()[-1])
    assert before["ahead"], "the next run is in the future"
    assert after == [before] * 6


_BACKFILLS = """
import datetime as dt, json
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.backfill import Backfill, ReprocessBehavior, _create_backfill
from airflow.models.dag import DagModel
from airflow.models.serialized_dag import SerializedDagModel
from airflow.timetables.base import TimeRestriction
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

NAME = "nightly_batch_scoring"

with create_session() as session:
    DagBundlesManager().sync_bundles_to_db(session=session)
bag = DagBag("dags/nightly_batch_scoring.py", bundle_path=__import__("pathlib").Path("dags"), bundle_name="dags-folder")
assert not bag.import_errors, bag.import_errors

def parse():
    sync_bag_to_db(bag, "dags-folder", None)
    with create_session() as session:
        model = session.get(DagModel, NAME)
        after = model.next_dagrun_create_after
        return {"partition": model.next_dagrun_partition_key, "after": after.isoformat(), "ahead": after > dt.datetime.now(dt.UTC)}

parse()
with create_session() as session:  # the clock's run of last night, as the scheduler makes it
    dag = SerializedDagModel.get_dag(NAME, session=session)
    last = dag.timetable._align_to_prev(__import__("pendulum").now("UTC"))
    date, key = dag.timetable._get_partition_info(last)
    dag.create_dagrun(run_id="scheduled__last", logical_date=None, data_interval=None, run_after=last, run_type=DagRunType.SCHEDULED,
        triggered_by=DagRunTriggeredByType.TIMETABLE, state=DagRunState.SUCCESS, session=session, partition_key=key, partition_date=date)
seen = [parse()]
for days in (20, -40):
    first = dt.datetime.combine(dt.date.fromisoformat(key) + dt.timedelta(days=days), dt.time(), tzinfo=dt.UTC)
    _create_backfill(dag_id=NAME, from_date=first, to_date=first + dt.timedelta(days=9), max_active_runs=2, reverse=False, dag_run_conf=None,
        triggering_user_name="test", reprocess_behavior=ReprocessBehavior.NONE)
    seen += [parse() for _ in range(3)]
    with create_session() as session:  # of a DAG, one backfill may be active
        session.query(Backfill).update({"completed_at": dt.datetime.now(dt.UTC)})
print(json.dumps(seen))
"""


def test_the_list_of_dags_shows_the_schedule_in_words():
    assert NightTimetable("0 2 * * *", timezone="UTC").summary == "At 02:00"
    assert NightTimetable("0 4 * * 1", timezone="UTC").summary == "At 04:00, only on Monday"
    assert ClockTimetable("0 6 1 * *", timezone="UTC").summary == "At 06:00, on day 1 of the month"


@pytest.mark.parametrize("file", sorted((ROOT / "dags").glob("*.py")), ids=lambda file: file.stem)
def test_no_dag_shows_a_bare_cron(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the scheduler reads it back from the serialized DAG, with the timetables that the plugin registers."""
    from airflow import plugins_manager
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.decoders import decode_timetable
    from airflow.serialization.encoders import encode_timetable

    registered = {f"{one.__module__}.{one.__qualname__}": one for one in NightshiftPlugin.timetables}
    monkeypatch.setattr(plugins_manager, "get_timetables_plugins", lambda: registered)
    bag = DagBag(file)
    assert not bag.import_errors
    assert file.stem in bag.dags
    for dag in bag.dags.values():  # one for each use case
        assert "*" not in decode_timetable(encode_timetable(dag.timetable)).summary, dag.dag_id
    shown = decode_timetable(encode_timetable(bag.dags[file.stem].timetable)).summary
    if file.stem == "champion_replay":
        assert shown == "At 06:00, on day 1 of the month"


def test_a_dag_that_is_asked_for_has_a_form_for_its_partition_and_starts_nothing() -> None:
    """Airflow's form asks for a logical date, and not for a partition key, unless the timetable is partitioned."""
    timetable = OnRequestTimetable.deserialize(OnRequestTimetable().serialize())
    assert timetable.partitioned
    assert not timetable.can_be_scheduled
    assert not timetable.periodic, "no backfill"
    assert timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=TimeRestriction(None, None, True)) is None
    assert timetable.resolve_partition_date("2013-06-01") is None
    assert timetable.summary == "On request"
