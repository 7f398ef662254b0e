"""A trial of an estimator on a handful of rows: it is fitted, asked, converted and written as a real training would do it.

A name or a parameter that no real training could use is refused before one starts, with what its library says. A trial takes seconds, so only
`check` and `train` make one. Every run checks the declaration alone.
"""

import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.lib.core.errors import ModelError
from pipelines.lib.measures.tasks import TASKS
from pipelines.lib.models.estimators import Fitting, Refused, make, one_blas_thread, parts, strip
from pipelines.lib.tables.dataset import TaskName

_ROWS, _FEATURES, _OPSET = 64, 3, 22
_ENOUGH = {"n_estimators": 3, "max_iter": 5}
"""The most rounds of a trial: the parameters that cost time, and do not decide whether a model can be made."""

_TOLERANCE = 1e-5
"""The largest difference between ONNX and the model itself; those of the supported estimators are up to 4e-7."""

_SAID_BY_SKLEARN = re.compile(r"The '(?P<parameter>\w+)' parameter of \w+ (?P<must>must .+?)\. Got (?P<value>.+) instead\.", re.DOTALL)


def faults_of_declaration(fitting: Fitting, task: TaskName = "binary") -> list[Refused]:
    """Return what is wrong with the names and values of `fitting` for `task`, as far as it is known without a fit."""
    if fitting.is_usual(task):
        return []
    try:
        model = make(fitting, 0, task)
    except Refused as refused:
        return [refused]
    for part in parts(model):
        if hasattr(part, "_parameter_constraints"):  # only estimators of scikit-learn declare which values they accept
            try:
                part._validate_params()
            except ValueError as error:
                return [_refused(fitting, error)]
    return []


def faults(fitting: Fitting, task: TaskName = "binary") -> list[Refused]:
    """Return why no model can be made for `task` as `fitting` declares; empty if one can."""
    if fitting.is_usual(task):
        return []
    if found := faults_of_declaration(fitting, task):
        return found
    model = make(fitting, 0, task)
    where = f"{fitting.estimator} with {', '.join(fitting.parameters) or 'no'} parameters"
    with warnings.catch_warnings(), one_blas_thread():
        warnings.simplefilter("ignore")  # of so few rows and rounds, a model need not converge
        try:
            _shorten(model).fit(*_rows(task))
            scores = np.asarray(_answers(model, _rows(task)[0], task))
        except Exception as error:  # each library has exceptions of its own
            return [_refused(fitting, error)]
        if scores.shape != ((_ROWS, 2) if task == "binary" else (_ROWS, 1)):
            what = "probabilities for two classes" if task == "binary" else "forecasts for each row"
            return [Refused("estimator", f"is {fitting.estimator!r}, which gives {scores.shape[-1]} {what}", "choose another one")]
        try:
            _keep(model, task)
        except ModelError as error:
            return [Refused("estimator", f"is {where}, which is fitted but cannot be used: {error}", "see docs/how-to/models.md")]
    return []


def _answers(model: Any, features: Any, task: TaskName) -> Any:
    """Return what the ONNX form must give for `features` [n, f]: probabilities [n, 2] or forecasts [n, 1]."""
    return model.predict_proba(features) if task == "binary" else np.asarray(model.predict(features)).reshape(len(features), -1)


def _rows(task: TaskName) -> tuple[Any, Any]:
    """Return features [n, f] float32 with codes of missing values among them, and labels [n]."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(_ROWS, _FEATURES)).astype(np.float32)
    features[::7, 1], features[::11, 1] = -1, -2
    if task == "regression":
        return features, features[:, 0].astype(np.float64) + np.arange(_ROWS) % 2
    return features, (np.arange(_ROWS) % 2).astype(np.int8)


def _shorten(model: Any) -> Any:
    """Return `model` with a few rounds in place of many. A number that is not valid stays as it is."""
    few = {}
    for name, value in model.get_params().items():
        most = _ENOUGH.get(name.rpartition("__")[2])
        if most is not None and type(value) is int and value > most:
            few[name] = most
    return model.set_params(**few)


def _keep(model: Any, task: TaskName) -> None:
    """Convert and write `model`. Raises `ModelError` if it is not possible."""
    import onnxruntime

    from pipelines.lib.models import skops_file
    from pipelines.lib.models.conversion import convert

    session = onnxruntime.InferenceSession(convert(model, _FEATURES, _OPSET, task).SerializeToString(), providers=["CPUExecutionProvider"])
    rows = np.concatenate([_rows(task)[0], np.random.default_rng(1).normal(size=(200, _FEATURES)).astype(np.float32)])
    difference = float(np.abs(session.run([TASKS[task].output], {"features": rows})[0] - _answers(model, rows, task)).max())
    if not difference <= _TOLERANCE:
        what = "probabilities" if task == "binary" else "forecasts"
        raise ModelError(f"its ONNX form gives {what} that differ by {difference:.2g}")
    strip(model)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.skops"
        skops_file.dump(model, path)
        skops_file.load(path)


def _refused(fitting: Fitting, error: Exception) -> Refused:
    """Return the fault that `error` is, at the parameter that it names."""
    said = " ".join(str(error).split()).rstrip(".")
    if found := _SAID_BY_SKLEARN.search(str(error)):
        parameter, value = found["parameter"], " ".join(found["value"].split())
        if parameter in fitting.parameters:
            return Refused(f"parameters.{parameter}", f"is {value}. It {' '.join(found['must'].split())}", "correct it")
    named = next((name for name in fitting.parameters if re.search(rf"\b{re.escape(name)}\b", said)), None)
    named = named or next((name for name, value in fitting.parameters.items() if isinstance(value, str) and f"'{value}'" in said), None)
    key = f"parameters.{named}" if named else "parameters" if fitting.parameters else "estimator"
    given = fitting.parameters[named] if named else fitting.parameters or fitting.estimator
    return Refused(
        key, f"is {given!r}, with which {fitting.estimator} cannot be fitted ({type(error).__name__}: {said[:200]})", "correct it"
    )
