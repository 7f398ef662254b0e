"""Smaller forms of a trained model: the same answers, nearly, for less work. The cheapest one that keeps within a limit goes on in its place.

Candidates are a quarter and half of the trees of a forest, and a network with layers of 64 and 32 that learns the answers of any model of trees. They are compared
with the model on rows that neither it nor they have learned from, as a whole and slice by slice.
"""

import copy
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from pydantic import ConfigDict, Field

from pipelines.lib.core.params import Section
from pipelines.lib.features.history import History, drawn
from pipelines.lib.measures.slices import slices_of
from pipelines.lib.models import estimators
from pipelines.lib.models.conversion import convert
from pipelines.lib.models.estimators import answer, final, is_forest
from pipelines.lib.models.forest_sample import keep_sample

ITSELF, NETWORK = "the model itself", "a network of 64 and 32"

VISIT = 100
"""Weights that take as long as one node of a tree: a node waits for memory, and a network multiplies many numbers at once."""

_TEACHING_ROWS = 200_000
_SEEN = ((1_600_000, 1e-3), (500_000, 1e-4))
"""Rows that the network sees, each one many times, with the learning rate at which it does. A third of them costs 0.0014 of AUC on three months of flights."""

_MOST_PASSES = 60

_OPSET = 22  # only the size of the graph counts
_SMALLEST = 1e-6  # probability, so that its log-odds are finite


@dataclass(frozen=True)
class Form:
    """A form of a model, and how much worse it is than the model on the held-out rows; both figures are 0 for the model itself.

    `quality_loss` is in AUC or R², `loss_increase` is of the mean log loss in nats, or of the squared error as a share of the label's variance. `operations` are
    weights for a row, a node of a tree counted as `VISIT`, and `model_operations` those of the model. `refused` says why cheaper forms did not pass.
    `judged_by_loss` are the slices whose rows have too few outcomes to judge anything but the loss.
    `not_reproducible` is why another training of the model may give other bytes.
    """

    name: str
    quality_loss: float
    loss_increase: float
    operations: int
    model_operations: int
    refused: tuple[str, ...] = ()
    judged_by_loss: tuple[str, ...] = ()
    not_reproducible: str | None = None

    @property
    def note(self) -> str:
        """The choice in a few sentences."""
        if self.name == ITSELF:
            return f"No smaller form of the model was within the limits: {'; '.join(self.refused) or 'it has none'}."
        saved = 1000 * (self.model_operations - self.operations)
        alone = f" By their loss alone were judged: {', '.join(self.judged_by_loss)}." if self.judged_by_loss else ""
        return (
            f"This is a smaller form of the trained model: {self.name}. On the holdout its quality is {self.quality_loss:.4f} lower and its loss "
            f"{self.loss_increase:.4f} higher. It saves {saved:,} of {1000 * self.model_operations:,} operations per 1,000 predictions.{alone}"
        )


class JudgedSlices(Section):
    """The keys of section ``evaluate`` that say which slices are judged separately."""

    model_config = ConfigDict(extra="allow")

    slices: tuple[str, ...]
    slice_minimum_rows: int = Field(ge=1)


def form_of(model: Any) -> Form | None:
    """Return what `choose` has kept with a `model`, also in a skops file; None if nothing was chosen."""
    kept = getattr(model, "form_", None)
    return Form(**{**kept, **{key: tuple(kept[key]) for key in ("refused", "judged_by_loss")}}) if kept else None


def choose(model: Any, history: History, held_out: History, judged: JudgedSlices, *, limit: float, slice_limit: float, seed: int) -> Any:
    """Return the cheapest form of a fitted `model` that loses at most `limit` on `held_out`, and at most `slice_limit` on each of the slices `judged`.

    `history` are the rows that the model has learned from. The form keeps what was chosen; see `form_of`.
    """
    task, rows = history.task, history.features.shape[1]
    whole = operations(model, rows, history)
    parts = [("all rows", np.ones(len(held_out.labels), bool), limit)] + [
        (f"{column}={value}", mask, slice_limit)
        for column in judged.slices
        for value, mask in slices_of(held_out.exact(column), judged.slice_minimum_rows)
    ]
    alone = tuple(where for where, mask, _ in parts if not task.judges(held_out.labels[mask]))
    itself = Form(ITSELF, 0.0, 0.0, whole, whole, judged_by_loss=alone, not_reproducible=estimators.not_reproducible(model))
    expected, refused = _answers(model, held_out), []
    candidates = []
    if task.judges(held_out.labels):
        found = [(name, form, operations(form, rows, history)) for name, form in _forms(model, history, seed)]
        candidates = sorted((one for one in found if one[2] < whole), key=lambda one: one[2])
    else:
        refused.append("the holdout has too few outcomes to compare forms")
    for name, form, cost in candidates:
        given = _answers(form, held_out)
        quality, loss = _worse(held_out, expected, given, parts[0][1])
        fault = next((said for part in parts if (said := _fault(held_out, expected, given, *part))), None)
        if fault is None:
            return _keep(
                form, replace(itself, name=name, quality_loss=quality, loss_increase=loss, operations=cost, refused=tuple(refused))
            )
        refused.append(f"{name} {fault}")
    return _keep(model, replace(itself, refused=tuple(refused)))


def operations(model: Any, features: int, history: History) -> int:
    """Return how many weights one row is multiplied with or gets added in the ONNX graph of a fitted `model`, each node that it visits in a tree counted as `VISIT`."""
    graph, found = convert(model, features, _OPSET, history.task.name).graph, 0.0
    for node in graph.node:
        lists: Mapping[str, Any] = {one.name: one for one in node.attribute}
        if "nodes_treeids" in lists:
            leaves = [tree for tree, mode in zip(lists["nodes_treeids"].ints, lists["nodes_modes"].strings, strict=True) if mode == b"LEAF"]
            found += VISIT * sum(math.log2(count) for count in np.bincount(leaves) if count)
    return round(found) + sum(int(math.prod(tensor.dims)) for tensor in graph.initializer if len(tensor.dims) > 1)


def _forms(model: Any, history: History, seed: int) -> Iterator[tuple[str, Any]]:
    """Yield the smaller forms of `model`, each with its name. A model without trees has none."""
    last = final(model)
    if is_forest(last):
        for name, count in (("half of its trees", len(last.estimators_) // 2), ("a quarter of its trees", len(last.estimators_) // 4)):
            if count:
                yield name, _with_trees(model, count)
    if is_forest(last) or "Boosting" in type(last).__name__ or type(last).__module__.startswith(("lightgbm.", "xgboost.")):
        yield NETWORK, distil(model, history, seed)


def _with_trees(model: Any, count: int) -> Any:
    fewer = copy.copy(final(model)).set_params(n_estimators=count)
    fewer.estimators_ = fewer.estimators_[:count]
    return estimators.with_final(model, fewer)


def distil(model: Any, history: History, seed: int) -> Any:
    """Return a pipeline that ends in a network which has learned the answers of `model` on the rows of `history`: their log-odds if they are probabilities.

    A feature outside the range of training counts as the end of the range, as it does in a tree. A missing one counts as the median, if the rows of training
    lack some. Each step costs as much time as a layer, so the scaling that the network learns with becomes part of its first weights.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    rows = drawn(history, _TEACHING_ROWS, seed)
    target = _answers(model, rows)
    if history.task.name == "binary":
        inside = np.clip(target, _SMALLEST, 1 - _SMALLEST)
        target = np.log(inside / (1 - inside))
    middle, scale = target.mean(), target.std() or 1.0
    filled = [SimpleImputer(strategy="median", keep_empty_features=True)] if np.isnan(history.features).any() else []
    steps, standard = make_pipeline(*filled, MinMaxScaler(clip=True)), StandardScaler()
    network = MLPRegressor(hidden_layer_sizes=(64, 32), batch_size=min(256, len(target)), alpha=1e-6, random_state=seed, warm_start=True)
    with estimators.one_blas_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it has not converged: the number of passes is fixed
        scaled = standard.fit_transform(steps.fit_transform(rows.features).astype(np.float64))
        for seen, rate in _SEEN:
            epochs = min(_MOST_PASSES, math.ceil(seen / len(target)))
            network.set_params(max_iter=epochs, learning_rate_init=rate, n_iter_no_change=epochs)
            network.fit(scaled, (target - middle) / scale)
        network.coefs_[0] /= standard.scale_[:, np.newaxis]
        network.intercepts_[0] -= standard.mean_ @ network.coefs_[0]
        network.coefs_[-1] *= scale
        network.intercepts_[-1] = network.intercepts_[-1] * scale + middle
        answering = network if history.task.name != "binary" else _as_classifier(network, scaled)
    form = make_pipeline(*(step for _, step in steps.steps), answering)
    estimators.strip(form)
    keep_sample(form, len(history.labels))
    return form


def _as_classifier(network: Any, rows: np.ndarray) -> Any:
    """Return `network`, which gives log-odds, as a classifier, which gives the probabilities that follow from them."""
    from sklearn.neural_network import MLPClassifier

    classifier = MLPClassifier(network.hidden_layer_sizes, random_state=network.random_state, max_iter=1)
    classifier.fit(rows[:2], [0, 1])  # for its classes: the weights are replaced
    classifier.coefs_, classifier.intercepts_ = network.coefs_, network.intercepts_
    return classifier


def _answers(model: Any, rows: History) -> np.ndarray:
    with estimators.one_blas_thread():
        return np.asarray(answer(estimators.single_threaded(model), rows.features, rows.task.name), dtype=np.float64)


def _worse(rows: History, expected: np.ndarray, given: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Return how much lower the quality of the answers `given` is than that of those `expected`, on the rows of `mask`, and how much higher their loss."""
    task, labels = rows.task, rows.labels[mask]
    loss = float((task.losses(labels, given[mask]) - task.losses(labels, expected[mask])).mean()) / task.loss_unit(labels)
    if not task.judges(labels):
        return 0.0, loss
    before, after = task.qualities(labels, np.array([expected[mask], given[mask]]))
    return float(before - after), loss


def _fault(rows: History, expected: np.ndarray, given: np.ndarray, where: str, mask: np.ndarray, limit: float) -> str | None:
    quality, loss = _worse(rows, expected, given, mask)
    if quality > limit:
        return f"loses {quality:.4f} of {rows.task.quality_name} on {where}, more than {limit:g}"
    return f"adds {loss:.4f} to the {rows.task.loss_name} on {where}, more than {limit:g}" if loss > limit else None


def _keep(model: Any, form: Form) -> Any:
    model.form_ = {**asdict(form), "refused": list(form.refused), "judged_by_loss": list(form.judged_by_loss)}
    return model
