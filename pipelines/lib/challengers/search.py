"""The search among declared candidates: which estimator to train, by its loss on later nights than it has learned from.

A candidate is judged on folds in order of time, as production would have used it: trained on the nights whose outcomes were known, then asked for the next ones.
"""

import datetime as dt
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from pipelines.lib.challengers.comparison import loss_difference, mean_loss
from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.params import Section
from pipelines.lib.features.history import History
from pipelines.lib.measures.categories import Categories
from pipelines.lib.measures.tasks import Task
from pipelines.lib.models import estimators, trial
from pipelines.lib.models.estimators import Fitting
from pipelines.lib.tables.dataset import TaskName

Scores = NDArray[np.float64]
Fit = Callable[["Candidate", History], Any]
F = TypeVar("F", bound=Fitting)


class Candidate(Fitting):
    """An estimator that competes, under a `name` that no other candidate has. MLflow's metrics are named after it."""

    name: str

    @field_validator("name")
    @classmethod
    def _in_plain_letters(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", value):
            raise ValueError(f"is {value[:60]!r}; write letters, digits, '_', '.' and '-', and at most 100 of them")
        return value


class Search(Section):
    """The candidates, the simplest first, and the folds on which they compete.

    `minutes`: after this time no further candidate counts. A fit is not interrupted.
    `maximum_p_value`: two-sided p up to which a higher loss than the best one is clear.
    """

    candidates: tuple[Candidate, ...] = ()
    folds: int = Field(default=3, ge=1)
    nights_per_fold: int = Field(default=14, ge=1)
    minutes: float = Field(default=30, gt=0)
    maximum_p_value: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_name_each(self) -> Self:
        names = [candidate.name for candidate in self.candidates]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"candidates: two are named {twice[0]!r}; give each a name of its own")
        return self


@dataclass(frozen=True)
class Fold:
    """Train on the nights before `until`; judge the nights from `since` to `last`. Nights between both had no outcome at the start of `since`."""

    until: str
    since: str
    last: str


@dataclass(frozen=True)
class Result:
    """The result of one candidate: its mean loss and quality on all folds, or the `fault` that kept it out of the competition."""

    name: str
    loss: float | None = None
    quality: float | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Found:
    """The results of all candidates in the order of their declaration, the name of the `chosen` one, and the reason in words."""

    results: tuple[Result, ...]
    chosen: str
    reason: str

    @property
    def metrics(self) -> dict[str, float]:
        """The loss and the quality of each candidate that has them, by the names of MLflow's metrics."""
        figures = {f"search_{key}_{one.name}": getattr(one, key) for one in self.results for key in ("loss", "quality")}
        return {name: value for name, value in figures.items() if value is not None}

    @property
    def note(self) -> str:
        """The figures of the candidates, and the choice, in a line for the log."""
        figures = [f"{one.name}: {one.fault or f'loss {one.loss:.4f}'}" for one in self.results]
        return f"{'; '.join(figures)}. Chosen: {self.chosen}, since {self.reason}"


def require_declared(params: Search, task: TaskName) -> None:
    """Raise `ConfigError` with every candidate whose class or parameters do not exist, before any of them costs time."""
    wrong = [
        f"search.candidates.{number}.{refused.key} ({candidate.name}): {refused.fact}; {refused.remedy}"
        for number, candidate in enumerate(params.candidates)
        for refused in trial.faults_of_declaration(candidate, task)
    ]
    if wrong:
        raise ConfigError(f"params.yaml: {' | '.join(wrong)}")


def compete(
    history: History,
    declared: Search,
    params: F,
    train: Callable[[History, F], Any],
    delay_days: int,
    categories: Callable[[dt.date], Categories],
) -> tuple[F, Found]:
    """Return `params` with the estimator of the candidate to `train` on all of `history`, and the results of all candidates.

    `categories` returns the lists of a model that has learned from the nights before a date. Raises as `require_declared`, `folds_of` and `search` do.
    """

    def with_candidate(candidate: Candidate) -> F:
        return params.model_copy(update={key: getattr(candidate, key) for key in Fitting.model_fields})

    require_declared(declared, history.task.name)
    found = search(
        history,
        folds_of(history.nights.tolist(), declared, delay_days),
        declared,
        lambda candidate, rows: train(rows, with_candidate(candidate)),
        categories=lambda until: categories(dt.date.fromisoformat(until)),
        clock=time.monotonic,
    )
    return with_candidate(next(one for one in declared.candidates if one.name == found.chosen)), found


def keep(model: Any, competition: Found) -> None:
    """Let a fitted `model` carry the results of the search that chose it, also in a skops file; see `results_of`."""
    model.search_ = {**asdict(competition), "results": [asdict(result) for result in competition.results]}


def results_of(model: Any) -> Found | None:
    """Return what `keep` has kept with a `model`; None if no candidates competed."""
    kept = getattr(model, "search_", None)
    return Found(**{**kept, "results": tuple(Result(**result) for result in kept["results"])}) if kept else None


def folds_of(nights: Sequence[str], params: Search, delay_days: int) -> tuple[Fold, ...]:
    """Return the folds over the last of `nights`, in order of time. Raises `DataError` if there are too few nights.

    `delay_days` is the gap: outcomes of that many nights are not known yet at the start of a fold.
    """
    known = sorted(set(nights))
    judged = params.folds * params.nights_per_fold
    starts = range(len(known) - judged, len(known), params.nights_per_fold)
    if len(known) < judged or known[0] >= _earlier(known[starts[0]], delay_days):
        raise DataError(
            f"there are {len(known)} nights before the holdout; search.folds ({params.folds}) of search.nights_per_fold ({params.nights_per_fold}) nights "
            f"need {judged}, and earlier nights to learn from, {delay_days} days apart. Lower one of both, or start ingest_history earlier"
        )
    return tuple(Fold(_earlier(known[start], delay_days), known[start], known[start + params.nights_per_fold - 1]) for start in starts)


def search(
    history: History,
    folds: Sequence[Fold],
    params: Search,
    fit: Fit,
    *,
    categories: Callable[[str], Categories],
    clock: Callable[[], float],
) -> Found:
    """Let the candidates compete on the `folds` of `history`. `clock` returns seconds.

    `categories` returns the lists of a model that has learned from the nights before a date: a fold must not know later ones.

    The same history and parameters choose the same candidate, unless the budget ends. Raises `ConfigError` if it ends before the first candidate,
    and `DataError` if no candidate has a result.
    """
    task, history = history.task, _in_order(history)
    coded = [(fold, history.coded_for(categories(fold.until))) for fold in folds]
    pairs = [(rows.until(fold.until), _judged(rows, fold)) for fold, rows in coded]
    labels = np.concatenate([judged.labels for _, judged in pairs])
    nights = np.concatenate([judged.nights for _, judged in pairs])
    end = clock() + 60 * params.minutes
    results: list[Result] = []
    scores: dict[str, Scores] = {}
    for candidate in params.candidates:
        answers, fault = _compete(candidate, pairs, task, fit, lambda: clock() > end)
        if answers is None:
            results.append(Result(candidate.name, fault=fault))
            continue
        scores[candidate.name] = answers
        results.append(Result(candidate.name, mean_loss(labels, answers, task), task.quality(labels, answers)))
    if not scores:
        faults = "; ".join(f"{result.name}: {result.fault}" for result in results)
        if any(result.fault == _LATE for result in results):
            raise ConfigError(
                f"the budget of search.minutes ({params.minutes:g}) ended before any candidate had a result ({faults}). "
                "Raise search.minutes, or lower search.folds"
            )
        raise DataError(f"no candidate of search.candidates has a result: {faults}")
    chosen, reason = choose(labels, scores, nights, task, params.maximum_p_value)
    return Found(tuple(results), chosen, reason)


def choose(labels: Scores, scores: dict[str, Scores], nights: NDArray[Any], task: Task, maximum_p_value: float) -> tuple[str, str]:
    """Return the first candidate of `scores` whose loss is not clearly above the lowest, and why. Losses are compared in pairs, by night.

    The order is that of the declaration, the simplest first: bytes and seconds differ between machines.
    """
    losses = {name: mean_loss(labels, answers, task) for name, answers in scores.items()}
    best = min(losses, key=losses.__getitem__)
    for name, answers in scores.items():
        if name == best:
            break
        found = loss_difference(labels, scores[best], answers, nights, task)
        if found.p is None or found.p > maximum_p_value:
            seen = "too few rows to judge" if found.p is None else f"p = {found.p:.3f}"
            return name, f"{name} is declared before {best}, whose {task.loss_name} is lower ({losses[best]:.4f} against {losses[name]:.4f}), but not clearly ({seen})"  # fmt: skip
    return best, f"{best} has the lowest {task.loss_name}, {losses[best]:.4f}"


_LATE = "the budget had ended"


class _BudgetEndedError(Exception):
    """The time of the search is over. Not a `TimeoutError`: an estimator may raise that, and it is a fault of the machine."""


def _compete(
    candidate: Candidate, pairs: Sequence[tuple[History, History]], task: Task, fit: Fit, late: Callable[[], bool]
) -> tuple[Scores | None, str | None]:
    """Return the scores of `candidate` on the judged rows of all folds, or else why there are none."""
    if late():
        return None, _LATE
    if refused := trial.faults(candidate, task.name):
        return None, "; ".join(f"{one.key} {one.fact}; {one.remedy}" for one in refused)
    try:
        answers = np.concatenate(list(_scores(candidate, pairs, task, fit, late)))
    except _BudgetEndedError:
        return None, _LATE
    except (MemoryError, OSError):  # the machine's fault, not the candidate's: another night, it might have been chosen
        raise
    except Exception as error:  # each library has exceptions of its own, and one candidate must not end the search
        return None, f"{type(error).__name__}: {error}"
    if not np.isfinite(answers).all():
        return None, f"{np.count_nonzero(~np.isfinite(answers))} of {len(answers)} scores are not finite"
    return answers, None


def _scores(
    candidate: Candidate, pairs: Sequence[tuple[History, History]], task: Task, fit: Fit, late: Callable[[], bool]
) -> Iterator[Scores]:
    for learned, judged in pairs:
        model = estimators.single_threaded(fit(candidate, learned))
        with estimators.one_blas_thread():
            yield np.asarray(estimators.answer(model, judged.features, task.name), dtype=np.float64)
        if late():
            raise _BudgetEndedError


def _in_order(history: History) -> History:
    """Return the rows by night and then by their other columns, so that a file in another order gives the same result."""
    columns = ["partition", *sorted(set(history.rows.column_names) - {"partition"})]
    order = pc.sort_indices(history.rows, sort_keys=[(column, "ascending") for column in columns])
    places = order.to_numpy()
    return replace(history, features=history.features[places], labels=history.labels[places], rows=history.rows.take(order))


def _judged(history: History, fold: Fold) -> History:
    return history.since(fold.since).until(_earlier(fold.last, -1))


def _earlier(night: str, days: int) -> str:
    return (dt.date.fromisoformat(night) - dt.timedelta(days=days)).isoformat()
