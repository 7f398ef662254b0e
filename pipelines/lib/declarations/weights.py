"""Weights of classes in section ``train``: they are allowed, but a weighted model does not give probabilities."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.lib.declarations.faults import Finding

_NONE: Mapping[str, Any] = {"class_weight": None, "scale_pos_weight": 1, "is_unbalance": False}
"""The parameters that weight classes, each with the value that changes nothing."""


def weight_warnings(params: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the parameters of the estimator, or of one within it, that weight classes while ``decide`` limits the calibration error."""
    train, limit = params.get("train"), (params.get("decide") or {}).get("maximum_calibration_error_increase")
    if not isinstance(train, Mapping) or limit is None:
        return
    for key, value in _weights(train.get("parameters"), "train.parameters"):
        yield Finding(
            key,
            f"is {value!r}, so scores are far higher than the rate of the outcome, and decide.maximum_calibration_error_increase, which is {limit}, "
            "refuses a model with weights after one without",
            "take it out, and declare score.threshold as a budget or costs (docs/how-to/rare-positives.md)",
            warning=True,
        )


def _weights(content: object, above: str) -> Iterator[tuple[str, object]]:
    for key, value in content.items() if isinstance(content, Mapping) else ():
        if key in _NONE and value not in (None, _NONE[key]):
            yield f"{above}.{key}", value
        yield from _weights(value, f"{above}.{key}")
