"""A DVC remote that does not answer, in real Airflow: the run is red, its teardown has run, and clearing one task fixes it."""

import subprocess
import time
from pathlib import Path

import pytest
import yaml

from deploy.embedded.server import Server
from tests.servers import free_port, s3
from tests.stub_repository import commit_all

pytestmark = pytest.mark.integration

DAG, PARTITION, TIMEOUT_S = "nightly_batch_scoring", "2013-05-21", 300


@pytest.fixture
def port(airflow: Server):
    """The repository has a remote in a bucket at this port, where nobody listens, and a failed push is tried again after a second."""
    repository, found = airflow.repository, free_port()
    params, local = repository / "params.yaml", repository / ".dvc" / "config.local"
    before = params.read_text()
    sections = yaml.safe_load(before)
    sections[DAG] |= {"retries": 1, "retry_first_s": 1}
    params.write_text(yaml.safe_dump(sections, sort_keys=False))
    url = f"url = s3://nights/dvc\n    endpointurl = http://127.0.0.1:{found}"
    local.write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    {url}\n    access_key_id = x\n    secret_access_key = x\n")
    commit_all(repository, "a remote")
    parse(airflow)
    assert "push_run" in {task["task_id"] for task in airflow.client().call("GET", f"/dags/{DAG}/tasks")["tasks"]}
    yield found
    params.write_text(before)
    local.unlink()
    commit_all(repository, "no remote any more")
    parse(airflow)


def parse(airflow: Server) -> None:
    """Have Airflow read the DAGs now, also if it has read them a moment ago."""
    environment = airflow.environment() | {"AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0"}
    subprocess.run(["airflow", "dags", "reserialize"], env=environment, check=True, capture_output=True)


def states(airflow: Server, run_id: str) -> dict[str, tuple[str, int]]:
    return {task["task_id"]: (task["state"], task["try_number"]) for task in airflow.client().tasks(DAG, run_id)}


@pytest.mark.slow
def test_a_run_whose_remote_does_not_answer_is_red_and_closed_and_one_task_repairs_it(
    airflow: Server, state: Path, port: int, tmp_path: Path
):
    client = airflow.client()
    run_id = client.trigger(DAG, PARTITION, run_id="not_pushed")
    assert list(client.follow(DAG, [run_id], timeout_s=TIMEOUT_S, check=airflow.check).values()) == ["failed"]
    ended = states(airflow, run_id)
    assert ended.pop("push_run") == ("failed", 2), "tried again, then red"
    assert {task: ended[task][0] for task in ended} == dict.fromkeys(ended, "success"), "the teardown too"
    assert (state / "published" / PARTITION).read_text() == run_id, "what is published stays"
    note = client.run(DAG, run_id)["note"]
    assert note.startswith(f"PUBLISHED {PARTITION}, but this failed: push_run: ")
    assert "Could not connect to the endpoint URL" in note and f"127.0.0.1:{port}" in note.replace("\\", ""), note
    assert (state / "workspaces" / DAG / run_id).is_dir(), "kept, since nothing else has what was not pushed"

    with s3(tmp_path / "s3.log", port) as url:
        subprocess.run(["curl", "-sf", "-X", "PUT", f"{url}/nights"], check=True)
        cleared = {"dry_run": False, "only_failed": True, "include_downstream": True, "dag_run_id": run_id, "task_ids": ["push_run"]}
        client.call("POST", f"/dags/{DAG}/clearTaskInstances", cleared)
        deadline = time.monotonic() + TIMEOUT_S
        while client.run(DAG, run_id)["state"] == "failed":
            assert time.monotonic() < deadline
            time.sleep(0.1)  # until the clearing is seen
        assert list(client.follow(DAG, [run_id], timeout_s=TIMEOUT_S, check=airflow.check).values()) == ["success"]
        listed = subprocess.run(["curl", "-sf", f"{url}/nights?list-type=2"], check=True, capture_output=True, text=True).stdout
        assert listed.count("<Key>dvc/files/md5/") > 5
