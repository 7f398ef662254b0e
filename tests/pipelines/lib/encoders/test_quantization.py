"""Quantised encoders: smaller, the same bytes each time, still encoders, and what makes one of them unfit for an index is seen."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.lib.core.digest import sha256_of
from pipelines.lib.encoders import quantization
from pipelines.lib.encoders.encoder import Encoder, load_encoder
from tests.trained_encoder import SIGNATURE, START, encoder_bytes, history

REPOSITORY = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoder]:
    directory = tmp_path_factory.mktemp("quantised")
    contents = {"fp32": encoder_bytes()}
    contents |= {way: quantization.quantized(encoder_bytes(), way, history().features[:2_500]) for way in quantization.WAYS}
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    return {name: load_encoder(directory / name) for name in contents}


@pytest.mark.parametrize("way", quantization.WAYS)
def test_it_is_an_encoder_of_the_same_features_with_vectors_close_by(encoders: dict[str, Encoder], way: str) -> None:
    found, whole = encoders[way], encoders["fp32"]
    assert (found.signature, found.trained_until, found.dimension) == (SIGNATURE, START, whole.dimension)
    assert found.sha256 != whole.sha256
    vectors, wanted = found.encode(history().features), whole.encode(history().features)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert 0 < np.abs(vectors - wanted).mean() < 0.02


def test_more_bits_are_closer(encoders: dict[str, Encoder]) -> None:
    wanted = encoders["fp32"].encode(history().features)
    off = {way: float(np.abs(encoders[way].encode(history().features) - wanted).mean()) for way in ("static_8", "static_16")}
    assert off["static_16"] < off["static_8"]


def test_the_scale_of_a_batch_gives_a_row_many_vectors_and_a_fixed_one_a_single(encoders: dict[str, Encoder]) -> None:
    off = {name: quantization.alone_difference(encoder, history().features) for name, encoder in encoders.items()}
    assert off["dynamic"] > quantization.ALONE
    assert off["fp32"] == off["static_8"] == off["static_16"] == 0
    assert quantization.alone_difference(encoders["dynamic"], history().features[:0]) == 0


def test_weights_of_eight_bits_are_in_the_file(encoders: dict[str, Encoder]) -> None:
    import onnx

    content = quantization.quantized(encoder_bytes(), "static_16", history().features[:100])
    kinds = [tensor.data_type for tensor in onnx.load_from_string(content).graph.initializer if len(tensor.dims) == 2]
    assert kinds.count(onnx.TensorProto.INT8) == 2, "the last hidden layer and the output"
    assert kinds.count(onnx.TensorProto.FLOAT) == 1, "the first layer stays as it is"


@pytest.mark.costly
def test_another_process_makes_the_same_bytes(tmp_path: Path) -> None:
    """Sets of names are in another order in every process, unless told otherwise."""
    (tmp_path / "fp32.onnx").write_bytes(encoder_bytes())
    np.save(tmp_path / "rows.npy", history().features[:2_500])
    program = (
        "import sys; import numpy as np; from pathlib import Path; from pipelines.lib.encoders import quantization\n"
        "model, rows = Path('fp32.onnx').read_bytes(), np.load('rows.npy')\n"
        "[Path(f'{way}.{sys.argv[1]}').write_bytes(quantization.quantized(model, way, rows)) for way in quantization.WAYS]\n"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)}
        subprocess.run([sys.executable, "-c", program, seed], cwd=tmp_path, env=environment, check=True)
    for way in quantization.WAYS:
        assert sha256_of(tmp_path / f"{way}.1") == sha256_of(tmp_path / f"{way}.2")


def test_the_speed_is_that_of_rows(encoders: dict[str, Encoder]) -> None:
    found = quantization.rows_per_second(encoders, np.tile(history().features, (4, 1)), repeats=1)
    assert list(found) == list(encoders)
    assert all(1_000 < rows < 10**9 for rows in found.values())
