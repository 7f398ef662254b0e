"""Compare the last nights with what their model learned from: count the night once, add up its window, measure.

Reads   the features and scores that the night's run recorded, data/champion/model.onnx with the profile within, the journal, the log of
        the published table; of a night of the window that was published again since, what its new run recorded
Writes  data/reports/detect_drift/report.json
Effect  the night's counts and the drift of the window that ends with it are a row in the journal's `nights`; a repeat replaces it. Windows of
        later nights that hold it are measured again
Fails   when the model carries no profile, a column that the profile counts is gone, or the recorded files or the database cannot be read

A column has drifted where its PSI exceeds the limit of section ``govern``; whether to act is decided by the stage `govern`. A run that looks at no published night
(``night_ref`` is null in run.yaml) compares the batch of its own workspace: ``python -m pipelines.monitoring.detect_drift``.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from pipelines.lib.core import home, stage
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import ConfigError, DataError, ModelError
from pipelines.lib.core.params import load_section
from pipelines.lib.core.run import RunFile, load_run
from pipelines.lib.loop.drift_window import SUPERSEDED, refreshed, span
from pipelines.lib.loop.retraining_policy import Policy
from pipelines.lib.measures.drift import compare
from pipelines.lib.measures.histogram import Histogram, count_parquet, merge
from pipelines.lib.models.profile import Profile
from pipelines.lib.published import nights
from pipelines.lib.records.journal import Journal, NightRecord
from pipelines.lib.tables.dataset import load_dataset


def detect_drift(profile: Profile, tonight: Histogram, earlier: Sequence[Histogram], policy: Policy) -> dict[str, Any]:
    """Return the drift of the window of `earlier` nights and `tonight`, and of `tonight` alone, as the journal keeps it.

    ``rows`` and ``nights`` are the window's, ``columns`` its measures, each with the importance and noise of the profile; ``tonight``
    holds those of the night alone. ``lacking`` says what the window lacks to be judged, such as *4 of 5 nights*: then nothing is said to have
    drifted, or not to have. Otherwise it is empty, and ``drifted`` names the columns that have, the most important first.
    """
    window = merge([*earlier, tonight])
    measured = compare(profile.binnings, profile.histogram, window, floor=profile.floor)
    alone = compare(profile.binnings, profile.histogram, tonight, floor=profile.floor) if tonight.rows else {}
    lacking = policy.lacking(len(earlier) + 1, window.rows)
    columns = {}
    for column in profile.columns:
        found = measured[column.binning.name]
        drifted = None if lacking else found.psi > policy.limit(column.noise.p95)
        columns[column.binning.name] = {
            **asdict(found),
            "importance": column.importance,
            "noise": column.noise.p95,
            "drifted": drifted,
        }
    by_importance = sorted((name for name in columns if columns[name]["drifted"]), key=lambda name: -columns[name]["importance"])
    return {
        "rows": window.rows,
        "nights": len(earlier) + 1,
        "lacking": lacking,
        "drifted": by_importance,
        "columns": columns,
        "tonight": {"rows": tonight.rows, "columns": {name: asdict(found) for name, found in alone.items()}},
    }


def count_night(night_ref: str | None, profile: Profile) -> Histogram:
    """Return the features and scores of the run recorded at `night_ref` (None: of this workspace) in the bins of `profile`."""
    with tempfile.TemporaryDirectory(prefix="nightshift-") as scratch:
        paths = []
        for path in (nights.FEATURES, nights.SCORES):
            paths.append(Path(path) if night_ref is None else Path(scratch) / Path(path).name)
            if night_ref is not None:
                nights.fetch(night_ref, path, paths[-1])
        features, scores = count_parquet(paths[0], profile.binnings[:-1]), count_parquet(paths[1], profile.binnings[-1:])
    if features.rows != scores.rows:
        raise DataError(
            f"the night has {features.rows} rows of features and {scores.rows} scores; they are of different runs: score it again"
        )
    return Histogram(features.rows, features.counts | scores.counts)


def recounted(record: NightRecord, profile: Profile) -> NightRecord | None:
    """Return `record` about what is published of its night now; None if that is not of its version, or its files are gone for good."""
    try:
        night = nights.published_night(record.name, record.partition)
        if night.model_version != record.version:
            return None
        if night.run_ref == record.run_ref:
            return replace(record, publication=night.publication)
        found = count_night(night.run_ref, profile)
    except (ConfigError, DataError) as error:
        stage.log.warning("%s is left out of the window: %s", record.partition, error)
        return None
    return replace(record, run_ref=night.run_ref, rows=found.rows, histogram=found.to_json(), publication=night.publication)


def publication_of(run: RunFile, published: Mapping[str, str]) -> str:
    """Return the publication that `run` looks at; none if it looks at its own workspace."""
    if run.night_ref is None:
        return ""
    night = nights.published_night(run.model.name, run.partition) if run.partition in published else None
    return night.publication if night and night.run_ref == run.night_ref else SUPERSEDED


@stage.stage("detect_drift")
def main(*, report: Annotated[Path, "directory of the report"] = Path("data/reports/detect_drift")) -> None:
    """Compare as `run.yaml` and `params.yaml` say."""
    from pipelines.lib.models.inference import load_model

    run, policy = load_run(), load_section("govern", Policy)
    model, name, version = load_model(Path(run.model.path), run.model.sha256), run.model.name, run.model.version
    if model.profile is None or version is None:
        raise ModelError(
            f"the model {run.model.path} {'is of no version' if version is None else f'(version {version}) carries no profile'}, so there is "
            "nothing to compare with; retrain: train, export_onnx and register give it both"
        )
    profile, journal, published = model.profile, Journal(home.ledger_url()), nights.publications()
    counted = count_night(run.night_ref, profile)
    tonight = NightRecord(
        name,
        version,
        run.partition,
        run.night_ref or run.run_id,
        counted.rows,
        counted.to_json(),
        publication=publication_of(run, published),
    )
    published = published | {run.partition: tonight.publication}
    calendar = load_dataset().calendar
    since, until = span(run.partition, profile.window_nights, calendar)
    around = [night for night in journal.nights(name, version, since=since, until=until) if night.partition != run.partition]
    replaced = [night for night in around if night.partition in published and night.publication != published[night.partition]]
    new = [tonight, *(night for record in replaced if (night := recounted(record, profile)))]

    def measure(night: NightRecord, before: Sequence[NightRecord]) -> dict[str, Any]:
        own, *others = (Histogram.from_json(record.histogram) for record in [night, *before])
        return detect_drift(profile, own, others, policy)

    def complete(recorded: list[NightRecord]) -> list[NightRecord]:
        return refreshed(recorded, [night.partition for night in new], published, profile.window_nights, measure, calendar)

    journal.record_nights(new, since=since, until=until, complete=complete)
    [kept] = journal.nights(name, version, since=run.partition, until=run.partition)
    drift = kept.drift
    content = {"partition": run.partition, "name": name, "version": version, **drift}
    with replacing(report / "report.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    verdict = f"not judged, it has {drift['lacking']}" if drift["lacking"] else f"drifted: {', '.join(drift['drifted']) or 'nothing'}"
    stage.log.info("%d rows in %d nights; %s", drift["rows"], drift["nights"], verdict)


if __name__ == "__main__":
    sys.exit(main())
