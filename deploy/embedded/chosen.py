"""The use case that a command of this package works on: chosen for this process alone, and never passed on to Airflow or a workspace."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pipelines.lib.core import home
from pipelines.lib.core.params import current_use_case
from pipelines.lib.core.use_cases import VARIABLE, UseCase


@contextlib.contextmanager
def choosing(use_case: UseCase) -> Iterator[None]:
    """Have this process read the parameters, and so the published tables, of `use_case`."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = use_case.name
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def dag_id(kind: str) -> str:
    """Return the id of the DAG of `kind`, such as ``drift_monitoring``, that belongs to the use case chosen now."""
    return f"{kind}{current_use_case().suffix}"


def demo_directory() -> Path:
    """Return where `make demo` writes the page of the use case chosen now."""
    use_case = current_use_case()
    return home.home() / "demo" / ("" if use_case.default else use_case.name)
