"""A stage that fails says why in failure.json, and whether trying again may help."""

import json
from pathlib import Path

import pytest

from pipelines.lib.core import stage
from pipelines.lib.core.errors import ConfigError, DataError, GateFailed, LedgerConflict, ModelError, TransientError


def _failing(error: Exception) -> int:
    @stage.stage("example", "source", mode={"default": "fast"})
    def main(paths: stage.Paths) -> None:
        """Fail."""
        assert paths.source == Path("x")
        assert paths.mode == "fast"
        raise error

    return main(["--source", "x"])


@pytest.mark.parametrize("error", [DataError("bad"), GateFailed("bad"), ConfigError("bad"), ModelError("bad"), LedgerConflict("bad")])
def test_what_no_retry_mends(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _failing(error) == 1
    told = json.loads(Path("failure.json").read_text())
    assert told == {"stage": "example", "error": type(error).__name__, "message": "bad", "retryable": False}


@pytest.mark.parametrize("error", [TransientError("away"), OSError("disk"), KeyError("bug"), MemoryError()])
def test_what_may_pass(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _failing(error) == 1
    assert json.loads(Path("failure.json").read_text())["retryable"] is True


def test_success_removes_an_old_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _failing(DataError("bad"))

    @stage.stage("example")
    def main(paths: stage.Paths) -> None:
        """Succeed."""

    assert main([]) == 0
    assert not Path("failure.json").exists()
