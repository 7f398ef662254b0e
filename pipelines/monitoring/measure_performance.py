"""Measure the published scores of the last nights against their outcomes, as far as those are known.

Reads   the source's outcomes as known at the start of the partition, the published table, the features that the runs have recorded,
        data/champion/model.onnx, the journal
Writes  data/reports/measure_performance/report.json
Effect  `performance` in the journal: a new line for each night whose outcomes have become known, another revision if they or the scores changed
Fails   when the source, the table, the database or (for now) what a run has recorded cannot be read

A night is measured again when its outcomes or what is published of it are not what was measured, and not otherwise. A night with a row
that has two outcomes is not measured: the report says which. By hand: ``python -m pipelines.monitoring.measure_performance``.
"""

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipelines.lib.core import home, stage
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import NightshiftError, TransientError
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.run import load_run
from pipelines.lib.loop.performance_report import build_report, changed
from pipelines.lib.measures.slices import slices_of
from pipelines.lib.measures.tasks import BINARY, Task
from pipelines.lib.published import nights
from pipelines.lib.records.journal import Journal, PerformanceRecord, of_published
from pipelines.lib.sources.outcomes import Outcomes, known_outcomes
from pipelines.lib.tables.dataset import load_dataset

if TYPE_CHECKING:
    from pipelines.lib.models.inference import Model


class MeasurePerformance(Section):
    """`nights`: how many published nights are looked at again, for outcomes come late or corrected.

    `slices` are columns of the source by whose values quality is measured separately, from `slice_minimum_rows` rows per night on.
    """

    nights: int = Field(ge=1)
    slices: tuple[str, ...] = ()
    slice_minimum_rows: int = Field(default=50, ge=1)


def measure_performance(rows: pa.Table, params: MeasurePerformance, task: Task = BINARY) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the figures of `rows` (columns score, outcome and the slices), and those of each slice; None if a figure is not defined."""
    labels, scores = _numbers(rows["outcome"]), _numbers(rows["score"])
    slices = [
        {"column": column, "value": value, **task.realised(labels[mask], scores[mask])}
        for column in params.slices
        for value, mask in slices_of(rows[column], params.slice_minimum_rows)
    ]
    return task.realised(labels, scores), slices


def importances(known: Outcomes, night: nights.PublishedNight, model: "Model") -> dict[str, float] | None:
    """Return what the features of a night were worth to `model`; None if it did not score it, outcomes are of one class, or the features are gone.

    Raises `TransientError` if they did not come this time: a night is measured once, so that what is left out now stays out.
    """
    from pipelines.lib.measures.importance import permutation_importance
    from pipelines.lib.models.inference import feature_columns

    if night.model_sha256 != model.sha256:
        return None
    try:
        with tempfile.TemporaryDirectory(prefix="nightshift-") as scratch:
            nights.fetch(night.run_ref, nights.FEATURES, Path(scratch) / "features.parquet")
            rows = known.join_outcomes(night.partition, Path(scratch) / "features.parquet")
        matrix = np.stack(feature_columns(rows, model.signature.names, model.categories), axis=1)
        dates = np.full(len(matrix), night.partition)
        return permutation_importance(model.score, matrix, _numbers(rows["outcome"]), dates, model.signature.names, model.task) or None
    except TransientError:
        raise
    except NightshiftError as error:  # gone for good; its scores can be measured all the same
        stage.log.warning("no importances on %s: %s", night.partition, error)
        return None


def _numbers(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(array)  # to_numpy() would import pandas


def measured(
    known: Outcomes, due: Iterable[nights.PublishedNight], digests: Mapping[str, str], model: "Model", params: MeasurePerformance
) -> Iterator[PerformanceRecord]:
    """Yield the performance of each of the nights that are `due`, measured as it is asked for."""
    from pipelines.lib.published.delta_tables import read_scores

    for night in due:
        rows = known.join_outcomes(night.partition, read_scores(night.partition, columns=[*known.key, "score"]))
        figures, slices = measure_performance(rows, params, model.task)
        figures |= {"scored": night.rows, "importances": importances(known, night, model)}
        yield PerformanceRecord(
            name=night.model_name,
            partition=night.partition,
            version=night.model_version,
            outcomes_sha256=digests[night.partition],
            rows=figures["rows"],
            figures=figures,
            slices=slices,
            publication=night.publication,
        )


@stage.stage("measure_performance")
def main(*, report: Annotated[Path, "directory of the report"] = Path("data/reports/measure_performance")) -> None:
    """Measure as `run.yaml` and `params.yaml` say."""
    from pipelines.lib.measures.importance import importance_drift
    from pipelines.lib.models.inference import load_model

    run, dataset, params = load_run(), load_dataset(), load_section("measure_performance", MeasurePerformance)
    journal, model = Journal(home.ledger_url()), load_model(Path(run.model.path), run.model.sha256)
    published = nights.published_nights(run.model.name, until=run.partition, count=params.nights)
    first = published[0].partition if published else run.partition
    before = {record.partition: record for record in journal.performance(run.model.name, since=first)}
    with known_outcomes(dataset, partition=run.date, first=parse_partition(first), extra_columns=params.slices) as known:
        digests = known.sha256()
        due = changed(before, digests, published)
        recorded = [record for record in measured(known, due, digests, model, params) if journal.record_performance(record)]
        contradicted = {
            night.partition: known.contradicted[night.partition] for night in published if night.partition in known.contradicted
        }
    window = of_published(
        journal.performance(run.model.name, since=first, until=run.partition), {night.partition: night.publication for night in published}
    )
    of_model = [(record.rows, record.figures["importances"]) for record in window if record.version == run.model.version]
    content = {"partition": run.partition, "version": run.model.version, **build_report(window, recorded, before, contradicted, model.task)}
    reference = model.profile.quality.importances if model.profile and model.profile.quality else {}
    content["importance"] = importance_drift(of_model, reference)
    with replacing(report / "report.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
