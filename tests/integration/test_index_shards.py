"""Rebuilds of the index through real Airflow, a task for each shard: mapped, skipped, failed, killed. The stages compute nothing."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import yaml

from deploy.embedded.client import ApiError
from tests.stub_repository import SHARDS, git

pytestmark = pytest.mark.integration

DAG, WEEKLY = "vector_index_rebuild", "weekly_index_rebuild"
TIMEOUT_S = 300


@pytest.fixture(scope="module", autouse=True)
def unpaused(airflow):
    client = airflow.client()
    for dag_id in (DAG, WEEKLY):
        client.unpause(dag_id)
    yield
    for dag_id in (DAG, WEEKLY):
        client.unpause(dag_id, paused=True)


def behave(state, stage, partition, what):
    file = state / "behave" / f"{stage}-{partition}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(what)
    return file


def follow(airflow, run_id):
    return airflow.client().follow(DAG, [run_id], timeout_s=TIMEOUT_S, check=airflow.check)[run_id]


def states(airflow, run_id):
    """Return the states of each task: of a mapped one, by the month that the UI shows."""
    found = {}
    for task in airflow.client().tasks(DAG, run_id):
        name = task["task_id"] if task["map_index"] < 0 else f"{task['task_id']}@{task['rendered_map_index']}"
        found[name] = task["state"]
    return found


def lock_of(airflow, run_id):
    return set(yaml.safe_load(git(airflow.repository, "show", f"refs/runs/{DAG}/{run_id}:dvc.lock"))["stages"])


def published(state, partition):
    path = state / "called" / f"publish_index-{partition}"
    return json.loads(path.read_text()) if path.exists() else None


@pytest.mark.slow
def test_each_month_is_embedded_by_a_task_of_its_own_and_what_need_not_be_filled_is_skipped(airflow, state):
    run_id = airflow.client().trigger(DAG, "2013-06-01", run_id="rebuild_all", conf={"rebuild": "full", "reason": "a test"})
    assert follow(airflow, run_id) == "success"
    found = states(airflow, run_id)
    assert {name for name in found if "@" in name} == {f"embed@{shard}" for shard in SHARDS}
    assert found["fill_shard"] == "skipped"
    assert {state for name, state in found.items() if name != "fill_shard"} == {"success"}
    assert {"--build=data/index/build", "--report=data/reports/evaluate_index"} == set(published(state, "2013-06-01"))
    recorded = yaml.safe_load(git(airflow.repository, "show", f"refs/runs/{DAG}/{run_id}:run.yaml"))
    assert (recorded["model"]["name"], recorded["index"], recorded["rebuild"]) == ("Core", True, "full")
    assert {f"embed@{shard}" for shard in SHARDS} < lock_of(airflow, run_id)
    assert not (state / "workspaces" / DAG / run_id).exists()
    events = airflow.client().call("GET", f"/assets/events?source_dag_id={DAG}&source_run_id={run_id}")["asset_events"]
    assert [(event["source_task_id"], event["partition_key"]) for event in events] == [("publish_index", "2013-06-01")]


@pytest.mark.slow
def test_the_week_starts_a_rebuild_with_its_partition_and_shards_are_filled_where_the_plan_says(airflow, state):
    behave(state, "plan_index", "2013-06-03", "fill")
    client = airflow.client()
    client.trigger(WEEKLY, "2013-06-03", run_id="week")
    found = client.follow_partitions(DAG, ["2013-06-03"], since="2020-01-01T00:00:00Z", timeout_s=TIMEOUT_S, check=airflow.check)
    run = found["2013-06-03"]
    assert (run["state"], run["run_type"]) == ("success", "asset_triggered")
    assert {name for name in states(airflow, run["dag_run_id"]) if "fill_shard" in name} == {f"fill_shard@{shard}" for shard in SHARDS}
    assert published(state, "2013-06-03")


@pytest.mark.slow
def test_a_gate_in_one_shard_stops_the_run_by_its_name_and_keeps_what_its_siblings_made(airflow, state):
    behave(state, f"embed@{SHARDS[1]}", "2013-06-04", "gate")
    run_id = airflow.client().trigger(DAG, "2013-06-04", run_id="rebuild_gate")
    assert follow(airflow, run_id) == "failed"
    found = states(airflow, run_id)
    assert [found[f"embed@{shard}"] for shard in SHARDS] == ["success", "failed", "success"]
    assert found["validate_vectors"] == found["publish_index"] == "upstream_failed"
    assert (
        airflow.client()
        .run(DAG, run_id)["note"]
        .startswith(
            f"NOT PUBLISHED 2013-06-04: embed@{SHARDS[1]}: column carrier: 3 nulls. Log: [embed](</dags/vector_index_rebuild/runs/rebuild_gate/tasks/embed"
        )
    )
    assert {f"embed@{SHARDS[0]}", f"embed@{SHARDS[2]}"} < lock_of(airflow, run_id)
    assert f"embed@{SHARDS[1]}" not in lock_of(airflow, run_id)
    assert published(state, "2013-06-04") is None


@pytest.mark.faults
def test_two_shards_that_are_killed_at_once_are_tried_again(airflow, state):
    sleeping = [behave(state, f"embed@{shard}", "2013-06-05", "sleep") for shard in SHARDS[:2]]
    run_id = airflow.client().trigger(DAG, "2013-06-05", run_id="rebuild_killed")
    deadline = time.monotonic() + TIMEOUT_S
    while len(found := dvc_of(SHARDS[:2])) < 2:
        assert time.monotonic() < deadline
        airflow.check()
        time.sleep(0.05)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    for file in sleeping:
        file.unlink()
    assert follow(airflow, run_id) == "success"
    tries = {task["rendered_map_index"]: task["try_number"] for task in airflow.client().tasks(DAG, run_id) if task["task_id"] == "embed"}
    assert tries == {SHARDS[0]: 2, SHARDS[1]: 2, SHARDS[2]: 1}
    assert {f"embed@{shard}" for shard in SHARDS} < lock_of(airflow, run_id)


def dvc_of(shards) -> list[int]:
    """Return the DVC processes whose shard is running, below its task's supervisor."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_text().split("\0")
        except OSError:
            continue
        for shard in shards:
            if "pipelines.index.embed" in command and shard in command and command[0].endswith(("python", "python3", "python3.11")):
                found[shard] = above(int(entry.name), f"embed@{shard}")
    return [pid for pid in found.values() if pid]


def above(pid: int, stage: str) -> int:
    """Return the process above `pid` that is DVC running on `stage`, or 0."""
    while pid > 1:
        command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if stage in command and "dvc" in command and not any("supervisor" in word for word in command):
            return pid
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


@pytest.mark.parametrize(
    ("conf", "field"), [({"rebuild": "all"}, "rebuild"), ({"rebuild": None}, "rebuild"), ({"reason": "x" * 501}, "reason")]
)
def test_a_bad_conf_gets_a_4xx_that_names_the_field(airflow, conf, field):
    with pytest.raises(ApiError) as caught:
        airflow.client().trigger(DAG, "2013-06-06", conf=conf)
    assert caught.value.status in (400, 422)
    assert field in str(caught.value.detail)
