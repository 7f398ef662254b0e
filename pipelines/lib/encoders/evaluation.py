"""The findings of `evaluate_encoder` about an encoder: the contract that `register` and `promote` read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.lib.core import contract
from pipelines.lib.core.contract import STRICT
from pipelines.lib.encoders.comparison import Compared, NotCompared
from pipelines.lib.measures.metrics import Summary


@dataclass(frozen=True)
class EncoderFigures(Summary):
    """The figures of the network on the holdout, and of its vectors.

    `neighbour_auc`: how well the rate of outcomes among the ten nearest rows of training predicts a row's own; None if one class is missing.
    `norm_error` and `least_spread`: the largest difference of a norm from 1, the least standard deviation of a dimension.
    """

    neighbour_auc: float | None
    norm_error: float
    least_spread: float
    dimension: int


@dataclass(frozen=True)
class EncoderMetrics(EncoderFigures):
    """`EncoderFigures`, and the largest difference of a probability between ONNX and scikit-learn."""

    parity_max_difference: float


@dataclass(frozen=True)
class EncoderEvaluation:
    """An encoder on its holdout, the nights from `since` on, against the `limits` of params.yaml.

    `metrics` is None if the encoder gives no vectors, `comparison` if there is no champion. `quantization` is what `quantize` chose and measured.
    It has learned from `trained_rows` of the `history_rows` before `since`; None if it gives no vectors, or the evaluation is older than these fields.
    The encoder must not be registered if there are `faults`.
    """

    __pydantic_config__ = STRICT

    name: str
    partition: str
    since: str
    comparison: Compared | NotCompared | None
    training: Mapping[str, Any]
    metrics: EncoderMetrics | None
    limits: Mapping[str, float]
    sha256: str | None
    quantization: Mapping[str, Any]
    faults: tuple[str, ...]
    trained_rows: int | None = None
    history_rows: int | None = None

    @property
    def note(self) -> str:
        """The result in a line, which the ledger keeps as the reason of a promotion."""
        if self.faults or self.metrics is None:
            return f"the encoder does not pass: {'; '.join(self.faults)}"
        summary_line = f"AUC {self.metrics.auc:.3f}, by neighbours {self.metrics.neighbour_auc or 0:.3f}, {self.quantization['chosen']}"
        if isinstance(self.comparison, NotCompared):
            return f"{summary_line}; not compared with the champion: {self.comparison.reason}"
        if self.comparison is None:
            return summary_line
        return f"{summary_line}; the champion's AUC on the same rows {self.comparison.champion_auc:.3f}, its own {self.comparison.auc:.3f}"


def read_evaluation(path: Path) -> EncoderEvaluation:
    """Read the evaluation that `evaluate_encoder` has written to `path`. Raises `DataError` if it is not a whole one."""
    return contract.from_json(EncoderEvaluation, path, "evaluate_encoder")
