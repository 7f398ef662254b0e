"""An encoder: a row has one vector in every batch; rows are streamed from Parquet; a file other than the pinned one is refused."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest

from pipelines.lib.core.errors import DataError, ModelError
from pipelines.lib.encoders.encoder import TRAINED_UNTIL, Encoder, encode_features, load_encoder
from pipelines.lib.encoders.graph import serialized
from pipelines.lib.features.signature import KEY, Signature
from pipelines.lib.models.inference import BATCH_ROWS
from tests.scored_night import onnx_bytes
from tests.trained_encoder import NAMES, SIGNATURE, START, encoder_bytes, fitted, history, write_history


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "encoder.onnx").write_bytes(encoder_bytes())
    return tmp_path / "encoder.onnx"


@pytest.fixture
def encoder(path: Path) -> Encoder:
    return load_encoder(path)


def test_it_says_what_it_is(encoder: Encoder) -> None:
    assert (encoder.signature, encoder.dimension, encoder.trained_until) == (SIGNATURE, 8, START)
    assert encoder.sha256 == hashlib.sha256(encoder_bytes()).hexdigest()


def test_vectors_have_the_norm_1(encoder: Encoder) -> None:
    vectors = encoder.encode(history().features)
    assert (vectors.shape, vectors.dtype) == ((6_000, 8), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 16, 17, 4_099])
def test_a_row_has_one_vector_in_every_batch(encoder: Encoder, rows: int) -> None:
    features = np.tile(history().features, (2, 1))  # more than a block
    batch = encoder.encode(features)
    for start in (0, 5, len(features) - rows):
        assert encoder.encode(features[start : start + rows]).tobytes() == batch[start : start + rows].tobytes()


def test_without_rows_there_are_no_vectors(encoder: Encoder) -> None:
    assert encoder.encode(np.empty((0, 4), dtype=np.float32)).shape == (0, 8)
    assert encoder.probability(np.empty((0, 4), dtype=np.float32)).shape == (0,)


@pytest.mark.parametrize("shape", [(3, 5), (4,), (1, 4, 1)])
def test_rows_of_another_width_are_refused(encoder: Encoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="takes rows of 4 features"):
        encoder.encode(np.zeros(shape, dtype=np.float32))


def test_an_impossible_value_counts_as_a_far_one(encoder: Encoder) -> None:
    rows = history().features[:2].copy()
    rows[0, 0], rows[1] = 1e30, rows[0]
    rows[1, 0] = fitted().scaler.mean_[0] + 7 * fitted().scaler.scale_[0]
    assert encoder.encode(rows)[0].tobytes() == encoder.encode(rows)[1].tobytes()


def test_a_file_is_streamed_with_its_other_columns(encoder: Encoder, tmp_path: Path) -> None:
    given = history(BATCH_ROWS + 100)
    write_history(tmp_path / "history.parquet", given)
    batches = list(encode_features(encoder, tmp_path / "history.parquet", ("key", "late")))
    assert [batch.num_rows for batch, _ in batches] == [BATCH_ROWS, 100]
    assert batches[0][0].schema.names == ["key", "late"]
    assert np.concatenate([batch["key"].to_numpy() for batch, _ in batches]).tolist() == list(range(BATCH_ROWS + 100))
    assert np.concatenate([vectors for _, vectors in batches]).tobytes() == encoder.encode(given.features).tobytes()


def test_a_feature_may_be_among_the_other_columns(encoder: Encoder, tmp_path: Path) -> None:
    write_history(tmp_path / "history.parquet")
    [(batch, _)] = encode_features(encoder, tmp_path / "history.parquet", ("b", "key"))
    assert batch.schema.names == ["b", "key"]
    assert batch["b"].to_numpy().tobytes() == np.ascontiguousarray(history().features[:, 1]).tobytes()


def test_features_of_another_declaration_are_refused(encoder: Encoder, tmp_path: Path) -> None:
    write_history(tmp_path / "history.parquet")
    table = pq.read_table(tmp_path / "history.parquet")
    pq.write_table(table.replace_schema_metadata({KEY: Signature(NAMES, "1" * 64).to_json()}), tmp_path / "other.parquet")
    with pytest.raises(ModelError, match="takes 4 features of declaration 000000000000"):
        next(encode_features(encoder, tmp_path / "other.parquet", ("key",)))


def test_a_missing_column_and_a_hole_are_named(encoder: Encoder, tmp_path: Path) -> None:
    write_history(tmp_path / "history.parquet")
    with pytest.raises(DataError, match="has no column nowhere"):
        next(encode_features(encoder, tmp_path / "history.parquet", ("nowhere",)))
    table = pq.read_table(tmp_path / "history.parquet")
    holed = table.set_column(table.schema.get_field_index("b"), "b", [[*table["b"].to_pylist()[:-1], None]])
    pq.write_table(holed.cast(table.schema), tmp_path / "holed.parquet")
    with pytest.raises(DataError, match="the features b have nulls"):
        list(encode_features(encoder, tmp_path / "holed.parquet", ("key",)))


def test_a_torn_file_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    write_history(tmp_path / "history.parquet")
    content = (tmp_path / "history.parquet").read_bytes()
    (tmp_path / "torn.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="is not a whole Parquet file"):
        next(encode_features(encoder, tmp_path / "torn.parquet", ("key",)))


def test_another_file_than_the_pinned_one_is_refused(path: Path) -> None:
    assert load_encoder(path, hashlib.sha256(encoder_bytes()).hexdigest()).dimension == 8
    with pytest.raises(ModelError, match="pinned was ffff"):
        load_encoder(path, "f" * 64)
    path.write_bytes(encoder_bytes()[:-100])
    with pytest.raises(ModelError, match="is not a whole ONNX model"):
        load_encoder(path)
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_encoder(path)


@pytest.mark.costly
def test_a_model_that_is_not_an_encoder_is_refused(path: Path) -> None:
    path.write_bytes(onnx_bytes())
    with pytest.raises(ModelError, match="an encoder must give 'embedding'"):
        load_encoder(path)
    path.write_bytes(serialized(onnx.load_from_string(encoder_bytes()), {KEY: SIGNATURE.to_json()}))
    with pytest.raises(ModelError, match=rf"no '{TRAINED_UNTIL}' in its metadata"):
        load_encoder(path)
