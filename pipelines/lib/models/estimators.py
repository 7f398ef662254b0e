"""The estimators that `train` fits: made from the keys `estimator`, `steps` and `parameters` of section ``train``.

A name is imported only if it is a public class of scikit-learn, or one of `OTHERS`. No other module is ever imported by a name that a person wrote.
"""

import copy
import difflib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

from pydantic import Field

from pipelines.lib.core.params import Section
from pipelines.lib.tables.dataset import TaskName

DEFAULT = "sklearn.ensemble.RandomForestClassifier"

DEFAULTS: Mapping[TaskName, str] = {"binary": DEFAULT, "regression": "sklearn.ensemble.RandomForestRegressor"}

OTHERS = ("lightgbm.LGBMClassifier", "xgboost.XGBClassifier", "lightgbm.LGBMRegressor", "xgboost.XGBRegressor")
"""The classes outside scikit-learn."""

SUPPORTED = (
    DEFAULT,
    "sklearn.calibration.CalibratedClassifierCV",
    "sklearn.ensemble.ExtraTreesClassifier",
    "sklearn.ensemble.GradientBoostingClassifier",
    "sklearn.ensemble.HistGradientBoostingClassifier",
    "sklearn.linear_model.LogisticRegression",
    "sklearn.neural_network.MLPClassifier",
    "sklearn.ensemble.RandomForestRegressor",
    "sklearn.ensemble.ExtraTreesRegressor",
    "sklearn.ensemble.GradientBoostingRegressor",
    "sklearn.ensemble.HistGradientBoostingRegressor",
    "sklearn.linear_model.LinearRegression",
    "sklearn.linear_model.Ridge",
    "sklearn.neural_network.MLPRegressor",
    *OTHERS,
)
"""The classes whose files are tested to have the same bytes after the same training."""

_SUPPORTED_STEPS = ("sklearn.preprocessing.StandardScaler", "sklearn.preprocessing.MinMaxScaler", "sklearn.impute.SimpleImputer")

_THREADS = 2
"""Threads of LightGBM and XGBoost: a fixed number, since sums of another number of threads end in other bits."""

_LIGHTGBM = {"deterministic": True, "force_row_wise": True, "n_jobs": _THREADS, "verbosity": -1, "importance_type": "gain"}
_XGBOOST = {"tree_method": "hist", "n_jobs": _THREADS}
_OURS: Mapping[str, Mapping[str, Any]] = {
    "lightgbm.LGBMClassifier": _LIGHTGBM,
    "lightgbm.LGBMRegressor": _LIGHTGBM,
    "xgboost.XGBClassifier": _XGBOOST,
    "xgboost.XGBRegressor": _XGBOOST,
}
"""Parameters that an estimator gets unless the section sets them: without them, a second training may give other bytes."""

_ROLES: Mapping[TaskName, str] = {"binary": "classifier", "regression": "regressor"}

_REGRESSORS = ("Regressor", "LinearRegression", "Ridge")
"""Ends of the names of the supported regressors."""

_PUBLIC = re.compile(r"sklearn\.[a-z][a-z_]*\.[A-Z][A-Za-z0-9]*", re.ASCII)

_ONLY_FOR_MORE_TRAINING = ("_optimizer", "_random_state")
"""Attributes of a fitted network that no score needs. skops does not trust their types."""


class Fitting(Section):
    """The keys of section ``train`` that say which model it is.

    `estimator` is the dotted name of a classifier or, for a label that is a number, a regressor, and `parameters` are its arguments. `steps` are transformers before it.
    """

    estimator: str
    steps: tuple[str | dict[str, dict[str, Any]], ...] = ()
    parameters: dict[str, Any] = Field(default_factory=dict)

    def is_usual(self, task: TaskName) -> bool:
        """Return whether this is the default forest of `task` with a valid number of trees and depth, for which nothing has to be imported."""
        numbers = self.parameters.values()
        usual = self.estimator == DEFAULTS[task] and not self.steps and set(self.parameters) <= {"n_estimators", "max_depth"}
        return usual and all(type(number) is int and number >= 1 for number in numbers)


class Refused(ValueError):
    """An estimator that cannot be made: the `key` below section ``train``, the fact and the remedy."""

    def __init__(self, key: str, fact: str, remedy: str) -> None:
        super().__init__(f"train.{key}: {fact}; {remedy}")
        self.key, self.fact, self.remedy = key, fact, remedy


def make(fitting: Fitting, seed: int, task: TaskName = "binary") -> Any:
    """Return the estimator that `fitting` declares for `task`, not fitted yet. Every part that takes a ``random_state`` gets `seed`. Raises `Refused`."""
    from sklearn.base import is_regressor
    from sklearn.pipeline import make_pipeline

    parts = [_step(step, f"steps.{number}") for number, step in enumerate(fitting.steps)]
    model = _build(fitting.estimator, fitting.parameters, "estimator", "parameters", role=_ROLES[task])
    if "n_jobs" not in fitting.parameters and is_forest(model):
        model.set_params(n_jobs=-1)
    if task == "regression" and not is_regressor(model):
        raise Refused(
            "estimator",
            f"is {fitting.estimator!r}, which does not forecast a number, and label.task is regression",
            f"choose one of {', '.join(supported(task))}",
        )
    if task == "binary" and not hasattr(model, "predict_proba"):
        raise Refused(
            "estimator",
            f"is {fitting.estimator!r}, which has no predict_proba with these parameters, so it gives no probabilities",
            f"put it into sklearn.calibration.CalibratedClassifierCV, or choose one of {', '.join(supported(task))}",
        )
    whole = make_pipeline(*parts, model) if parts else model
    seeds = {name: seed for name in whole.get_params() if name.rpartition("__")[2] == "random_state"}
    return whole.set_params(**seeds)


def supported(task: TaskName) -> list[str]:
    """Return the names of the supported estimators for `task`."""
    return [name for name in SUPPORTED if name.endswith(_REGRESSORS) == (task == "regression")]


def answer(model: Any, features: Any, task: TaskName) -> Any:
    """Return the scores of a fitted `model` for `features` [n, f]: probabilities of the positive class, or forecasts; float [n]."""
    return model.predict_proba(features)[:, 1] if task == "binary" else model.predict(features).reshape(-1)


def bound_rows(model: Any, rows: int, rows_per_tree: int) -> None:
    """Let each tree of `model` draw `rows_per_tree` of its `rows`, if it draws rows at all and there are more. A declared ``max_samples`` stays."""
    last = final(model)
    known = last.get_params(deep=False)
    if known.get("bootstrap") is True and known.get("max_samples", 0) is None and rows > rows_per_tree:
        last.set_params(max_samples=rows_per_tree)


def final(model: Any) -> Any:
    """Return the estimator at the end of a pipeline, or else `model` itself."""
    return model.steps[-1][1] if hasattr(model, "steps") else model


def parts(model: Any) -> Iterator[Any]:
    """Yield `model` and every estimator within it."""
    yield model
    for value in vars(model).values():
        for one in value if isinstance(value, list | tuple) else (value,):
            inner = one[-1] if isinstance(one, tuple) and one else one
            if hasattr(inner, "get_params") and not isinstance(inner, type):
                yield from parts(inner)


def strip(model: Any) -> None:
    """Delete what only further training of a fitted `model` needs."""
    for part in parts(model):
        for name in _ONLY_FOR_MORE_TRAINING:
            if type(part).__module__.startswith("sklearn.neural_network.") and hasattr(part, name):
                delattr(part, name)


def single_threaded(model: Any) -> Any:
    """Return a fitted `model` that scores in one thread. Threads add the votes of trees in any order, which changes the last bits."""
    last = final(model)
    if not is_forest(last):
        return model
    return with_final(model, copy.copy(last).set_params(n_jobs=1))


def with_final(model: Any, last: Any) -> Any:
    """Return `model` with the estimator `last` at its end."""
    whole = copy.copy(model)
    if final(model) is not model:
        whole.steps = [*model.steps[:-1], (model.steps[-1][0], last)]
    return last if final(model) is model else whole


def one_blas_thread() -> AbstractContextManager[Any]:
    """Return a context in which linear algebra runs in one thread: with more, its sums end in other bits."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limits


def not_reproducible(model: Any) -> str | None:
    """Return why a second training of `model` may give other bytes; None if it is tested that it does not."""
    inner = final(model).get_params(deep=False).get("estimator")
    for part in (*(step for _, step in getattr(model, "steps", ())), final(model), *([] if inner is None else [inner])):
        name = public_name(type(part))
        if name not in (*SUPPORTED, *_SUPPORTED_STEPS):
            return f"nobody has tested it for {name}"
        if name in OTHERS:
            given = part.get_params()
            if (given.get("n_jobs") or 0) < 1:
                return f"n_jobs of {name} is {given.get('n_jobs')}, so the number of threads depends on the machine"
            if name.startswith("lightgbm.") and not given.get("deterministic"):
                return f"deterministic of {name} is {given.get('deterministic')}"
    return None


def libraries_of(model: Any) -> list[str]:
    """Return the packages that a fitted `model` needs in addition to scikit-learn."""
    packages = {"lightgbm": "lightgbm", "xgboost": "xgboost-cpu"}
    return sorted({packages[name] for part in parts(model) if (name := type(part).__module__.partition(".")[0]) in packages})


def public_name(cls: type) -> str:
    """Return the dotted name by which people know `cls`: ``sklearn.ensemble.RandomForestClassifier``."""
    modules = cls.__module__.split(".")
    public = modules[: next((place for place, module in enumerate(modules) if module.startswith("_")), len(modules))]
    return ".".join([*(public if public[0] == "sklearn" else public[:1]), cls.__name__])


def is_forest(model: Any) -> bool:
    """Return whether `model` is a forest of scikit-learn, which fits and asks its trees in threads."""
    return any(cls.__name__ == "BaseForest" for cls in type(model).__mro__)


def _step(step: str | Mapping[str, Mapping[str, Any]], key: str) -> Any:
    if not isinstance(step, str) and len(step) != 1:
        raise Refused(key, f"names {len(step)} transformers", "write one mapping for each")
    name, arguments = (step, {}) if isinstance(step, str) else next(iter(step.items()))
    return _build(name, arguments, key, key if isinstance(step, str) else f"{key}.{name}", role="transformer")


def _build(name: str, arguments: Mapping[str, Any], key: str, below: str, role: str) -> Any:
    """Return an object of the class `name`, which is at `key`, with its `arguments`, which are at `below`."""
    cls = _class_of(name, key, role)
    known = _arguments_of(cls, name)
    for argument in arguments:
        if argument == "random_state":
            raise Refused(f"{below}.{argument}", "is a key of section train itself", "write it there: train.random_state")
        if argument not in known:
            raise Refused(f"{below}.{argument}", f"is not a parameter of {name}", _closest(argument, known))
    values = {argument: _value(value, f"{below}.{argument}", role) for argument, value in arguments.items()}
    try:
        return cls(**{**_OURS.get(name, {}), **values})
    except (TypeError, ValueError) as error:
        raise Refused(below, f"do not make a {name}: {error}", "correct them") from None


def _value(value: Any, key: str, role: str) -> Any:
    """Return an argument as Python has it: an estimator where a mapping names one, and numbers as keys where JSON has made text of them."""
    if isinstance(value, list):
        return [_value(one, f"{key}.{number}", role) for number, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if isinstance(name := value.get("estimator"), str) and set(value) <= {"estimator", "parameters"}:
        return _build(name, value.get("parameters") or {}, f"{key}.estimator", f"{key}.parameters", role)
    return {int(one) if re.fullmatch(r"-?\d+", one) else one: _value(inner, f"{key}.{one}", role) for one, inner in value.items()}


def _class_of(name: str, key: str, role: str) -> Any:
    """Return the class `name`, a classifier, regressor or transformer as `role` says. Raises `Refused` with the closest name that there is."""
    if name in OTHERS and role != "transformer":
        module, _, attribute = name.rpartition(".")
        try:
            return getattr(import_module(module), attribute)
        except ImportError as error:
            raise Refused(key, f"is {name!r}, but {error}", "install requirements.txt") from None
    found = None
    if _PUBLIC.fullmatch(name):
        module, _, attribute = name.rpartition(".")
        try:
            found = getattr(import_module(module), attribute, None)
        except ModuleNotFoundError:
            found = None
    if inspect.isclass(found) and hasattr(found, "get_params") and hasattr(found, "transform" if role == "transformer" else "predict"):
        return found
    task: TaskName = "regression" if role == "regressor" else "binary"
    raise Refused(key, f"is {name!r}, which is not a {role} that Nightshift knows", _closest(name, _known(role), supported(task)))


def _known(role: str) -> list[str]:
    from sklearn.utils.discovery import all_estimators

    others = [name for name in OTHERS if name.lower().endswith(role)]
    return [*others, *(public_name(cls) for _, cls in all_estimators(role))]


def _arguments_of(cls: Any, name: str) -> set[str]:
    """Return the names of the arguments of `cls`. LightGBM and XGBoost take more than their signatures show."""
    if name not in OTHERS:
        return set(inspect.signature(cls).parameters)
    known = set(cls().get_params()) | set(_OURS[name])
    if name.startswith("lightgbm."):
        from lightgbm.basic import _ConfigAliases  # the parameters of LightGBM itself, each with its other names

        known |= {alias for aliases in (_ConfigAliases.aliases or _ConfigAliases._get_all_param_aliases()).values() for alias in aliases}
    return known


def _closest(name: str, known: Sequence[str] | set[str], otherwise: Sequence[str] | None = None) -> str:
    offered = sorted(known)
    last = name.rpartition(".")[2].lower()
    near = [one for one in offered if one.rpartition(".")[2].lower() == last] or difflib.get_close_matches(name, offered, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(otherwise or offered)}"
