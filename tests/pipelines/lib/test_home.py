"""Where an installation's state stands."""

from pathlib import Path

import pytest

from pipelines.lib import home
from pipelines.lib.errors import ConfigError


def test_everything_moves_with_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for moved in ("NIGHTSHIFT_LEDGER_URL", "NIGHTSHIFT_PUBLISHED_URL", "NIGHTSHIFT_ARTIFACT_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(moved, raising=False)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path))
    for place in (home.ledger_url(), home.published_url(), home.tracking_uri(), home.artifact_root()):
        assert str(tmp_path) in place


def test_a_home_that_the_published_table_cannot_bear_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """delta-rs reads a path as a URL: it would look for ``a b``."""
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "a%20b"))
    with pytest.raises(ConfigError, match="a%20b"):
        home.home()
