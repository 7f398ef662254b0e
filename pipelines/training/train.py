"""Fit the model on all labelled history before the holdout: the declared one, or the best of the candidates of section ``search``.

Reads   data/features/history.parquet
Writes  data/models/model.skops, data/models/profile.json (the same bytes for the same history and parameters)
Fails   if there is too little history before the holdout, or if its labels are all alike
"""

import datetime as dt
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, Field

from pipelines.lib.challengers.search import Search, compete, keep
from pipelines.lib.core import stage
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.params import load_section
from pipelines.lib.core.run import load_run
from pipelines.lib.features.categories import most_frequent
from pipelines.lib.features.compute import load_features
from pipelines.lib.features.history import History, Holdout, holdout_start, read_history
from pipelines.lib.models import estimators, trial
from pipelines.lib.models.estimators import Fitting
from pipelines.lib.models.forest_sample import keep_sample, sample_of
from pipelines.lib.models.forms import JudgedSlices, choose, form_of
from pipelines.lib.models.profile import NOT_TESTED, ProfileParams
from pipelines.lib.models.trained_profile import profile_of
from pipelines.lib.tables.dataset import load_dataset


class Train(Fitting, Holdout):
    """The model with its parameters, and the least number of rows that it is fitted on.

    `window_days`: number of days before the holdout that the model learns from; None means all history from ``ingest_history.start`` on.
    `rows_per_tree`: the most rows that are drawn for one tree. A tree of a longer history is fitted on that many rows, another tree on others.
    `maximum_form_loss`: how much of AUC or R² a smaller form of the model may lose on the holdout, and add to its loss; None: no form is made.
    `maximum_form_slice_loss`: the same on each slice of ``evaluate.slices``.
    """

    model_config = ConfigDict(extra="forbid")
    moved: ClassVar[Mapping[str, str]] = {"n_estimators": "parameters", "max_depth": "parameters"}

    random_state: int
    minimum_rows: int = Field(ge=2)
    window_days: int | None = Field(default=None, ge=1)
    rows_per_tree: int = Field(default=350_000, ge=2)
    maximum_form_loss: float | None = Field(default=None, ge=0)
    maximum_form_slice_loss: float = Field(default=0.03, ge=0)


def train(history: History, params: Train) -> Any:
    """Fit the model of `params` on `history` (features [n, f] float32, labels [n]). Raises `ConfigError` if no model can be made with them.

    Each tree of a forest draws its rows with replacement: n of them, or `params.rows_per_tree` if that is less. All rows are equally likely to be
    drawn, for any label, so the probabilities stay calibrated.
    """
    rows, task = len(history.labels), history.task
    if rows < params.minimum_rows:
        raise DataError(
            f"there are only {rows} labelled rows before the holdout; train.minimum_rows asks for {params.minimum_rows}. "
            "Start ingest_history earlier, widen train.window_days, or choose a later partition"
        )
    if fault := task.fault(history.labels):
        raise DataError(f"{fault}. Check dataset.label.expression")
    if not params.is_usual(task.name) and (refused := trial.faults(params, task.name)):
        raise ConfigError(f"params.yaml: {' | '.join(map(str, refused))}")
    model = estimators.make(params, params.random_state, task.name)
    estimators.bound_rows(model, rows, params.rows_per_tree)
    with estimators.one_blas_thread():
        model.fit(history.features, history.labels)
    estimators.strip(model)
    keep_sample(model, rows)
    return model


def smaller(model: Any, history: History, held_out: History, params: Train, limit: float, judged: JudgedSlices) -> Any:
    """Return the cheapest form of a fitted `model` that loses at most `limit`: what evaluation, production and monitoring see from here on."""
    chosen = choose(model, history, held_out, judged, limit=limit, slice_limit=params.maximum_form_slice_loss, seed=params.random_state)
    if form := form_of(chosen):
        stage.log.info("%s", form.note)
    return chosen


@stage.stage("train")
def main(*, features: Path, model: Path, profile: Path) -> None:
    from pipelines.lib.models import skops_file

    params, dataset = load_section("train", Train), load_dataset()
    before = holdout_start(load_run().date, dataset.label.delay_days, params.holdout_days)
    since = before - dt.timedelta(days=params.window_days) if params.window_days else None
    known = most_frequent(features, since=since, until=before)
    history = read_history(features, dataset, categories=known, since=since, until=before)
    stage.log.info(
        "%d rows before %s, mean outcome %.3f, %d features", len(history.labels), before, history.labels.mean(), len(history.names)
    )
    searched, found = load_section("search", Search), None
    if searched.candidates:
        params, found = compete(
            history, searched, params, train, dataset.label.delay_days, lambda until: most_frequent(features, since=since, until=until)
        )
        stage.log.info("%s", found.note)
    fitted = train(history, params)
    drawn = sample_of(fitted)
    stage.log.info("%s learned from %d rows, each tree of a forest from %s", params.estimator, drawn.rows, drawn.rows_per_tree)
    held_out = read_history(features, dataset, categories=known, since=before)
    judged = load_section("evaluate", JudgedSlices)
    if params.maximum_form_loss is not None:
        fitted = smaller(fitted, history, held_out, params, params.maximum_form_loss, judged)
    reference = profile_of(
        fitted,
        history,
        held_out,
        fit=lambda rows: train(rows, params.model_copy(update={"minimum_rows": 2})),
        seed=params.random_state,
        dataset=dataset,
        features=load_features(),
        params=load_section("profile", ProfileParams),
    )
    if reference.scored_as == NOT_TESTED:
        stage.log.warning(
            "nobody can say whether the model knows its rows by heart: there are too few nights to train it on a part of them"
        )
    if found:
        keep(fitted, found)
    skops_file.dump(fitted, model)
    with replacing(profile) as temporary:
        temporary.write_text(reference.to_json(), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
