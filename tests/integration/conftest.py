"""One real Airflow for all tests that need one; starting it is most of what they cost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded.server import Server
from tests.stub_repository import make_stub_repository

SHOP = {
    "dataset": {"event_time": "at", "nights_without_rows": 2},
    "features": {},
    "first_run": {"partition": "2013-01-01"},
    "pool": {"slots": 2},
}
"""A use case next to the default one. Its table may have nights without rows."""

EXAMPLES = ("fraud", "orders")
"""The use cases that ship, next to the default one."""


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Embedded Airflow over a repository whose stages compute nothing; nothing starts by its schedule."""
    repository = make_stub_repository(
        tmp_path_factory.mktemp("airflow") / "repository", with_airflow=True, use_cases={"shop": SHOP}, examples=EXAMPLES
    )
    users = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "nightshift:admin,user:user,viewer:viewer"}  # passwords.json holds their passwords
    dags = (
        "nightly_batch_scoring",
        "drift_monitoring",
        "drift_triggered_retraining",
        "vector_index_rebuild",
        "weekly_index_rebuild",
        "nightly_batch_scoring__shop",
        *(f"nightly_batch_scoring__{name}" for name in EXAMPLES),
    )
    # A port of its own: two test processes that find 8080 free at the same moment would both take it.
    with Server(repository / "var", repository=repository, port=0, schedule=False, wait_for_dags=dags, env=users) as server:
        server.client().unpause("nightly_batch_scoring")
        yield server


@pytest.fixture(autouse=True)
def nights_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a developer's own settings from the tests."""
    for name in ("NIGHTSHIFT_HOME", "NIGHTSHIFT_MODE", "NIGHTSHIFT_DVC_CACHE", "NIGHTSHIFT_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def state(airflow: Server) -> Path:
    """The directory of the installation's state."""
    return airflow.home
