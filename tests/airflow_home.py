"""A home for Airflow that goes away with the process of the tests: Airflow writes its configuration there when it is imported."""

import atexit
import os
import shutil
import tempfile

VARIABLE = "AIRFLOW_HOME"


def use_temporary_home() -> None:
    """Give Airflow a temporary home, unless it has one. The process that made the home removes it when it ends, not one that it forks."""
    if VARIABLE in os.environ:
        return
    home = os.environ[VARIABLE] = tempfile.mkdtemp(prefix="airflow-")
    atexit.register(_remove, home, os.getpid())


def _remove(home: str, maker: int) -> None:
    if os.getpid() == maker:
        shutil.rmtree(home, ignore_errors=True)
