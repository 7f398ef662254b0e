"""The index line through real Airflow on real flights: an encoder is trained, its promotion starts the first build, and generations follow.

Two months of flights, so that a build takes seconds; everything else is as it is shipped, but for the time that a query may take: these machines
do other things at the same time.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import yaml

from deploy.embedded.server import Server
from pipelines.lib.vector_index import generations
from pipelines.lib.vector_index.reader import open_generation
from tests.real_repository import RealRepository
from tests.stub_repository import commit_all

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TRAINING, REBUILD = "encoder_training", "vector_index_rebuild"
NAME = "flight_encoder"
FIRST, NEXT, LAST = "2013-02-25", "2013-02-26", "2013-02-27"
MONTHS = ("2013-01", "2013-02")
SINCE = "2020-01-01T00:00:00Z"
TIMEOUT_S = 600
PATIENT = {"evaluate_index": {"latency_p99_limit_ms": 100.0}}

House = tuple[RealRepository, Server]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Yield a clone with a running Airflow, and the first generation, which nobody has asked for but the new encoder."""
    repository = RealRepository(tmp_path_factory.mktemp("index"), PATIENT)
    dags = (TRAINING, REBUILD)
    registry = f"sqlite:///{repository.home / 'mlflow' / 'mlflow.db'}"
    environment = {"NIGHTSHIFT_DVC_CACHE": repository.environment()["NIGHTSHIFT_DVC_CACHE"], "MLFLOW_TRACKING_URI": registry}
    with Server(
        repository.home, repository=repository.root, port=0, schedule=False, parse_every_s=120, wait_for_dags=dags, env=environment
    ) as server:
        client = server.client()
        for dag_id in dags:
            client.unpause(dag_id)
        trained = client.trigger(TRAINING, FIRST, run_id="first")
        assert client.follow(TRAINING, [trained], timeout_s=TIMEOUT_S, check=server.check) == {trained: "success"}
        built = client.follow_partitions(REBUILD, [FIRST], since=SINCE, timeout_s=TIMEOUT_S, check=server.check)[FIRST]
        assert (built["state"], built["run_type"]) == ("success", "asset_triggered"), built["note"]
        yield repository, server


@pytest.fixture(autouse=True)
def root(house: House, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the installation's index root is this process's too."""
    path = house[0].home / "index"
    monkeypatch.setenv("NIGHTSHIFT_INDEX_DIR", str(path))
    return path


def rebuild(server: Server, partition: str, how: str) -> tuple[str, dict[str, str]]:
    """Ask for a rebuild over REST and wait for its end; its note, and the state of each of its tasks, mapped ones by month."""
    client = server.client()
    run_id = client.trigger(REBUILD, partition, run_id=f"{how}_{partition}", conf={"rebuild": how, "reason": "a test"})
    client.follow(REBUILD, [run_id], timeout_s=TIMEOUT_S, check=server.check)
    tasks = client.tasks(REBUILD, run_id)
    states = {f"{task['task_id']}@{task['rendered_map_index']}".removesuffix("@None"): task["state"] for task in tasks}
    return client.run(REBUILD, run_id)["note"], states


def ran(server: Server, run_id: str, task_id: str) -> dict[str, bool]:
    """Return for each shard's month of a mapped task whether its stage ran, or came from the cache."""
    logs = server.airflow_home / "logs" / f"dag_id={REBUILD}" / f"run_id={run_id}" / f"task_id={task_id}"
    return {month: "Running stage" in (logs / f"map_index={place}" / "attempt=1.log").read_text() for place, month in enumerate(MONTHS)}


def pages(repository: RealRepository, run_id: str) -> set[str]:
    return {page.parent.name for page in (repository.home / "reports" / REBUILD / run_id).glob("*/report.html")}


def current() -> generations.Pointer:
    found = generations.current(NAME)
    assert found is not None
    return found


def test_a_new_encoder_becomes_an_index_by_itself(house: House) -> None:
    repository, server = house
    with open_generation(NAME) as index:
        manifest = index.manifest
        assert (manifest["mode"], manifest["kind"], manifest["partition"], manifest["encoder_version"]) == ("full", "hnsw", FIRST, "1")
        assert manifest["leave_one_out"]["recall_10"] >= 0.98
        assert manifest["held_out"]["recall_10"] >= 0.98
        distances, rows = index.search(np.stack([index.vector(row) for row in (0, index.count - 1)]), 10)
        assert rows[:, 0].tolist() == [0, index.count - 1] or np.allclose(distances[:, 0], 0, atol=1e-6)
        assert max(index.rows(np.arange(index.count))["partition"].to_pylist()) < FIRST, "what was not known that day is not in it"
    run = server.client().call("GET", f"/dags/{REBUILD}/dagRuns")["dag_runs"][0]
    assert "hnsw" in run["note"]
    assert str(manifest["count"]) in run["note"].replace(",", "")
    states = {(task["task_id"], task["rendered_map_index"]): task["state"] for task in server.client().tasks(REBUILD, run["dag_run_id"])}
    assert {month for task, month in states if task == "embed"} == set(MONTHS)
    assert states["fill_shard", None] == "skipped"
    link = server.client().call("GET", f"/dags/{REBUILD}/dagRuns/{quote(run['dag_run_id'])}/taskInstances/evaluate_index/links")[
        "extra_links"
    ]
    assert link["Report"].endswith("/evaluate_index")
    assert link["Model"] == f"/nightshift/models/{NAME}/1"
    assert not list((repository.home / "workspaces").glob("*/*")), "nothing of the runs is left"


def test_a_later_night_is_appended_and_is_a_generation_of_its_own(house: House) -> None:
    repository, server = house
    before = current()
    with open_generation(NAME) as reader:
        count = reader.count
        note, states = rebuild(server, NEXT, "incremental")
        assert states["publish_index"] == "success", note
        after = current()
        assert (after.sequence, after.partition) == (before.sequence + 1, NEXT)
        assert reader.count == count, "who reads goes on with what was opened"
        assert reader.refresh()
        assert reader.manifest["mode"] == "incremental"
        assert reader.manifest["base"] == before.generation
        assert reader.count > count
        assert reader.manifest["leave_one_out"]["queries"] >= 1_000
    assert {"evaluate_index", "validate_vectors"} <= pages(repository, f"incremental_{NEXT}")
    assert ran(server, f"incremental_{NEXT}", "embed") == {"2013-01": False, "2013-02": True}


def test_a_gate_that_fails_publishes_nothing_and_what_was_published_goes_on(house: House) -> None:
    """The lists of an IVF-PQ are filled month by month; then nothing of it is small enough."""
    repository, server = house
    params = yaml.safe_load((repository.root / "params.yaml").read_text())
    params["plan_index"]["kind"] = "ivfpq"
    params["evaluate_index"]["size_limit_mib"] = 0.01
    (repository.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    commit_all(repository.root, "Want an index of ten kilobytes")
    before = current()
    note, states = rebuild(server, LAST, "auto")
    assert note.startswith(f"NOT PUBLISHED {LAST}: evaluate_index: ")
    assert "the limit is 0.01 MiB" in note
    assert {month: states[f"fill_shard@{month}"] for month in MONTHS} == dict.fromkeys(MONTHS, "success")
    assert (states["evaluate_index"], states["publish_index"], states["close_run"]) == ("failed", "upstream_failed", "success")
    assert "evaluate_index" in pages(repository, f"auto_{LAST}"), "the report says why"
    assert current() == before
    with open_generation(NAME) as index:
        assert index.generation == before.generation
    recorded = subprocess.run(
        ["git", "show", f"refs/runs/{REBUILD}/auto_{LAST}:dvc.yaml"], cwd=repository.root, capture_output=True, text=True, check=True
    ).stdout
    assert yaml.safe_load(recorded)["stages"]["fill_shard"]["matrix"] == {"month": list(MONTHS)}
