"""Several use cases in one installation: their DAGs, their workspaces, and what is kept apart."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException
from nightshift_airflow import places, use_cases, workspaces
from nightshift_airflow.partitions import PARTITIONED, UNPARTITIONED
from nightshift_airflow.refusals import RunRefusedError
from nightshift_airflow.repository import git
from nightshift_airflow.run_record import record_run

from tests.opened_night import Night

ROOT = Path(__file__).resolve().parents[3]
KINDS = sorted(PARTITIONED | UNPARTITIONED)
SHORT = {"dataset": {"event_time": "paid_at"}, "features": {}, "first_run": {"partition": "2024-03-01"}}


@pytest.fixture
def installation(repository: Path) -> Path:
    """A repository with two use cases next to the default one, one of them broken."""
    (repository / "pipelines").mkdir(exist_ok=True)
    for name in ("params.yaml", "pipelines/defaults.yaml"):
        shutil.copyfile(ROOT / name, repository / name)
    fraud = repository / "use_cases" / "fraud" / "params.yaml"
    fraud.parent.mkdir(parents=True)
    fraud.write_text(yaml.safe_dump({**SHORT, "nightly_batch_scoring": {"cron": "30 3 * * *"}, "pool": {"slots": 2}}), encoding="utf-8")
    broken = repository / "use_cases" / "churn" / "params.yaml"
    broken.parent.mkdir(parents=True)
    broken.write_text("trian: {max_depth: 8}\n", encoding="utf-8")
    git("add", "--all")
    git("commit", "--quiet", "-m", "declare use cases")
    return repository


def parsed(kind: str) -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(ROOT / "dags" / f"{kind}.py")
    assert not bag.import_errors
    return bag.dags


@pytest.mark.costly
@pytest.mark.parametrize("kind", KINDS)
def test_each_dag_file_makes_one_dag_for_each_sound_use_case(kind: str, installation: Path) -> None:
    dags = parsed(kind)
    assert set(dags) == {kind, f"{kind}__fraud"}
    default, fraud = dags[kind], dags[f"{kind}__fraud"]
    assert [task.task_id for task in default.topological_sort()] == [task.task_id for task in fraud.topological_sort()]
    assert {task.pool for task in default.tasks} == {"default_pool"}
    assert {task.pool for task in fraud.tasks} == {"fraud"}
    assert fraud.dag_display_name == f"{default.dag_display_name} · fraud"
    assert "flights" in default.tags
    assert "fraud" in fraud.tags


@pytest.mark.costly
def test_assets_and_settings_are_apart(installation: Path) -> None:
    dags = parsed("nightly_batch_scoring")
    uris = {dag_id: [asset.uri for asset in dag.get_task("publish_scores").outlets] for dag_id, dag in dags.items()}
    assert uris == {
        "nightly_batch_scoring": ["nightshift://published/scores"],
        "nightly_batch_scoring__fraud": ["nightshift://published/scores__fraud"],
    }
    assert {dag_id: dag.timetable.summary for dag_id, dag in dags.items()} == {
        "nightly_batch_scoring": "At 02:00",
        "nightly_batch_scoring__fraud": "At 03:30",
    }
    assert use_cases.settings_of("nightly_batch_scoring__fraud")["cron"] == "30 3 * * *"


def test_a_broken_use_case_is_named_and_hides_no_other_one(installation: Path) -> None:
    assert [one.name for one in use_cases.use_cases()] == ["flights", "fraud"]
    assert list(use_cases.broken()) == ["churn"]
    assert "use_cases/churn/params.yaml has the unknown section 'trian'; write train" in use_cases.broken()["churn"]


@pytest.mark.costly
@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        ("nightly_batch_scoring", {"cron": "every night"}, "cron is 'every night'; write minute, hour"),
        ("nightly_batch_scoring", {"timezone": "Mars/Olympus"}, "timezone is 'Mars/Olympus', which is not in the IANA database"),
        ("nightly_batch_scoring", {"max_active_runs": "many"}, "Input should be a valid integer .found 'many'"),
        ("weekly_index_rebuild", {"replay_offset_days": 10**9}, "less than or equal to 36500"),
        ("drift_triggered_retraining", {"approval_hours": None}, "drift_triggered_retraining.approval_hours"),
        ("drift_triggered_retraining", {"retries": "few"}, "drift_triggered_retraining.retries"),
        ("vector_index_rebuild", {"shards_at_once": 0}, "vector_index_rebuild.shards_at_once"),
        ("champion_replay", {"cron": 7}, "champion_replay.cron"),
    ],
)
def test_a_wrong_value_that_a_dag_file_reads_takes_down_no_other_use_case(
    installation: Path, kind: str, wrong: dict[str, object], said: str
) -> None:
    declaration = installation / "use_cases" / "churn" / "params.yaml"
    declaration.write_text(yaml.safe_dump({**SHORT, kind: wrong}), encoding="utf-8")
    assert set(parsed(kind)) == {kind, f"{kind}__fraud"}
    assert re.search(said, use_cases.broken()["churn"])
    assert "use_cases/churn/params.yaml" in use_cases.broken()["churn"]


@pytest.mark.parametrize(
    ("declared", "has_empty_nights"),
    [
        ({}, False),
        ({"weekdays": ["monday", "friday"]}, True),
        ({"nights_without_rows": 2}, True),
        ({"weekdays": 5}, False),  # wrong: a run of it is refused when it opens
        ({"weekdays": "monday"}, False),
    ],
)
def test_a_dag_file_asks_for_nights_without_rows_and_survives_a_wrong_answer(
    installation: Path, declared: dict[str, object], has_empty_nights: bool
) -> None:
    declaration = installation / "use_cases" / "churn" / "params.yaml"
    declaration.write_text(yaml.safe_dump({**SHORT, "dataset": {**SHORT["dataset"], **declared}}), encoding="utf-8")
    assert [(one.name, one.has_empty_nights) for one in use_cases.use_cases()] == [
        ("flights", False),
        ("churn", has_empty_nights),
        ("fraud", False),
    ]


@pytest.mark.parametrize(
    ("dag_id", "kind", "name"),
    [
        ("drift_monitoring", "drift_monitoring", ""),
        ("drift_monitoring__card_fraud", "drift_monitoring", "card_fraud"),
        ("first_champion__fraud", "first_champion", "fraud"),
    ],
)
def test_the_id_of_a_dag_says_its_kind_and_its_use_case(dag_id: str, kind: str, name: str) -> None:
    assert (use_cases.kind_of(dag_id), use_cases.name_of(dag_id)) == (kind, name)
    assert dag_id == kind + use_cases.suffix_of(dag_id)


def test_a_workspace_holds_the_parameters_of_its_use_case_and_its_ref_records_them(installation: Path) -> None:
    workspace = workspaces.open_workspace("nightly_batch_scoring__fraud", "night")
    params = yaml.safe_load((workspace.path / "params.yaml").read_text(encoding="utf-8"))
    run = yaml.safe_load((workspace.path / "run.yaml").read_text(encoding="utf-8"))
    assert (params["use_case"], params["train"]["parameters"]["max_depth"]) == ({"name": "fraud", "default": False}, 8)
    assert (run["partition"], run["model"]["name"]) == ("2024-03-01", "fraud_model")
    (workspace.path / "run.yaml").write_text(yaml.safe_dump({**run, "run_id": "night"}), encoding="utf-8")
    assert record_run(workspace, "success")
    assert yaml.safe_load(git("show", f"{workspace.ref}:params.yaml")) == params


@pytest.mark.costly
def test_the_record_outlives_the_use_case(installation: Path) -> None:
    workspace = workspaces.open_workspace("nightly_batch_scoring__fraud", "night")
    run = yaml.safe_load((workspace.path / "run.yaml").read_text(encoding="utf-8"))
    (workspace.path / "run.yaml").write_text(yaml.safe_dump({**run, "run_id": "night"}), encoding="utf-8")
    record_run(workspace, "success")
    workspaces.remove_workspace(workspace.path)
    shutil.rmtree(installation / "use_cases" / "fraud")
    git("commit", "--quiet", "--all", "-m", "remove fraud")
    restored = workspaces.open_workspace("nightly_batch_scoring__fraud", "night")
    assert yaml.safe_load((restored.path / "params.yaml").read_text(encoding="utf-8"))["use_case"]["name"] == "fraud"


def test_the_default_use_case_has_the_files_of_the_commit(installation: Path) -> None:
    workspace = workspaces.open_workspace("nightly_batch_scoring", "night")
    assert git("status", "--porcelain", cwd=workspace.path) == ""


@pytest.mark.parametrize(
    ("dag_id", "said"), [("drift_monitoring__churn", "unknown section 'trian'"), ("drift_monitoring__gone", "there is no use case 'gone'")]
)
def test_a_run_of_a_use_case_that_is_broken_or_gone_is_refused(installation: Path, dag_id: str, said: str) -> None:
    with pytest.raises(RunRefusedError, match=said):
        workspaces.open_workspace(dag_id, "night")


def test_a_stage_alone_has_the_parameters_of_its_use_case(installation: Path) -> None:
    with workspaces.scratch("champion_rollback__fraud", "back") as scratch:
        assert yaml.safe_load((scratch.path / "params.yaml").read_text(encoding="utf-8"))["registry"]["name"] == "fraud_model"
    with workspaces.scratch("champion_rollback", "back") as scratch:
        assert (scratch.path / "params.yaml").read_bytes() == (places.REPOSITORY / "params.yaml").read_bytes()


@pytest.fixture
def one_ledger(installation: Path) -> Path:
    """The installation, in which a third use case names the model of fraud."""
    cards = installation / "use_cases" / "cards" / "params.yaml"
    cards.parent.mkdir()
    cards.write_text(yaml.safe_dump({**SHORT, "registry": {"name": "fraud_model"}}), encoding="utf-8")
    git("add", "--all")
    git("commit", "--quiet", "-m", "declare cards")
    return installation


def test_two_use_cases_of_one_ledger_have_no_dags_and_hide_no_other_one(one_ledger: Path) -> None:
    assert [one.name for one in use_cases.use_cases()] == ["flights"]
    assert set(use_cases.broken()) == {"cards", "churn", "fraud"}
    assert "use_cases/cards/params.yaml: registry.name is 'fraud_model', as in " in use_cases.broken()["cards"]
    assert "use_cases/fraud/params.yaml; the two would share" in use_cases.broken()["cards"]


@pytest.mark.costly
@pytest.mark.parametrize(("name", "other"), [("fraud", "cards"), ("cards", "fraud")])
def test_no_run_of_two_use_cases_of_one_ledger_opens(one_ledger: Path, night: Night, name: str, other: str) -> None:
    """Airflow does not try again, and the error names both files and the key."""
    said = rf"use_cases/{name}/params\.yaml: registry\.name is 'fraud_model', as in \S*use_cases/{other}/params\.yaml"
    with pytest.raises(AirflowFailException, match=said):
        night("open_run", dag_id=f"nightly_batch_scoring__{name}")
    assert workspaces.find_workspace(f"nightly_batch_scoring__{name}", "run") is None
    with pytest.raises(RunRefusedError, match=said), workspaces.scratch(f"champion_rollback__{name}", "back"):
        pass
    assert night("open_run").pushed == {}, "the default use case has a ledger of its own"
