"""A stage that fails says why in failure.json, and whether trying again may help."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from pipelines.lib.core import stage
from pipelines.lib.core.errors import ConfigError, DataError, GateFailed, LedgerConflict, ModelError, TransientError


def _failing(error: Exception) -> int:
    @stage.stage("example")
    def main(*, source: Path, mode: str = "fast") -> None:
        """Fail."""
        assert source == Path("x")
        assert mode == "fast"
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
    def main() -> None:
        """Succeed."""

    assert main([]) == 0
    assert not Path("failure.json").exists()


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["--raw", "a/b"], {}),
        (["--raw", "a/b", "--live-from", "2013-04-01"], {"live_from": "2013-04-01"}),
        (["--raw", "a/b", "--report", "r", "--top", "7", "--days", "0.5"], {"report": Path("r"), "top": 7, "days": 0.5}),
        (["--raw", "a/b", "--free", "--model", "night"], {"free": True, "model": "night"}),
    ],
)
def test_the_signature_of_a_stage_is_its_command_line(
    argv: list[str], wanted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}

    @stage.stage("example")
    def main(
        *,
        raw: Path,
        report: Annotated[Path | None, "where to write"] = None,
        live_from: str | None = None,
        top: int = 5,
        days: float = 30.0,
        free: Annotated[bool, "remove the objects"] = False,
        model: Literal["champion", "night"] = "champion",
    ) -> None:
        found.update(raw=raw, report=report, live_from=live_from, top=top, days=days, free=free, model=model)

    assert main(argv) == 0
    defaults = {"raw": Path("a/b"), "report": None, "live_from": None, "top": 5, "days": 30.0, "free": False, "model": "champion"}
    assert found == defaults | wanted


@pytest.mark.parametrize(
    ("argv", "told"),
    [([], "the following arguments are required: --raw"), (["--raw", "x", "--model", "other"], "invalid choice: 'other'")],
)
def test_a_wrong_command_line_is_refused(
    argv: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    @stage.stage("example")
    def main(*, raw: Path, model: Literal["champion", "night"] = "champion") -> None:
        """Succeed."""

    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err
