"""Labelled history in memory: what training and evaluation read, and where the one ends and the other begins."""

import datetime as dt
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ConfigDict, Field

from pipelines.lib.core.errors import ConfigError, ModelError
from pipelines.lib.core.params import Section
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.measures.categories import Categories, codes, texts
from pipelines.lib.measures.tasks import BINARY, TASKS, Task
from pipelines.lib.tables.dataset import Dataset


@dataclass(frozen=True)
class History:
    """`features` [n, f] float32, `labels` [n] int8 or, of a regression, float64, `rows` the other columns (key, event time, partition), `names` of the f features.

    A feature that is text in the file is in `rows` as well, and its code in `features` is that of the list in `categories`. A feature whose code
    is in the file has its values in `declared`, if they are known. `task` is that of the label.
    """

    features: np.ndarray
    labels: np.ndarray
    rows: pa.Table
    names: tuple[str, ...]
    categories: Categories = field(default_factory=dict)
    declared: Categories = field(default_factory=dict)
    task: Task = BINARY

    def column(self, name: str) -> np.ndarray:
        """Return the values [n] of a feature, as the model sees it, or of another column. Raises `ConfigError` if no column has this name."""
        found = self.features[:, self.names.index(name)] if name in self.names else self.exact(name)
        return found if isinstance(found, np.ndarray) else found.to_numpy()

    def exact(self, name: str) -> "np.ndarray | pa.Array | pa.ChunkedArray":
        """Return what a person knows: the same as `column`, but the text of a category, and Arrow's form of a column that is not a feature.

        NumPy turns integers with a null into floats.
        """
        if name in self.declared and name not in self.categories:
            return texts(self.features[:, self.names.index(name)], self.declared[name])
        if name in self.names and name not in self.categories:
            return self.features[:, self.names.index(name)]
        if name not in self.rows.column_names:
            raise ConfigError(f"there is no column {name!r}; there are {', '.join([*self.rows.column_names, *self.names])}")
        return self.rows[name]

    @property
    def nights(self) -> np.ndarray:
        """The partition [n] of each row."""
        return self.column("partition").astype(str)

    def since(self, partition: str) -> "History":
        """Return the rows of `partition` and later."""
        return self.where(self.nights >= partition)

    def until(self, partition: str) -> "History":
        """Return the rows before `partition`."""
        return self.where(self.nights < partition)

    def as_question(self, before: str) -> "History":
        """Return the same rows with a label of two classes, for an encoder: whether the outcome is above the mean of the nights before `before`.

        A binary label stays as it is.
        """
        if self.task is BINARY:
            return self
        earlier = self.labels[self.nights < before]
        above = self.labels > (earlier.mean() if len(earlier) else 0.0)
        return replace(self, labels=above.astype(np.int8), task=BINARY)

    def where(self, kept: np.ndarray) -> "History":
        """Return the rows for which `kept` [n] is true."""
        return replace(self, features=self.features[kept], labels=self.labels[kept], rows=self.rows.filter(pa.array(kept)))

    def coded_for(self, categories: Categories) -> "History":
        """Return the same rows with the codes of the lists of another model."""
        if dict(categories) == dict(self.categories):
            return self
        features = self.features.copy()
        for index, name in enumerate(self.names):
            if name in self.categories:
                features[:, index] = codes(self.rows[name], _list_of(categories, name))
        return replace(self, features=features, categories=categories)


def drawn(history: History, most: int, seed: int = 0) -> History:
    """Return `most` rows of `history`, in their order, or all of them if there are not more. Every row is equally likely, with any label, so
    that rates and probabilities do not change. The same history gives the same rows.
    """
    rows = len(history.labels)
    if rows <= most:
        return history
    kept = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return replace(history, features=history.features[kept], labels=history.labels[kept], rows=history.rows.take(pa.array(kept)))


class Holdout(Section):
    """The keys of section ``train`` that evaluation needs; the others are training's own.

    `holdout_days`: the last labelled days, kept from training so that `evaluate` sees rows that the model has not.
    """

    model_config = ConfigDict(extra="allow")

    holdout_days: int = Field(ge=1)


def holdout_start(partition: dt.date, delay_days: int, holdout_days: int) -> dt.date:
    """Return the first date of the holdout: the last `holdout_days` dates whose outcome is known at the start of `partition`."""
    return partition - dt.timedelta(days=delay_days + holdout_days)


def read_history(
    path: Path, dataset: Dataset, *, categories: Categories | None = None, since: dt.date | None = None, until: dt.date | None = None
) -> History:
    """Return the rows of a features file with `since` <= partition < `until`; either end may be open.

    `categories` are the lists of the model that the rows are for. Raises `ModelError` if they lack a feature that is text in the file.
    """
    names, categories = signature_of_features(path).names, categories or {}
    window = []
    if since:
        window.append(("partition", ">=", since.isoformat()))
    if until:
        window.append(("partition", "<", until.isoformat()))
    table = pq.read_table(path, filters=window or None, page_checksum_verification=True)
    features = np.empty((table.num_rows, len(names)), dtype=np.float32)
    for index, name in enumerate(names):  # column by column into one array: no second copy of the matrix
        values = table[name]
        features[:, index] = codes(values, _list_of(categories, name)) if pa.types.is_string(values.type) else values.to_numpy()
    texts = [name for name in names if pa.types.is_string(table.schema.field(name).type)]
    labels = pc.cast(table[dataset.label.name], pa.float64() if dataset.label.task == "regression" else pa.int8()).to_numpy()
    rows = table.drop_columns([*(name for name in names if name not in texts), dataset.label.name])
    return History(features, labels, rows, names, {name: categories[name] for name in texts}, task=TASKS[dataset.label.task])


def _list_of(categories: Categories, name: str) -> tuple[str, ...]:
    if name not in categories:
        raise ModelError(
            f"the model carries no list of categories for {name}, which is text in the features file; train and export it again"
        )
    return categories[name]
