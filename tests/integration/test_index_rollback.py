"""A rollback of the vector index through real Airflow: from the form to what a reader opens next."""

import time
from collections.abc import Iterator

import pytest

from deploy.embedded.server import Server
from pipelines.lib.vector_index.generations import Pointer, current
from pipelines.lib.vector_index.reader import open_generation
from tests.real_repository import RealRepository
from tests.small_index import Published

pytestmark = pytest.mark.integration

DAG, NAME = "index_rollback", "flight_encoder"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Two generations, in the home of an installation."""
    home = tmp_path_factory.mktemp("rollback") / "home"
    home.mkdir()
    found = Published(home, NAME)
    found.publish(1)
    found.publish(2)
    return found


@pytest.fixture(scope="module")
def rolling(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Airflow over this repository as it is, at home where they are."""
    repository = RealRepository(tmp_path_factory.mktemp("real"))
    with Server(published.directory, repository=repository.root, port=0, schedule=False, wait_for_dags=(DAG,)) as server:
        server.client().unpause(DAG)
        yield server


def rolled_back(server: Server, run_id: str, **form: str) -> str:
    """Return how the run ended that was triggered with `form`."""
    server.client().call("POST", f"/dags/{DAG}/dagRuns", {"logical_date": None, "dag_run_id": run_id, "conf": form})
    return finished(server, run_id)


def finished(server: Server, run_id: str) -> str:
    return server.client().follow(DAG, [run_id], timeout_s=180, check=server.check)[run_id]


def pointer(published: Published) -> Pointer:
    found = current(NAME, published.root)
    assert found is not None
    return found


def test_the_form_rolls_back_once_and_says_who_and_why(nights_are_quick: None, rolling: Server, published: Published) -> None:
    before = pointer(published)
    with open_generation(NAME, root=published.root) as index:
        assert rolled_back(rolling, "back", reason="it lied") == "success"
        assert index.manifest["mark"] == 2, "what is open is served on"
        assert index.refresh() and index.manifest["mark"] == 1
    last = pointer(published).history[-1]
    assert (last.sequence, last.action, last.actor, last.reason) == (3, "rollback", "nightshift", "it lied")
    assert (
        rolling.client()
        .run(DAG, "back")["note"]
        .startswith(f"ROLLED BACK: generation {pointer(published).generation} of {NAME} is current (switch 3")
    )
    events = rolling.client().call("GET", f"/assets/events?source_dag_id={DAG}")["asset_events"]
    assert [event["source_task_id"] for event in events] == ["rollback_index"]
    rolling.client().clear(DAG, "back")
    while rolling.client().run(DAG, "back")["state"] == "success":
        time.sleep(0.05)  # until the clearing is seen
    assert finished(rolling, "back") == "success"
    assert pointer(published).sequence == 3, "one run is one rollback"
    assert rolled_back(rolling, "forward", generation=before.generation, reason="it did not") == "success"
    assert pointer(published).generation == before.generation


def test_what_cannot_be_rolled_back_to_fails_without_a_retry_and_moves_nothing(
    nights_are_quick: None, rolling: Server, published: Published
) -> None:
    before = pointer(published)
    assert rolled_back(rolling, "never", generation="2013-01-01-0123456789ab", reason="a guess") == "failed"
    [task] = rolling.client().tasks(DAG, "never")
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert rolling.client().run(DAG, "never")["note"].startswith("NOT ROLLED BACK: ModelError: generation 2013-01-01-0123456789ab")
    assert pointer(published) == before
