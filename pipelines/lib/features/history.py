"""Labelled history in memory: what training and evaluation read, and where the one ends and the other begins."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ConfigDict, Field

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import Section
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.tables.dataset import Dataset


@dataclass(frozen=True)
class History:
    """`features` [n, f] float32, `labels` [n] int8, `rows` the other columns (key, event time, partition), `names` of the f features."""

    features: np.ndarray
    labels: np.ndarray
    rows: pa.Table
    names: tuple[str, ...]

    def column(self, name: str) -> np.ndarray:
        """Return the values [n] of a feature or of another column. Raises `ConfigError` if no column has this name."""
        found = self.exact(name)
        return found if isinstance(found, np.ndarray) else found.to_numpy()

    def exact(self, name: str) -> "np.ndarray | pa.ChunkedArray":
        """Return the same as `column`, but in Arrow's form if it is not a feature: NumPy turns integers with a null into floats."""
        if name in self.names:
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
        kept = self.nights >= partition
        return History(self.features[kept], self.labels[kept], self.rows.filter(pa.array(kept)), self.names)


def drawn(history: History, most: int, seed: int = 0) -> History:
    """Return `most` rows of `history`, in their order, or all of them if there are not more. Every row is equally likely, with any label, so
    that rates and probabilities do not change. The same history gives the same rows.
    """
    rows = len(history.labels)
    if rows <= most:
        return history
    kept = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return History(history.features[kept], history.labels[kept], history.rows.take(pa.array(kept)), history.names)


class Holdout(Section):
    """The keys of section ``train`` that evaluation needs; the others are training's own.

    `holdout_days`: the last labelled days, kept from training so that `evaluate` sees rows that the model has not.
    """

    model_config = ConfigDict(extra="allow")

    holdout_days: int = Field(ge=1)


def holdout_start(partition: dt.date, delay_days: int, holdout_days: int) -> dt.date:
    """Return the first date of the holdout: the last `holdout_days` dates whose outcome is known at the start of `partition`."""
    return partition - dt.timedelta(days=delay_days + holdout_days)


def read_history(path: Path, dataset: Dataset, *, since: dt.date | None = None, until: dt.date | None = None) -> History:
    """Return the rows of a features file with `since` <= partition < `until`; either end may be open."""
    names = signature_of_features(path).names
    window = []
    if since:
        window.append(("partition", ">=", since.isoformat()))
    if until:
        window.append(("partition", "<", until.isoformat()))
    table = pq.read_table(path, filters=window or None, page_checksum_verification=True)
    features = np.empty((table.num_rows, len(names)), dtype=np.float32)
    for index, name in enumerate(names):  # column by column into one array: no second copy of the matrix
        features[:, index] = table[name].to_numpy()
    labels = pc.cast(table[dataset.label.name], pa.int8()).to_numpy()
    return History(features, labels, table.drop_columns([*names, dataset.label.name]), names)
