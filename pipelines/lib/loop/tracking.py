"""The series of the monitor in MLflow: one run per watched version, one step per night."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.lib.core.errors import TransientError
from pipelines.lib.core.partition import parse_partition

if TYPE_CHECKING:
    from mlflow import MlflowClient

WATCHED = "nightshift.watched"
"""The tag that names the version, as ``<name>/<version>``."""

MOST_METRICS = 1_000  # that MLflow takes at a time


@dataclass(frozen=True)
class Point:
    """The `figures` of a partition by name; `revision` counts from 1 how often they were corrected."""

    partition: str
    figures: Mapping[str, float]
    revision: int = 1


def log_points(client: "MlflowClient", experiment_id: str, name: str, version: str, points: Iterable[Point]) -> str:
    """Log `points` to the run that watches `version` of model `name`, which is made on first use; returns the run's id.

    The step is the partition's day since 1970 and the time its midnight in UTC, so the same again changes nothing. MLflow forgets nothing
    either: a corrected figure stands next to the one before, one millisecond later for each revision, and is the one that counts as the
    latest. Raises `TransientError` if MLflow does not answer.
    """
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    metrics = []
    for point in points:
        day = (parse_partition(point.partition) - dt.date(1970, 1, 1)).days
        metrics += [Metric(key, float(value), day * 86_400_000 + point.revision - 1, day) for key, value in point.figures.items()]
    watched = f"{name}/{version}"
    try:
        found = client.search_runs([experiment_id], f"tags.`{WATCHED}` = '{watched}'", max_results=1, order_by=["attributes.start_time"])
        if found:
            run_id = found[0].info.run_id
        else:
            run_id = client.create_run(experiment_id, run_name=f"monitoring {watched}", tags={WATCHED: watched}).info.run_id
            client.set_terminated(run_id)  # nothing runs: the run is a place for series
        for start in range(0, len(metrics), MOST_METRICS):
            client.log_batch(run_id, metrics=metrics[start : start + MOST_METRICS])
    except MlflowException as error:
        raise TransientError(
            f"MLflow did not take the figures of {watched} ({error}); check the server or database and try again"
        ) from error
    return str(run_id)
