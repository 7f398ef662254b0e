"""The run file is pinned once and read back the same."""

from pathlib import Path

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.run import PinnedModel, RunFile, load_run, save_run


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    run = RunFile(partition="2013-04-01", model=PinnedModel(path="m.onnx", name="forest", version="1", sha256="0" * 64), run_id="r")
    save_run(run, tmp_path / "run.yaml")
    assert load_run(tmp_path / "run.yaml") == run


def test_the_repositorys_own_is_valid() -> None:
    assert load_run(Path(__file__).parents[4] / "run.yaml").dag_id == "laptop"


def test_an_unquoted_date_is_refused_with_the_advice_to_quote_it(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("partition: 2013-04-01\nmodel: {path: m, name: n}\n")
    with pytest.raises(ConfigError, match="quoted"):
        load_run(tmp_path / "run.yaml")
