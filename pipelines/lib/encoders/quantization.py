"""An encoder with weights of eight bits: the ways of ONNX Runtime to make one, and what each of them costs in neighbours.

Three ways, all with weights in INT8, one scale for each column, and sums of products in the layers alone (quantising every operator ruins the vectors):

* **dynamic**: activations in 8 bits, scaled by the range of the batch at hand. A row then has another vector in another batch, which an index cannot have.
* **static_8**: activations in 8 bits, scaled by the ranges seen in calibration. The first layer stays as it is: it is small, and its inputs are wide.
* **static_16**: the same with 16 bits: the weights are small on disk and are multiplied as floats, so it is not a faster, but hardly a neighbour changes.
"""

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.encoders.encoder import Encoder
from pipelines.lib.encoders.graph import FIRST_LAYER, serialized

WAYS = ("dynamic", "static_8", "static_16")

CALIBRATION_ROWS = 2_000
"""Rows of one calibration step; the ranges do not depend on it."""

ALONE = 1e-6
"""Difference up to which a row has the same vector alone and in a batch: ten times the precision of a float32 near 1."""


FP32 = "fp32"
"""The form that all others are compared with, and that is kept if none passes."""


class Losses(TypedDict):
    """The figures of one form of the encoder, by which it is chosen or refused; None if they cannot be measured.

    `overlap_10` is the share of the ten nearest held-out rows under FP32 that are still among the ten nearest. `overlap_10_all` is the same
    among all rows of history. `faults` says why the form does not pass.
    """

    rows: int
    auc: float | None
    overlap_10: float
    overlap_10_all: float
    auc_fall: float | None
    bytes: int
    size_ratio: float
    alone_difference: float
    sha256: str
    faults: list[str]


def note(chosen: str, losses: Mapping[str, Losses]) -> str:
    """Return the result in one line."""
    if chosen == FP32:
        return f"FP32 is kept: {'; '.join(f'{name}: {fault}' for name, row in losses.items() for fault in row['faults'][:1])}"
    row = losses[chosen]
    fall = row["auc_fall"]
    assert fall is not None  # it has passed
    return f"{chosen}: {row['overlap_10']:.3f} of neighbours kept, AUC {-fall:+.4f}, {row['size_ratio']:.2f} of the size"


def quantized(model: bytes, way: str, calibration: NDArray[np.float32]) -> bytes:
    """Return the ONNX encoder `model` quantised in one of `WAYS`; `calibration` [n, f] are features that give the ranges. The same bytes
    for the same input.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
        def __init__(self) -> None:
            self.blocks = (
                {"features": calibration[start : start + CALIBRATION_ROWS]} for start in range(0, len(calibration), CALIBRATION_ROWS)
            )

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self.blocks, None)

    given, shared = onnx.load_from_string(model), {"weight_type": QuantType.QInt8, "per_channel": True, "op_types_to_quantize": ["MatMul"]}
    metadata = {entry.key: entry.value for entry in given.metadata_props}
    with tempfile.TemporaryDirectory() as scratch, _silent():
        source, target = Path(scratch) / "model.onnx", Path(scratch) / "quantized.onnx"
        source.write_bytes(model)
        if way == "dynamic":
            quantize_dynamic(source, target, reduce_range=True, **shared)  # 7 bits: with 8, sums overflow on processors without VNNI
        else:
            activations = {"static_8": QuantType.QUInt8, "static_16": QuantType.QUInt16}[way]
            more = {"quant_format": QuantFormat.QDQ, "activation_type": activations, "nodes_to_exclude": [FIRST_LAYER]}
            quantize_static(source, target, Reader(), **shared, **more)
        return serialized(onnx.load(target), metadata)


def alone_difference(encoder: Encoder, features: NDArray[np.float32], rows: int = 200) -> float:
    """Return the largest difference of a component between the vector of a row alone and of the same row within `features` [n, f]."""
    batch = encoder.encode(features)
    chosen = range(0, len(features), max(1, len(features) // rows))
    return max((float(np.abs(encoder.encode(features[row : row + 1]) - batch[row]).max()) for row in chosen), default=0.0)


def rows_per_second(encoders: Mapping[str, Encoder], features: NDArray[np.float32], repeats: int = 7) -> dict[str, int]:
    """Return how many rows of `features` [n, f] each encoder takes in a second of one core's time: the best of `repeats`. A measurement of this machine.

    They take turns, and it is the processor's time that counts: what else the machine does changes their ratio little.
    """
    best = dict.fromkeys(encoders, float("inf"))
    for _ in range(repeats):
        for name, encoder in encoders.items():
            started = time.process_time()
            encoder.encode(features)
            best[name] = min(best[name], time.process_time() - started)
    return {name: round(len(features) / max(took, 1e-9)) for name, took in best.items()}


@contextmanager
def _silent() -> Iterator[None]:
    """Silence ONNX Runtime's advice to transform the model first: there is nothing to fuse in it."""
    root: Any = logging.getLogger()
    before = root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
