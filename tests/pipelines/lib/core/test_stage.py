"""A stage that fails says why in failure.json, and whether trying again may help."""

import importlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml

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
def test_errors_that_a_retry_cannot_fix(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _failing(error) == 1
    message = json.loads(Path("failure.json").read_text())
    assert message == {"stage": "example", "error": type(error).__name__, "message": "bad", "retryable": False}


@pytest.mark.parametrize("error", [TransientError("away"), OSError("disk"), RuntimeError("can't start new thread"), MemoryError()])
def test_what_may_pass(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _failing(error) == 1
    assert json.loads(Path("failure.json").read_text())["retryable"] is True


@pytest.mark.parametrize("error", [KeyError("bug"), TypeError("bug"), AttributeError("bug"), ZeroDivisionError("bug"), ValueError("bug")])
def test_a_mistake_in_the_code_is_not_tried_again_and_names_its_place(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _failing(error) == 1
    failure = json.loads(Path("failure.json").read_text())
    assert (failure["error"], failure["retryable"]) == ("CodeError", False)
    assert failure["message"].startswith(f"{type(error).__name__}: {error} (tests/pipelines/lib/core/test_stage.py, line ")
    assert "Traceback" in capsys.readouterr().err


def test_an_error_from_inside_another_package_may_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's client raises a KeyError or a TypeError at an answer that is not whole."""
    monkeypatch.chdir(tmp_path)

    @stage.stage("example")
    def main() -> None:
        yaml.safe_load(5)

    assert main([]) == 1
    failure = json.loads(Path("failure.json").read_text())
    assert (failure["error"], failure["retryable"]) == ("AttributeError", True)


def test_an_error_while_a_lost_connection_is_handled_may_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    @stage.stage("example")
    def main() -> None:
        try:
            raise ConnectionResetError("gone")
        finally:
            raise TypeError("bug")

    assert main([]) == 1
    assert json.loads(Path("failure.json").read_text())["retryable"] is True


def test_a_failure_names_the_file_of_its_use_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It named ``params.yaml``, which in the workspace of another use case than the default one no person writes."""
    monkeypatch.chdir(tmp_path)
    wrong = ConfigError("params.yaml: train.max_depth is 0; write 1 or more. See docs/params.yaml")
    for default, named in (True, "params.yaml"), (False, "use_cases/fraud/params.yaml"):
        Path("params.yaml").write_text(json.dumps({"use_case": {"name": "fraud", "default": default}}))
        _failing(wrong)
        assert (
            json.loads(Path("failure.json").read_text())["message"]
            == f"{named}: train.max_depth is 0; write 1 or more. See docs/params.yaml"
        )


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
        (["--raw", "a/b", "--rebuild", "full"], {"rebuild": "full"}),
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
        rebuild: Annotated[Literal["auto", "full"] | None, "how"] = None,
    ) -> None:
        found.update(raw=raw, report=report, live_from=live_from, top=top, days=days, free=free, model=model, rebuild=rebuild)

    assert main(argv) == 0
    defaults = {
        "raw": Path("a/b"),
        "report": None,
        "live_from": None,
        "top": 5,
        "days": 30.0,
        "free": False,
        "model": "champion",
        "rebuild": None,
    }
    assert found == defaults | wanted


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: --raw"),
        (["--raw", "x", "--model", "other"], "invalid choice: 'other'"),
        (["--raw", "x", "--rebuild", "other"], "invalid choice: 'other'"),
    ],
)
def test_a_wrong_command_line_is_refused(
    argv: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    @stage.stage("example")
    def main(*, raw: Path, model: Literal["champion", "night"] = "champion", rebuild: Literal["auto", "full"] | None = None) -> None:
        """Succeed."""

    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_type_that_no_command_line_reads_is_refused_by_name() -> None:
    @stage.stage("example")
    def main(*, columns: list[str]) -> None:
        """Succeed."""

    with pytest.raises(TypeError, match="'columns'"):
        main(["--columns", "a"])


ROOT = Path(__file__).resolve().parents[4]
STAGES = sorted(
    path.relative_to(ROOT) for path in (ROOT / "pipelines").rglob("*.py") if "\n@stage.stage(" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("path", STAGES, ids=str)
def test_each_stage_has_a_command_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(".".join(path.with_suffix("").parts))
    with pytest.raises(SystemExit) as stopped:
        module.main(["--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")
