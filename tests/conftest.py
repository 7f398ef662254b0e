"""Every test: none finds another's registry, what starts Airflow shares one, and what was imported is not searched for garbage again."""

import gc
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling, Scheduling

INTEGRATION = Path(__file__).parent / "integration"
NAME = "MLFLOW_TRACKING_URI"
"""MLflow writes this variable into the environment."""


class SharedAirflow(LoadFileScheduling):
    """Give each file to one process, and give all files that use the one Airflow of tests/integration to the same process.

    To start Airflow takes longer than most of their tests.
    """

    users = frozenset(
        file.name for file in INTEGRATION.glob("test_*.py") if re.search(r"^def .*\bairflow\b", file.read_text(), re.MULTILINE)
    )

    def _split_scope(self, nodeid: str) -> str:
        file = Path(super()._split_scope(nodeid))
        return "airflow" if file.parent.name == INTEGRATION.name and file.name in self.users else str(file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling | None:
    """Share Airflow where the Makefile asks for a file per process."""
    return SharedAirflow(config, log) if config.getvalue("dist") == "loadfile" else None  # type: ignore[arg-type]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage while the tests are collected, and never again among what they imported: a third of the collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def mlflow_forgets() -> Iterator[None]:
    """Put the variable back to what it was before the test."""
    before = os.environ.get(NAME)
    yield
    if before is None:
        os.environ.pop(NAME, None)
    else:
        os.environ[NAME] = before
