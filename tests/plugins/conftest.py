"""Airflow must not make itself at home in the home directory of anyone who runs the tests."""

from pathlib import Path
from typing import Any

import pytest

from tests.airflow_home import use_temporary_home
from tests.stub_repository import make_stub_repository

use_temporary_home()


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a stub repository that no test changes."""
    return make_stub_repository(tmp_path_factory.mktemp("pristine") / "repository")


@pytest.fixture
def repository(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stub repository of one's own, which the workspaces know as theirs; its state is in its ``var``."""
    import shutil

    from nightshift_airflow import places

    path = tmp_path / "repository"
    shutil.copytree(pristine, path)
    monkeypatch.setattr(places, "REPOSITORY", path)
    monkeypatch.delenv("NIGHTSHIFT_HOME", raising=False)
    monkeypatch.delenv("NIGHTSHIFT_MODE", raising=False)
    monkeypatch.delenv("NIGHTSHIFT_DVC_CACHE", raising=False)
    return path


@pytest.fixture
def night(repository: Path) -> Any:
    """Run the operators of one night one by one."""
    from tests.opened_night import Night

    return Night(repository)
