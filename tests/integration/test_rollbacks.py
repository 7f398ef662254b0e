"""Rollbacks through real Airflow: from the form to the ledger of models and to what a reader of the index opens next."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded.client import ApiError
from deploy.embedded.server import Server
from pipelines.lib.records.ledger import Entry
from pipelines.lib.vector_index.generations import Pointer, current
from pipelines.lib.vector_index.reader import open_generation
from tests.real_repository import RealRepository
from tests.registered_models import NAME, Installation, copy_template, make_template
from tests.small_index import Published

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DAG, INDEX_DAG = "champion_rollback", "index_rollback"
INDEX = "flight_encoder"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Three versions in MLflow, of which the second is champion after the first."""
    make_template(directory := tmp_path_factory.mktemp("template"))
    with pytest.MonkeyPatch.context() as patch:
        found = copy_template(directory, tmp_path_factory.mktemp("rollback") / "installation", patch)
        found.promoted("1", "2")
        yield found


@pytest.fixture(scope="module")
def published(installation: Installation) -> Published:
    """Two generations of the index, in the home of the installation."""
    found = Published(installation.root / "home", INDEX)
    found.publish(1)
    found.publish(2)
    return found


@pytest.fixture(scope="module")
def rolling(installation: Installation, published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Airflow over this repository as it is, at home in the installation. One for both DAGs: starting it is most of what the tests cost."""
    repository, dags = RealRepository(tmp_path_factory.mktemp("real")), (DAG, INDEX_DAG)
    with Server(
        installation.root / "home", repository=repository.root, port=0, schedule=False, parse_every_s=120, wait_for_dags=dags
    ) as server:
        for dag_id in dags:
            server.client().unpause(dag_id)
        yield server


@pytest.fixture(autouse=True)
def at_home(nights_are_quick: None, installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the questions of the tests to the MLflow of the installation."""
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(installation.root / "home"))


def trigger(server: Server, run_id: str, dag_id: str = DAG, **form: str) -> str:
    body = {"logical_date": None, "dag_run_id": run_id, "conf": form}
    return str(server.client().call("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])


def finished(server: Server, run_id: str, dag_id: str = DAG) -> str:
    return server.client().follow(dag_id, [run_id], timeout_s=180, check=server.check)[run_id]


def champion(installation: Installation) -> Entry:
    entry = installation.ledger.champion(NAME)
    assert entry is not None
    return entry


def test_the_form_rolls_back_and_says_who_and_why(rolling: Server, installation: Installation) -> None:
    assert finished(rolling, trigger(rolling, "back", reason="it missed the storm")) == "success"
    entry = champion(installation)
    assert (entry.version, entry.action, entry.actor, entry.reason) == ("1", "rollback", "nightshift", "it missed the storm")
    assert installation.aliases() == {"champion": "1", "previous": "2"}
    assert rolling.client().run(DAG, "back")["note"].startswith(f"ROLLED BACK: {NAME} version 1 is champion from ")
    events = rolling.client().call("GET", f"/assets/events?source_dag_id={DAG}")["asset_events"]
    assert [event["source_task_id"] for event in events] == ["rollback"]


def test_a_run_that_is_cleared_rolls_nothing_back_again_and_forward_goes_by_name(rolling: Server, installation: Installation) -> None:
    before = len(installation.ledger.history(NAME))
    rolling.client().clear(DAG, "back")
    while rolling.client().run(DAG, "back")["state"] == "success":
        time.sleep(0.05)  # until the clearing is seen
    assert finished(rolling, "back") == "success"
    assert len(installation.ledger.history(NAME)) == before
    assert finished(rolling, trigger(rolling, "forward", version="2", reason="it was the weather")) == "success"
    assert champion(installation).version == "2"


def test_what_cannot_be_rolled_back_to_fails_without_a_retry_and_moves_nothing(rolling: Server, installation: Installation) -> None:
    before = installation.ledger.history(NAME)
    assert finished(rolling, trigger(rolling, "never", version="3", reason="a guess")) == "failed"
    [task] = rolling.client().tasks(DAG, "never")
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert rolling.client().run(DAG, "never")["note"].startswith(f"NOT ROLLED BACK: ModelError: {NAME} version 3 is unknown or was never")
    assert installation.ledger.history(NAME) == before


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({}, "reason"),
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 501}, "reason"),
        ({"reason": "x", "version": "../1"}, "version"),
        ({"reason": "x", "version": ""}, "version"),
    ],
)
def test_a_bad_form_gets_a_4xx_that_names_the_field(rolling: Server, form: dict[str, str], field: str) -> None:
    with pytest.raises(ApiError) as caught:
        trigger(rolling, "bad", **form)
    assert caught.value.status in (400, 422)
    assert field in str(caught.value.detail)


# ------------------------------------------------------------------------------------------------ the index


def rolled_back(server: Server, run_id: str, **form: str) -> str:
    """Return how the run of the index ended that was triggered with `form`."""
    return finished(server, trigger(server, run_id, INDEX_DAG, **form), INDEX_DAG)


def pointer(published: Published) -> Pointer:
    found = current(INDEX, published.root)
    assert found is not None
    return found


def test_the_form_rolls_the_index_back_once_and_says_who_and_why(rolling: Server, published: Published) -> None:
    before = pointer(published)
    with open_generation(INDEX, root=published.root) as index:
        assert rolled_back(rolling, "back", reason="it lied") == "success"
        assert index.manifest["mark"] == 2, "what is open is served on"
        assert index.refresh() and index.manifest["mark"] == 1
    last = pointer(published).history[-1]
    assert (last.sequence, last.action, last.actor, last.reason) == (3, "rollback", "nightshift", "it lied")
    assert (
        rolling.client()
        .run(INDEX_DAG, "back")["note"]
        .startswith(f"ROLLED BACK: generation {pointer(published).generation} of {INDEX} is current (switch 3")
    )
    events = rolling.client().call("GET", f"/assets/events?source_dag_id={INDEX_DAG}")["asset_events"]
    assert [event["source_task_id"] for event in events] == ["rollback_index"]
    rolling.client().clear(INDEX_DAG, "back")
    while rolling.client().run(INDEX_DAG, "back")["state"] == "success":
        time.sleep(0.05)  # until the clearing is seen
    assert finished(rolling, "back", INDEX_DAG) == "success"
    assert pointer(published).sequence == 3, "one run is one rollback"
    assert rolled_back(rolling, "forward", generation=before.generation, reason="it did not") == "success"
    assert pointer(published).generation == before.generation


def test_a_generation_that_is_not_kept_fails_without_a_retry_and_moves_nothing(rolling: Server, published: Published) -> None:
    before = pointer(published)
    assert rolled_back(rolling, "never", generation="2013-01-01-0123456789ab", reason="a guess") == "failed"
    [task] = rolling.client().tasks(INDEX_DAG, "never")
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert rolling.client().run(INDEX_DAG, "never")["note"].startswith("NOT ROLLED BACK: ModelError: generation 2013-01-01-0123456789ab")
    assert pointer(published) == before


def test_the_workers_leave_nothing_behind(rolling: Server, installation: Installation) -> None:
    assert not (installation.root / "home" / "workspaces").exists() or not list(Path(installation.root / "home" / "workspaces").glob("*/*"))
