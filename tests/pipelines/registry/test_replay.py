"""A version is rebuilt from its run's ref, and every input that differs is named. The training line here computes almost nothing."""

import json
import shutil
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.lib.champions.registry import connect
from pipelines.lib.core.errors import ConfigError, TransientError
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.lib.records.ledger import Entry, Ledger
from pipelines.lib.storage.rebuild import environment
from pipelines.registry.replay import conclude, main, replay
from tests.page_rules import broken_rules
from tests.stub_repository import git
from tests.training_line import LINE, REF, STAGE, Trained, make_line

pytestmark = pytest.mark.costly  # nearly all run DVC

NAME = "Core_RF_Classifier"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return make_line(tmp_path_factory.mktemp("line") / "repository")


@pytest.fixture
def trained(pristine: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    path = tmp_path / "repository"
    shutil.copytree(pristine.path, path)
    monkeypatch.setenv("NIGHTSHIFT_REPOSITORY", str(path))
    monkeypatch.delenv("NIGHTSHIFT_DVC_CACHE", raising=False)
    return Trained(path, dict(pristine.tags), dict(pristine.metrics))


def different(result: dict[str, Any]) -> list[str]:
    return [one["name"] for one in result["inputs"] if not one["equal"]]


def test_the_same_ref_gives_the_same_bytes_and_metrics_without_cached_outputs(trained: Trained, tmp_path: Path) -> None:
    raw = parse_yaml(git(trained.path, "show", f"{REF}:dvc.lock"))["stages"]["ingest_history"]["outs"][0]["md5"]
    for file in (trained.path / ".dvc" / "cache" / "files").rglob("*"):
        if file.is_file() and file.parent.name + file.name != raw:
            file.unlink()  # all but the raw data
    shutil.rmtree(trained.path / ".dvc" / "cache" / "runs")
    before = git(trained.path, "status", "--porcelain")
    result = replay(trained.tags, trained.metrics, tmp_path)
    assert result["equal"] is True, result
    assert (different(result), result["stopped"]) == ([], None)
    assert [row["name"] for row in result["metrics"]] == ["auc", "rows"]
    assert "was rebuilt byte for byte" in conclude(NAME, "1", result)
    made = [file for file in (trained.path / ".dvc" / "cache" / "files").rglob("*") if file.is_file()]
    assert [file.parent.name + file.name for file in made] == [raw], "what was rebuilt is not put into the cache"
    assert (git(trained.path, "status", "--porcelain"), git(trained.path, "worktree", "list").count("\n")) == (before, 0)


def test_each_input_that_differs_from_the_record_is_named(trained: Trained, tmp_path: Path) -> None:
    params = yaml.safe_dump({name: {"depth": 9 if name == "train" else 8, "tolerance": 1.0e-5} for name in LINE})
    result = replay(trained.changed(params_yaml=params, salt="pepper", requirements_txt="PyYAML==0.1\n"), trained.metrics, tmp_path)
    found = {one["name"]: one["now"] for one in result["inputs"] if not one["equal"]}
    assert set(found) == {"code commit", "code of the stages", "params", "requirements", "environment"}
    assert "train.depth 9 instead of 8" in found["params"]
    assert "salt modified" in found["code of the stages"]
    assert f"PyYAML {installed('PyYAML')} instead of 0.1" in found["environment"]
    assert result["equal"] is False
    sentence = conclude(NAME, "1", result)
    assert "was NOT rebuilt the same: the model" in sentence
    assert "train.depth 9 instead of 8" in sentence


def test_the_environment_is_compared_with_the_pins_of_this_platform(tmp_path: Path) -> None:
    pins = [
        f"PyYAML=={installed('PyYAML')} \\",
        "    --hash=sha256:00",
        "numpy==0.1 ; python_version >= '3'",
        "pandas==0.1 ; python_version < '3'",
    ]
    (tmp_path / "requirements.txt").write_text("\n".join([*pins, "no-such-package[extra]==1.0"]))
    assert environment(tmp_path / "requirements.txt") == [
        f"numpy {installed('numpy')} instead of 0.1",
        "no-such-package missing instead of 1.0",
    ]
    assert environment(Path(__file__).parents[3] / "requirements.txt") == [], "that of the tests is the locked one"


def test_other_code_with_the_same_result_is_equal_and_named(trained: Trained, tmp_path: Path) -> None:
    result = replay(trained.changed(pipelines__line_py=STAGE + "\n# another line"), trained.metrics, tmp_path)
    assert result["equal"] is True
    assert different(result) == ["code commit", "code of the stages"]


def test_other_data_is_another_model_and_is_named(trained: Trained, tmp_path: Path) -> None:
    result = replay({**trained.tags, "data_revision": "0" * 32, "sha256": "1" * 64}, trained.metrics, tmp_path)
    assert result["equal"] is False
    assert different(result) == ["data revision"]


def test_raw_data_that_was_edited_in_the_cache_is_detected(trained: Trained, tmp_path: Path) -> None:
    raw = trained.tags["data_revision"]
    cached = trained.path / ".dvc" / "cache" / "files" / "md5" / raw[:2] / raw[2:]
    cached.chmod(0o644)
    cached.write_text("weather")
    try:
        result = replay(trained.tags, trained.metrics, tmp_path)
    except TransientError as error:  # DVC has seen it
        assert "data/raw/history" in str(error)
    else:
        assert result["equal"] is False
        assert different(result) == ["data revision"]


def test_a_metric_that_differs_alone_is_a_difference(trained: Trained, tmp_path: Path) -> None:
    result = replay(trained.tags, {**trained.metrics, "auc": 0.5}, tmp_path)
    assert result["equal"] is False
    assert "was NOT rebuilt the same: auc; every recorded input is the same" in conclude(NAME, "1", result)


def test_a_stage_that_fails_now_is_named(trained: Trained, tmp_path: Path) -> None:
    broken = STAGE.replace("name, source", "import nowhere\nname, source")
    result = replay(trained.changed(pipelines__line_py=broken), trained.metrics, tmp_path)
    assert result["equal"] is False
    assert result["sha256"]["rebuilt"] is None
    assert "failed to reproduce" in result["stopped"]


def test_a_missing_ref_or_missing_raw_data_is_named_with_its_remedy(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"refs/runs/gone is not a ref or commit .* fetch refs/runs"):
        replay({**trained.tags, "run_ref": "refs/runs/gone"}, trained.metrics, tmp_path / "one")
    shutil.rmtree(trained.path / ".dvc" / "cache")
    with pytest.raises(TransientError, match="data/raw/history came neither from DVC's cache nor from a remote"):
        replay(trained.tags, trained.metrics, tmp_path / "two")


@pytest.fixture(scope="module")
def registry(pristine: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of an installation that no test changes: version 1 is what was trained, and champion; version 2 has no tags."""
    home = tmp_path_factory.mktemp("registry") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTSHIFT_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client = connect()
        client.create_registered_model(NAME)
        run = client.create_run(client.create_experiment("test"))
        for name, value in pristine.metrics.items():
            client.log_metric(run.info.run_id, name, value)
        client.create_model_version(NAME, "/model", run.info.run_id, tags=pristine.tags)
        client.create_model_version(NAME, "/model", run.info.run_id)
    entry = Entry(NAME, 1, "promote", "1", pristine.tags["sha256"], "/model.onnx", None, "2013-04-01", "test", "test")
    Ledger(f"sqlite:///{home / 'ledger.db'}").append(entry)
    return home


@pytest.fixture
def registered(trained: Trained, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """The trained repository, with version 1 as champion, and a version 2 without tags."""
    shutil.copy(Path(__file__).parents[3] / "params.yaml", tmp_path)
    shutil.copytree(registry, tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return trained


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--version", "1"]])
def test_the_champion_or_a_named_version_is_reported_equal(registered: Trained, arguments: list[str]) -> None:
    assert main(arguments) == 0
    report = json.loads(Path("data/reports/replay/report.json").read_text())
    assert (report["version"], report["equal"], report["run_ref"]) == ("1", True, REF)
    page = Path("data/reports/replay/report.html").read_text()
    assert "is the same, byte for byte" in page
    assert not broken_rules(page)
    assert registered.tags["sha256"] in page


@pytest.mark.slow
def test_a_version_of_a_use_case_that_was_removed_is_rebuilt_by_its_name(registered: Trained) -> None:
    params = parse_yaml(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump({**params, "registry": {"experiment": "e", "name": "other_model", "encoder": "other"}}))
    assert main(["--version", "1"]) == 1
    assert main(["--version", "1", "--name", NAME]) == 0
    report = json.loads(Path("data/reports/replay/report.json").read_text())
    assert (report["name"], report["version"], report["equal"]) == (NAME, "1", True)


def test_a_difference_turns_it_red_and_the_page_names_it(registered: Trained) -> None:
    connect().set_model_version_tag(NAME, "1", "sha256", "f" * 64)
    assert main([]) == 1
    failure = json.loads(Path("failure.json").read_text())
    assert (failure["error"], failure["retryable"]) == ("GateFailed", False)
    assert "was NOT rebuilt the same: the model" in failure["message"]
    assert "was NOT rebuilt the same" in Path("data/reports/replay/report.html").read_text()


@pytest.mark.parametrize(
    ("version", "message"), [("9", "has no version '9'"), ("x", "has no version 'x'"), ("2", "lacks the tags run_ref")]
)
def test_a_version_that_cannot_be_rebuilt_is_named(registered: Trained, version: str, message: str) -> None:
    assert main(["--version", version]) == 1
    failure = json.loads(Path("failure.json").read_text())
    assert failure["error"] == "ConfigError"
    assert message in failure["message"]
