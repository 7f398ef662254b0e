"""What holds for every test: MLflow writes its tracking URI into the environment, and no test shall find another's registry there."""

import os
from collections.abc import Iterator

import pytest

NAME = "MLFLOW_TRACKING_URI"


@pytest.fixture(autouse=True)
def mlflow_forgets() -> Iterator[None]:
    """Put the variable back to what it was before the test."""
    before = os.environ.get(NAME)
    yield
    if before is None:
        os.environ.pop(NAME, None)
    else:
        os.environ[NAME] = before
