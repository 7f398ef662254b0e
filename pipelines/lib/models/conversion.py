"""A fitted estimator as an ONNX graph that gives the same scores.

skl2onnx converts scikit-learn's estimators, and with the converters of onnxmltools also those of LightGBM and XGBoost, alone or within pipelines.

Features are float32. LightGBM and HistGradientBoosting compare them with thresholds that are float64: halves of the way between two values. The nearest
float32 may be the upper one of the two, and then ``value <= threshold`` is true on the wrong side. So each threshold becomes the greatest float32 that is
not above it, which sends every float32 the same way.
"""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.core.errors import ModelError
from pipelines.lib.measures.tasks import TASKS
from pipelines.lib.models.estimators import parts, public_name
from pipelines.lib.tables.dataset import TaskName

if TYPE_CHECKING:
    from onnx import ModelProto

_OPTIONS = {"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [False, True], "raw_scores": [True, False]}


def convert(model: Any, features: int, opset: int, task: TaskName = "binary") -> "ModelProto":
    """Return `model`, fitted on `features` columns, as ONNX: input ``features`` float32 [n, f], output ``probabilities`` float32 [n, 2] or ``forecast`` [n, 1].

    Raises `ModelError` if it has no converter, or not one for its parameters.
    """
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    _register({public_name(type(part)) for part in parts(model)})
    try:
        proto: ModelProto = skl2onnx.convert_sklearn(
            model,
            initial_types=[("features", FloatTensorType([None, features]))],
            options={"zipmap": False} if task == "binary" else None,
            final_types=None if task == "binary" else [(TASKS[task].output, FloatTensorType([None, 1]))],
            target_opset={"": opset, "ai.onnx.ml": 3},
        )
    except (MissingConverter, MissingShapeCalculator, NotImplementedError, RuntimeError, NameError, ValueError, TypeError) as error:
        said = " ".join(str(error).split())
        raise ModelError(
            f"{public_name(type(model))} cannot be converted to ONNX ({said[:200]}); choose another train.estimator"
        ) from error
    proto.graph.name = "nightshift"  # the converter would use a random name
    return proto


def float32_below(values: Any) -> NDArray[np.float64]:
    """Return for each of `values` (float64) the greatest float32 that is not above it."""
    exact = np.asarray(values, dtype=np.float64)
    nearest = exact.astype(np.float32)
    return np.where(nearest > exact, np.nextafter(nearest, np.float32(-np.inf)), nearest).astype(np.float64)


class _PlainContainer:
    """A container of skl2onnx whose nodes get attributes that onnx accepts: numbers of Python, and thresholds that fit float32."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, op_type: Any, inputs: Any, outputs: Any, **attributes: Any) -> None:
        if "nodes_values" in attributes:
            attributes["nodes_values"] = float32_below(attributes["nodes_values"])
        self._container.add_node(op_type, inputs, outputs, **{name: _plain(value) for name, value in attributes.items()})


def _plain(value: Any) -> Any:
    """Return `value` with numbers of Python in place of those of NumPy, and 0 and 1 in place of false and true."""
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(one) for one in np.asarray(value).tolist()] if isinstance(value, np.ndarray) else [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return int(value) if isinstance(value, bool) else value


def _register(names: set[str]) -> None:
    """Register the converters that skl2onnx lacks, of those classes that are among `names`."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes, calculate_linear_regressor_output_shapes

    classifier = {"shape_fct": calculate_linear_classifier_output_shapes, "options": _OPTIONS}
    regressor = {"shape_fct": calculate_linear_regressor_output_shapes}
    if any(name.startswith("sklearn.ensemble.HistGradientBoosting") for name in names):
        from skl2onnx.operator_converters import random_forest
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        for cls, converter, how in (
            (HistGradientBoostingClassifier, random_forest.convert_sklearn_random_forest_classifier, classifier),
            (HistGradientBoostingRegressor, random_forest.convert_sklearn_random_forest_regressor_converter, regressor),
        ):
            update_registered_converter(cls, f"Sklearn{cls.__name__}", convert_fct=_of_histograms(converter), **how)
    if any(name.startswith("lightgbm.") for name in names):
        from lightgbm import LGBMClassifier, LGBMRegressor
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        def convert_plain(scope: Any, operator: Any, container: Any) -> None:
            convert_lightgbm(scope, operator, _PlainContainer(container))

        for cls, how in ((LGBMClassifier, classifier), (LGBMRegressor, regressor)):
            update_registered_converter(cls, f"LightGbm{cls.__name__}", convert_fct=convert_plain, **how)
    if any(name.startswith("xgboost.") for name in names):
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        from xgboost import XGBClassifier, XGBRegressor

        for cls, how in ((XGBClassifier, classifier), (XGBRegressor, regressor)):
            update_registered_converter(cls, f"XGBoost{cls.__name__}", convert_fct=convert_xgboost, **how)


def _of_histograms(converter: Any) -> Any:
    """Return the `converter` of a forest as that of HistGradientBoosting, whose thresholds are float64."""

    def convert_histograms(scope: Any, operator: Any, container: Any) -> None:
        fitted = operator.raw_operator
        operator.raw_operator = _with_float32_thresholds(fitted)
        try:
            converter(scope, operator, _PlainContainer(container))
        finally:
            operator.raw_operator = fitted

    return convert_histograms


def _with_float32_thresholds(fitted: Any) -> Any:
    """Return a copy of a `fitted` HistGradientBoosting estimator that compares with float32 thresholds; it gives float32 rows the same scores."""
    model = copy.copy(fitted)
    model._predictors = [[copy.copy(tree) for tree in trees] for trees in fitted._predictors]
    for trees in model._predictors:
        for tree in trees:
            tree.nodes = tree.nodes.copy()
            tree.nodes["num_threshold"] = float32_below(tree.nodes["num_threshold"])
    return model
