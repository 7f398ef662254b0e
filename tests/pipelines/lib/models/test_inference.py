"""Scoring: the same figures as scikit-learn for any layout of the file, and a clear error for rows that must not be scored."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx.parser
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.lib.core.errors import ConfigError, DataError, ModelError
from pipelines.lib.features.signature import KEY, Signature
from pipelines.lib.models.inference import BATCH_ROWS, RUN_ROWS, Model, check_fit, load_model, score_parquet
from pipelines.lib.models.latency import latency
from pipelines.lib.models.profile import KEY as PROFILE_KEY
from tests import scored_night as night

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(night.onnx_bytes())
    return path


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    return load_model(path)


def _onnx(path: Path, body: str, metadata: bool = True) -> Path:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {body}')
    if metadata:
        entry = proto.metadata_props.add()
        entry.key, entry.value = KEY, Signature(("a", "b"), "1" * 64).to_json()
    path.write_bytes(proto.SerializeToString())
    return path


# ------------------------------------------------------------------------------------------------ loading


def test_the_pinned_model_is_loaded(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    model = load_model(path, digest)
    assert (model.sha256, model.signature) == (digest, night.SIGNATURE)


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx cannot be read \(No such file"):
        load_model(tmp_path / "none.onnx")


def test_an_altered_model_is_refused(path: Path, tmp_path: Path) -> None:
    content = bytearray(path.read_bytes())
    digest = hashlib.sha256(content).hexdigest()
    content[len(content) // 2] ^= 1
    (tmp_path / "altered.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=f"pinned was {digest}"):
        load_model(tmp_path / "altered.onnx", digest)


@pytest.mark.parametrize("keep", [0, 1, 1_000, -1])
def test_a_torn_model_is_refused(path: Path, tmp_path: Path, keep: int) -> None:
    (tmp_path / "torn.onnx").write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"torn\.onnx .*export"):
        load_model(tmp_path / "torn.onnx")


def test_a_model_that_does_not_name_its_features_is_refused(tmp_path: Path) -> None:
    body = "(float[n, 2] features) => (float[n, 2] probabilities) {probabilities = Identity(features)}"
    with pytest.raises(ModelError, match="does not say which features"):
        load_model(_onnx(tmp_path / "m.onnx", body, metadata=False))


def test_a_model_of_before_profiles_has_none(model: Model) -> None:
    assert model.profile is None


def test_a_torn_profile_is_refused(path: Path, tmp_path: Path) -> None:
    proto = onnx.load(path)
    entry = proto.metadata_props.add()
    entry.key, entry.value = PROFILE_KEY, '{"rows": 3'
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"m\.onnx.*cannot be read.*train and export it again"):
        load_model(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("(float[n, 3] features) => (float[n, 3] probabilities) {probabilities = Identity(features)}", "it must take one input"),
        ("(double[n, 2] features) => (double[n, 2] probabilities) {probabilities = Identity(features)}", "it must take one input"),
        ("(float[n, 2] X) => (float[n, 2] probabilities) {probabilities = Identity(X)}", "it must take one input"),
        ("(float[n, 2] features) => (float[n, 2] output) {output = Identity(features)}", "zipmap off"),
    ],
)
def test_a_model_of_another_shape_is_refused(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(_onnx(tmp_path / "m.onnx", body))


@pytest.mark.parametrize(
    "other",
    [Signature(("a", "b", "c", "d", "x"), "5" * 64), Signature(("b", "a", "c", "d", "e"), "5" * 64), Signature(night.NAMES, "6" * 64)],
)
def test_other_features_are_refused(model: Model, other: Signature) -> None:
    with pytest.raises(ModelError, match="train a model on these features"):
        check_fit(model, other)


# ------------------------------------------------------------------------------------------------ scoring


@pytest.mark.costly
@pytest.mark.parametrize("rows", [0, 1, 2, RUN_ROWS, RUN_ROWS + 1, BATCH_ROWS, 3 * BATCH_ROWS + 17])
def test_scores_are_those_of_scikit_learn_in_the_same_order(model: Model, tmp_path: Path, rows: int) -> None:
    features = night.write_features(tmp_path / "features.parquet", rows)
    assert score_parquet(model, features, tmp_path / "scores.parquet", key=night.ORDER, threshold=0.5) == rows
    scores = pq.read_table(tmp_path / "scores.parquet")
    source = pq.read_table(features)
    assert scores.select(night.ORDER).equals(source.select(night.ORDER))
    assert scores.schema.names == [*night.ORDER, "score", "decision"]
    if rows:
        expected = night.forest().predict_proba(night.values(rows))[:, 1]
        np.testing.assert_allclose(scores["score"].to_numpy(), expected, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(scores["decision"].to_numpy(), scores["score"].to_numpy() >= np.float32(0.5))


@pytest.mark.costly
def test_the_order_of_computation_changes_no_byte(model: Model, tmp_path: Path) -> None:
    night.write_features(tmp_path / "f.parquet", 3 * BATCH_ROWS // 2)
    written = []
    for order_by in (None, *night.NAMES):
        score_parquet(model, tmp_path / "f.parquet", tmp_path / "s.parquet", key=night.ORDER, threshold=0.5, order_by=order_by)
        written.append((tmp_path / "s.parquet").read_bytes())
    assert model.has_trees
    assert len(set(written)) == 1


def test_an_order_by_no_feature_is_refused(model: Model, tmp_path: Path) -> None:
    night.write_features(tmp_path / "f.parquet", 10)
    with pytest.raises(ConfigError, match="order_by is 'nothing', which is not a feature"):
        score_parquet(model, tmp_path / "f.parquet", tmp_path / "s.parquet", key=night.ORDER, threshold=0.5, order_by="nothing")


@pytest.mark.slow
@pytest.mark.parametrize("row_group_size", [7, 1_000, 70_000, 200_000])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_bytes_depend_neither_on_row_groups_nor_on_threads(model: Model, tmp_path: Path, row_group_size: int, threads: int) -> None:
    rows = 20_000 if row_group_size == 7 else 150_000
    wanted = night.write_features(tmp_path / "wanted.parquet", rows)
    score_parquet(model, wanted, tmp_path / "wanted_scores.parquet", key=night.ORDER, threshold=0.3, threads=2)
    other = night.write_features(tmp_path / "other.parquet", rows, row_group_size=row_group_size)
    score_parquet(model, other, tmp_path / "other_scores.parquet", key=night.ORDER, threshold=0.3, threads=threads)
    assert (tmp_path / "other_scores.parquet").read_bytes() == (tmp_path / "wanted_scores.parquet").read_bytes()


def test_a_row_scores_alike_alone_and_among_others(model: Model) -> None:
    matrix = night.values(3_000)
    alone = np.concatenate([model.score(row[None, :]) for row in matrix])
    np.testing.assert_array_equal(alone, model.score(matrix))


def test_a_score_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    model = load_model(_onnx(tmp_path / "m.onnx", "(float[n, 2] features) => (float[n, 2] probabilities) {probabilities = Log(features)}"))
    table = pa.table({"id": [1, 2, 3], "a": pa.array([1, 1, 1], pa.float32()), "b": pa.array([1, -1, 1], pa.float32())})
    pq.write_table(table.replace_schema_metadata({KEY: model.signature.to_json()}), tmp_path / "f.parquet")
    with pytest.raises(ModelError, match=r"gives the score nan for the row \{'id': 2"):
        score_parquet(model, tmp_path / "f.parquet", tmp_path / "s.parquet", key=("id",), threshold=0.5)


def test_a_torn_file_is_refused(model: Model, tmp_path: Path) -> None:
    content = night.write_features(tmp_path / "f.parquet", 5_000).read_bytes()
    for keep in (0, 3, len(content) // 2, len(content) - 1):
        (tmp_path / "torn.parquet").write_bytes(content[:keep])
        with pytest.raises(DataError, match=r"torn\.parquet is not a whole Parquet file"):
            score_parquet(model, tmp_path / "torn.parquet", tmp_path / "s.parquet", key=night.ORDER, threshold=0.5)


def test_a_file_that_is_damaged_within_is_refused(model: Model, tmp_path: Path) -> None:
    content = bytearray(night.write_features(tmp_path / "f.parquet", 5_000).read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    (tmp_path / "damaged.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"damaged\.parquet cannot be read to its end"):
        score_parquet(model, tmp_path / "damaged.parquet", tmp_path / "s.parquet", key=night.ORDER, threshold=0.5)


def _changed(path: Path, change: str) -> Path:
    table = night.features_table(10)
    index = table.schema.get_field_index("b")
    if change == "no column":
        table = table.drop(["b"])
    elif change == "double":
        table = table.set_column(index, "b", table["b"].cast(pa.float64()))
    elif change == "null":
        table = table.set_column(index, "b", pa.array([None, *range(9)], pa.float32()))
    elif change == "no key":
        table = table.drop(["flight"])
    elif change == "no signature":
        table = table.replace_schema_metadata()
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no column", "has no column b;"),
        ("double", r"not float32: b \(double\)"),
        ("null", "the features b have nulls"),
        ("no key", "has no column flight;"),
        ("no signature", "says nothing about its features"),
    ],
)
def test_features_of_another_form_are_refused(model: Model, tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        score_parquet(model, _changed(tmp_path / "f.parquet", change), tmp_path / "s.parquet", key=night.ORDER, threshold=0.5)


@pytest.mark.slow
def test_a_night_of_any_length_takes_the_same_memory(path: Path, tmp_path: Path) -> None:
    program = (
        "import sys, resource; from pathlib import Path; from pipelines.lib.models.inference import load_model, score_parquet;"
        "score_parquet(load_model(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[2] + '.scores'), key=('flight',), threshold=0.5);"
        "assert 'pandas' not in sys.modules, 'a second of start-up';"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    peaks = []
    for rows in (800_000, 3_200_000):
        table = pa.concat_tables([night.features_table(200_000)] * (rows // 200_000))
        pq.write_table(table, tmp_path / "f.parquet", row_group_size=65_536)
        result = subprocess.run(
            [sys.executable, "-c", program, str(path), str(tmp_path / "f.parquet")], check=True, capture_output=True, cwd=ROOT
        )
        peaks.append(int(result.stdout))
    assert peaks[1] <= peaks[0] * 1.1


def test_latency_is_reported_in_microseconds(model: Model) -> None:
    measured = latency(model, rows=night.values(10), runs=200)
    assert 0 < measured.p50_us <= measured.p99_us < 1e6


def test_the_time_of_a_row_is_what_it_computes_and_not_what_it_waits_for(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    score = Model.score

    def disturbed(self: Model, matrix: np.ndarray) -> np.ndarray:
        time.sleep(0.002)  # another process has the processor
        return score(self, matrix)

    monkeypatch.setattr(Model, "score", disturbed)
    assert latency(model, rows=night.values(10), runs=50).p50_us < 2_000
