"""Training the encoder: the same history gives the same files, bad histories are refused, and the holdout is not used."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.lib.encoders.encoder import load_encoder
from pipelines.lib.features.history import History
from pipelines.lib.models import skops_file
from pipelines.training.train_encoder import TrainEncoder, main, train_encoder
from tests.trained_encoder import PARAMS, PARTITION, SIGNATURE, START, history, write_history


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    params = parse_yaml(Path("params.yaml").read_text(encoding="utf-8"))
    params["train_encoder"] = PARAMS.model_dump(mode="json")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    run = {"partition": PARTITION, "model": {"path": "model.onnx", "name": "Core"}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    write_history(tmp_path / "history.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train() -> int:
    return main(["--features", "history.parquet", "--fitted", "encoder/fitted.skops", "--onnx", "encoder/fp32.onnx"])


@pytest.mark.costly
def test_the_same_history_gives_the_same_files(workspace: Path) -> None:
    digests = []
    for _ in range(2):
        assert train() == 0
        digests.append([sha256_of(workspace / "encoder" / name) for name in ("fitted.skops", "fp32.onnx")])
    assert digests[0] == digests[1]
    encoder = load_encoder(workspace / "encoder" / "fp32.onnx")
    assert (encoder.signature, encoder.dimension, encoder.trained_until) == (SIGNATURE, 8, START)


@pytest.mark.costly
def test_the_holdout_changes_nothing(workspace: Path) -> None:
    assert train() == 0
    before = sha256_of(workspace / "encoder" / "fp32.onnx")
    given = history()
    features = np.where((given.nights >= START)[:, None], np.float32(7), given.features)
    write_history(workspace / "history.parquet", History(features, given.labels, given.rows, given.names))
    assert train() == 0
    assert sha256_of(workspace / "encoder" / "fp32.onnx") == before


@pytest.mark.costly
@pytest.mark.parametrize("threads", ["1", "2"])
def test_threads_change_no_weight(threads: str) -> None:
    import threadpoolctl

    given = history()
    with threadpoolctl.threadpool_limits(int(threads)):
        found = train_encoder(given, PARAMS)
    wanted = train_encoder(given, PARAMS)
    assert [array.tobytes() for array in found.network.coefs_] == [array.tobytes() for array in wanted.network.coefs_]


@pytest.mark.costly
def test_it_predicts_the_outcome() -> None:
    from sklearn.metrics import roc_auc_score

    given = history(seed=1)
    assert roc_auc_score(given.labels, train_encoder(history(), PARAMS).probability(given.features)) > 0.75


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(DataError, match="only 99 labelled rows"):
        train_encoder(history(99), PARAMS)


@pytest.mark.costly
def test_of_a_long_history_as_many_rows_are_drawn_as_are_declared_the_same_each_time(workspace: Path) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["train_encoder"] |= {"maximum_rows": 1_000}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    digests = set()
    for _ in range(2):
        assert train() == 0
        digests.add(sha256_of(workspace / "encoder" / "fp32.onnx"))
    assert len(digests) == 1
    assert int(skops_file.load(workspace / "encoder" / "fitted.skops")["scaler"].n_samples_seen_) == 1_000


def test_one_class_is_refused() -> None:
    given = history()
    with pytest.raises(DataError, match="needs both"):
        train_encoder(History(given.features, np.zeros_like(given.labels), given.rows, given.names), PARAMS)


@pytest.mark.parametrize("wrong", [{"layers": []}, {"activation": "softmax"}, {"clip": 0}, {"epochs": 0}, {"unheard_of": 1}])
def test_wrong_parameters_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        parse_section({**PARAMS.model_dump(mode="json"), **wrong}, TrainEncoder, "params.yaml: train_encoder")
