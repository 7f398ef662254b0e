"""The partition of a run: one date, however it was given, or no run."""

import datetime as dt
import shutil
import zoneinfo
from pathlib import Path

import pytest
from airflow.models import DagModel
from airflow.sdk import CronPartitionTimetable, Param, PartitionedAssetTimetable
from airflow.utils.session import create_session
from fastapi import HTTPException
from nightshift_airflow import partitions, places
from nightshift_airflow.refusals import RunRefusedError
from nightshift_airflow.timetable import NightTimetable, OnRequestTimetable
from nightshift_airflow.use_cases import kind_of, settings_of
from sqlalchemy import update

from tests.airflow_database import airflow_database, parse, publish, runs, schedule, trigger

ROOT = Path(__file__).resolve().parents[3]
NIGHTLY, RETRAINING = "nightly_batch_scoring", "drift_triggered_retraining"


@pytest.fixture(scope="module")
def dags():
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(ROOT / "dags")
    assert not bag.import_errors
    return bag.dags


@pytest.fixture(scope="module")
def parsed(tmp_path_factory, dags):
    """Return a database with the DAGs in it, which no test changes: to parse them takes longer than a test."""
    directory = tmp_path_factory.mktemp("parsed")
    with pytest.MonkeyPatch.context() as patch, airflow_database(directory, patch):
        for dag_id in (NIGHTLY, RETRAINING, "weekly_index_rebuild", "vector_index_rebuild", *partitions.UNPARTITIONED):
            parse(dags[dag_id])
    return directory / "airflow.db"


@pytest.fixture
def database(tmp_path, monkeypatch, parsed):
    """Airflow's database with the DAGs in it, in a process that has loaded the plugin."""
    with airflow_database(tmp_path, monkeypatch, parsed):
        yield


def test_the_partitioned_dags_are_those_whose_form_asks_for_a_partition(dags):
    assert {kind_of(dag_id) for dag_id, dag in dags.items() if "partition" in dag.params} == partitions.PARTITIONED
    with_keys = (NightTimetable, PartitionedAssetTimetable, OnRequestTimetable)
    for dag_id, dag in dags.items():  # of every use case
        assert isinstance(dag.timetable, with_keys) == ("partition" in dag.params) == (kind_of(dag_id) in partitions.PARTITIONED), dag_id
    assert {kind_of(dag_id) for dag_id in dags} == partitions.PARTITIONED | partitions.UNPARTITIONED


def test_dags_that_learn_from_a_published_night_are_those_that_open_with_it(dags):
    opening = {dag_id: dag.task_dict["open_run"] for dag_id, dag in dags.items() if "open_run" in dag.task_dict}
    assert {dag_id for dag_id, task in opening.items() if task.scored} == {
        dag_id for dag_id in dags if kind_of(dag_id) in partitions.AFTER_PUBLICATION
    }


def test_a_form_asks_first_for_the_partition_with_a_date_picker_and_demands_nothing_optional(dags):
    needed = {("champion_rollback", "reason"), ("index_rollback", "reason")}
    for dag_id, dag in dags.items():
        if "partition" in dag.params:
            assert next(iter(dag.params)) == "partition"
            assert dag.params.get_param("partition").schema["format"] == "date"
        for name in dag.params:
            param: Param = dag.params.get_param(name)
            optional = "null" in param.schema["type"]
            # Airflow's form demands what may be no null, so it has to come with a value that is good.
            assert optional or param.value or (kind_of(dag_id), name) in needed, (dag_id, name)


@pytest.mark.parametrize("date", ["2013-04-01", "2024-02-29"])
def test_one_date_is_enough_and_the_same_twice_is_the_same(date):
    assert partitions.choose_partition(date, None) == date
    assert partitions.choose_partition(None, {"partition": date}) == date
    assert partitions.choose_partition(date, {"partition": date}) == date
    assert partitions.choose_partition(date, {"partition": None, "reason": "x"}) == date


@pytest.mark.parametrize(
    ("key", "asked", "message"),
    [
        (None, None, "no partition is given; pick a night under Partition"),
        ("2013-04-01", "2013-04-02", "partition_key is '2013-04-01', but the parameter partition is '2013-04-02'"),
        ("2013-04-01", "", "but the parameter partition is ''"),
        (None, "2013-02-30", "'2013-02-30'; trigger the run with a date of the calendar"),
        ("20130401", None, "partition_key is '20130401'"),
        ("２０１３-04-01", None, "is '２０１３-04-01'"),
        (None, 20130401, "is 20130401"),
    ],
)
def test_two_dates_or_none_are_refused(key, asked, message):
    with pytest.raises(RunRefusedError) as caught:
        partitions.choose_partition(key, {"partition": asked})
    assert message in str(caught.value)


# --- runs that Airflow makes, or does not


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("key", "conf"),
    [
        ("2013-04-05", {}),
        ("2013-04-05", {"partition": None, "reason": None}),
        (None, {"partition": "2013-04-05"}),
        ("2013-04-05", {"partition": "2013-04-05"}),
    ],
)
def test_form_rest_and_partition_key_make_the_same_run(key, conf):
    trigger(NIGHTLY, key, conf)
    [run] = runs(NIGHTLY)
    assert run.partition_key == "2013-04-05"
    midnight = dt.datetime(2013, 4, 5, tzinfo=zoneinfo.ZoneInfo(settings_of(NIGHTLY)["timezone"]))
    assert run.partition_date.astimezone(dt.UTC) == midnight.astimezone(dt.UTC)
    trigger(RETRAINING, key, conf)
    [run] = runs(RETRAINING)
    assert (run.partition_key, run.partition_date) == ("2013-04-05", None)


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("dag_id", [NIGHTLY, RETRAINING, "vector_index_rebuild", "weekly_index_rebuild"])
@pytest.mark.parametrize(
    ("key", "conf", "message"),
    [
        (None, {}, "no partition is given"),
        (None, {"partition": ""}, "partition"),
        (None, {"partition": "2013-02-30"}, "partition"),
        (None, {"partition": "20130401"}, "partition"),
        (None, {"partition": 20130401}, "partition"),
        ("2013-4-2", {}, "2013-4-2"),
        ("２０１３-04-02", {}, "２０１３-04-02"),
        ("2013-04-01", {"partition": "2013-04-02"}, "but the parameter partition is '2013-04-02'"),
        ("2013-04-01", {"raeson": "x"}, "conf holds 'raeson', which this DAG does not know; it takes "),
    ],
)
def test_what_is_no_one_date_is_answered_with_400_and_makes_no_run(dag_id, key, conf, message):
    with pytest.raises(HTTPException) as caught:
        trigger(dag_id, key, conf)
    assert caught.value.status_code == 400
    assert message in caught.value.detail
    assert runs(dag_id) == []


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("dag_id", [NIGHTLY, RETRAINING, "weekly_index_rebuild", "champion_rollback"])
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("dataset: {name: flights", "params.yaml"),
        ("trian: {}", "unknown section 'trian'"),
        ('nightly_batch_scoring: {cron: "0 25 * * *"}', "cron"),
    ],
)
def test_a_run_of_a_use_case_that_is_broken_by_now_is_refused_with_its_fault(dag_id, broken, message, tmp_path, monkeypatch):
    """Airflow keeps the DAGs of such a use case for some time. It was answered with 500."""
    repository = tmp_path / "repository"
    (repository / "pipelines").mkdir(parents=True)
    shutil.copy(ROOT / "pipelines" / "defaults.yaml", repository / "pipelines")
    (repository / "params.yaml").write_text(f"{broken}\n")
    monkeypatch.setattr(places, "REPOSITORY", repository)
    with pytest.raises(HTTPException) as caught:
        trigger(dag_id, *((None, {"reason": "so"}) if dag_id == "champion_rollback" else ("2013-04-01", {})))
    assert caught.value.status_code == 400
    assert caught.value.detail.startswith(f"the use case of {dag_id} is broken: ")
    assert message in caught.value.detail
    assert runs(dag_id) == []


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("dag_id", sorted(partitions.UNPARTITIONED))
def test_a_misspelt_version_does_not_roll_back_to_another_one(dag_id):
    with pytest.raises(HTTPException) as caught:
        trigger(dag_id, None, {"reason": "version 3 was right", "verison": "3"})
    assert caught.value.status_code == 400
    assert "'verison'" in caught.value.detail
    assert runs(dag_id) == []


@pytest.mark.usefixtures("database")
def test_a_version_has_one_spelling_so_that_an_alert_about_it_is_not_taken_for_one_about_another():
    with pytest.raises(HTTPException) as caught:
        trigger(RETRAINING, "2013-04-01", {"champion_version": "07"})
    assert caught.value.status_code == 400
    assert "champion_version" in caught.value.detail
    assert runs(RETRAINING) == []


@pytest.mark.usefixtures("database")
def test_a_rollback_with_what_its_form_asks_for_is_made():
    trigger("champion_rollback", None, {"reason": "version 3 was right", "version": "3"})
    assert [run.conf["version"] for run in runs("champion_rollback")] == ["3"]


@pytest.mark.usefixtures("database")
def test_a_training_as_of_a_night_to_come_is_not_made_and_its_id_stays_free():
    publish("2013-04-01")
    with pytest.raises(HTTPException) as caught:
        trigger(RETRAINING, "2013-04-02", dag_run_id="drift__3__2013-04-02")
    assert caught.value.status_code == 400
    assert (
        caught.value.detail
        == "night 2013-04-02 is not published yet, the newest that this Airflow has published is 2013-04-01; ask again once it is published"
    )
    trigger(NIGHTLY, "2013-04-02")  # scores it
    publish("2013-04-02")
    trigger(RETRAINING, "2013-04-02", dag_run_id="drift__3__2013-04-02")
    assert [run.partition_key for run in runs(RETRAINING)] == ["2013-04-02"]


@pytest.mark.usefixtures("database")
def test_the_monitor_has_read_its_night_in_the_table_with_any_kept_events():
    publish("2013-04-01")
    trigger(RETRAINING, "2013-04-02", {"champion_version": "3", "source": "monitor"}, dag_run_id="drift__3__2013-04-02")
    assert [run.partition_key for run in runs(RETRAINING)] == ["2013-04-02"]


@pytest.mark.usefixtures("database")
def test_the_clock_needs_nobody_to_fill_in_a_form():
    midnight = dt.datetime(2013, 4, 5, tzinfo=dt.UTC)
    due = {"next_dagrun_create_after": midnight, "next_dagrun_partition_date": midnight, "next_dagrun_partition_key": "2013-04-05"}
    with create_session(scoped=False) as session:
        session.execute(update(DagModel).where(DagModel.dag_id == NIGHTLY).values(due))
    schedule()
    [run] = runs(NIGHTLY)
    assert (run.run_type, run.partition_key, run.conf) == ("scheduled", "2013-04-05", {})


@pytest.mark.costly
@pytest.mark.usefixtures("database")
def test_the_dags_of_others_are_left_alone():
    from airflow.sdk import DAG

    with DAG(
        "of_somebody", schedule=CronPartitionTimetable("0 0 * * *", timezone="UTC"), catchup=False, params={"partition": "north"}
    ) as dag:
        pass
    parse(dag)
    trigger("of_somebody", None, {"partition": "south"})
    assert [run.partition_key for run in runs("of_somebody")] == [None]
