"""One installation with registered versions, made once and copied for each test."""

from pathlib import Path

import pytest

from tests.registered_models import Installation, copy_template, make_template


@pytest.fixture(scope="session")
def registered_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template that no test changes."""
    directory = tmp_path_factory.mktemp("registered")
    make_template(directory)
    return directory


@pytest.fixture
def installation_of_three(registered_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Three registered versions, of which none is champion yet, and a night that was recorded but not published."""
    return copy_template(registered_models, tmp_path / "installation", monkeypatch)
